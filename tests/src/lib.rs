//! The harness: real servers and our real executables, each on a port of its own in a temporary folder.
//!
//! Everything a test starts here is gone when the test is: on drop in the good case, and by a signal of the kernel
//! when the test process is killed (see [`process`]). Nothing is mocked and nothing sleeps for a fixed time: what has to
//! happen is waited for with [`eventually()`].
//!
//! The crate uses no crate of ours on purpose. What it sends and reads is plain JSON, written from the protocol's
//! definition and not from our types, so that a mistake in those types cannot hide itself; and the compat workspace can
//! use it beside the *published* protocol crate.

pub mod answers;
pub mod client;
pub mod cluster;
pub mod disk;
pub mod events;
pub mod eventually;
pub mod executable;
pub mod frames;
pub mod haproxy;
pub mod http;
pub mod ledger;
pub mod load;
pub mod metrics;
pub mod names;
pub mod nats;
pub mod nats_cluster;
pub mod network;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod published;
pub mod redis;
pub mod service;
pub mod tables;
pub mod wire;

pub use client::{Client, Ending};
pub use cluster::Cluster;
pub use disk::SmallDisk;
pub use eventually::{eventually, patience};
pub use haproxy::Balancer;
pub use ledger::Ledger;
pub use load::Load;
pub use metrics::Metrics;
pub use nats::NatsServer;
pub use nats_cluster::NatsCluster;
pub use ports::Port;
pub use postgres::Postgres;
pub use process::Process;
pub use prometheus::Prometheus;
pub use proxy::Proxy;
pub use published::PublishedServer;
pub use redis::Redis;
pub use service::{Service, ServiceBuilder};
pub use tables::Tables;
pub use wire::Wire;

//! What the four programs share around their work: configuration, logs, metrics, the admin port, start and end.
//!
//! It knows nothing of traces, chunks or the bus, and none of our other crates; they get what they need of the
//! configuration as plain values. What may live here: whatever all programs need in the same way and that is not about
//! tracing. What may not: helpers that two crates happen to share.

pub mod admin;
pub mod cli;
pub mod config;
pub mod exit;
pub mod health;
pub mod lifecycle;
pub mod metrics;
pub mod readiness;
mod run;
pub mod spans;
pub mod telemetry;

pub use cli::{CommonArgs, arguments};
pub use config::{Config, Role};
pub use exit::Exit;
pub use lifecycle::{Lifecycle, Shutdown, Signals, Stage};
pub use metrics::{MetricDoc, Metrics};
pub use readiness::{Latch, Readiness};
pub use run::{Service, bind, run, run_job};

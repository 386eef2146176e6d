//! Every setting there is: what it does, its unit, its default and the reason for it.
//!
//! This is the one list; the reference, `--print-config` and the check for unknown keys are made from it. A section is
//! here once something reads it, and no earlier. Numbers carry their unit in the name; the accessors give `Duration`s.

mod bus;
mod clients;
mod limits;
mod server;
mod storage;
mod writing;

pub use bus::{Bus, BusKind, Nats, Redis};
pub use clients::{Clients, Sampling};
pub use limits::Limits;
pub use server::{LogFormat, Metrics, Server, Telemetry};
pub use storage::{
    Algorithm, Backend, Compression, EvictionPolicy, JournalMode, Memory, Postgres, Sqlite, Storage, Synchronous,
};
pub use writing::{FlowName, Retention, Writer};

use super::keys::section;

section! {
    /// The whole configuration.
    pub struct Config at "" {
        /// Whose traces these are: a part of the subjects on the bus, 1 to 32 of `a` to `z`, `0` to `9` and `-`.
        tenant: String = "default".to_owned();
        because "most installations have one"
        sections {
            /// The protocol port.
            server: Server,
            /// What keeps the traces.
            storage: Storage,
            /// How chunks that a service builds itself are compressed.
            compression: Compression,
            /// The admin port.
            metrics: Metrics,
            /// What lies between collectors and writers.
            bus: Bus,
            /// What collectors share.
            redis: Redis,
            /// Bounds on what clients may ask for.
            limits: Limits,
            /// What is asked of clients.
            clients: Clients,
            /// How long traces are kept.
            retention: Retention,
            /// How chunks are written.
            writer: Writer,
            /// How a flow name is made of a flow id.
            flow_name: FlowName,
            /// Logs and spans of the service itself.
            telemetry: Telemetry,
        }
    }
}

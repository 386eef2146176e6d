//! The writer: takes chunks from the bus and commits them to the store; merges and removes old ones in the background.
//!
//! [`Writer`] writes, [`Background`] does the rest. Left out on purpose: opening payloads, which only a reader does, and answering questions.

mod background;
mod group;
mod hooks;
mod metrics;
mod options;
mod settle;
mod writer;

#[cfg(test)]
mod tests;

pub use background::Background;
#[cfg(feature = "failpoints")]
pub use hooks::Failpoint;
pub use hooks::{Hooks, NoHooks};
pub use metrics::{WRITER_METRICS, WriterMetrics};
pub use options::{BackgroundOptions, Compaction, WriterOptions, system_clock};
pub use writer::Writer;

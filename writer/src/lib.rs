//! The writer: takes chunks from the bus and commits them to the store; merges and removes old ones in the background.
//!
//! [`Writer`] writes, [`Background`] does the rest, [`start`] is the whole service. Left out on purpose: opening payloads, which only a reader does, and answering questions.

mod background;
pub mod dead_letters;
mod failing;
mod group;
mod hooks;
mod metrics;
mod options;
mod run;
pub mod settings;
mod settle;
mod store;
mod writer;

#[cfg(test)]
mod tests;

pub use background::Background;
pub use hooks::{Hooks, NoHooks};
pub use metrics::{WriterMetrics, writer_metrics};
pub use options::{BackgroundOptions, Compaction, WriterOptions, system_clock};
pub use run::{start, write};
pub use store::{backup, migrate, open as open_store};
pub use writer::Writer;

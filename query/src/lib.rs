//! The query service: answers questions to history from the store, and shows what happens live.
//!
//! [`HistoryService`] answers one question; [`start`] is the whole service. Left out on purpose: taking events in, which is the
//! collector's, and writing the store, which is the writer's.

mod answer;
mod cursor;
mod events;
mod head;
mod history;
mod list;
mod metrics;
mod refusal;
mod room;
mod run;
pub mod settings;
mod since;
mod store;

#[cfg(test)]
mod tests;

pub use history::{HistoryOptions, HistoryService, system_clock};
pub use metrics::{QueryMetrics, query_metrics};
pub use run::start;

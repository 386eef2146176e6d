//! The collector: takes events from programs, puts them on the bus, and passes on what the other services know.
//!
//! It holds no state that another collector needs, and links no store. [`start`] is the whole service; [`Smoke`] tries an
//! installation from outside. Left out on purpose:
//! storing, which is the writer's, and answering questions, which it asks a query service.

mod metrics;
mod run;
mod smoke;

pub use metrics::{SIDES, collector_metrics};
pub use run::start;
pub use smoke::{FLOW, Report, Smoke};

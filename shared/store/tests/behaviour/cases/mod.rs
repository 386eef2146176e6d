//! The behaviour, one case a promise.

pub mod commit;
pub mod compaction;
pub mod limits;
pub mod order;
pub mod query;
pub mod retention;
pub mod rollup;
pub mod sampling;
pub mod summary;
pub mod totals;

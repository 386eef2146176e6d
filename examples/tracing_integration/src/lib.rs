//! The five example programs of Reflow Tracing, as a library: each program's `main` only reads its arguments and calls `run`.
//!
//! [`simple`], [`monitoring`], [`workflow`], [`load`] and [`query`] are the programs; [`shared`] is what they have in common.

pub mod load;
pub mod monitoring;
pub mod query;
pub mod shared;
pub mod simple;
pub mod workflow;

//! Reflow Tracing in one process: the libraries of collector, writer and query service over a bus inside the process.
//!
//! No server to install, one port. The same code as the three services; only what stands between them differs: an event is
//! answered once it is committed, not merely on a bus.

pub mod dead_letters;
mod run;

pub use run::start;

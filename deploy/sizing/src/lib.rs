//! How many of each part a load needs, and what breaks first.
//!
//! A model of a few lines, fed by figures that the benchmark measured (`figures.json`, or any file that its `--json` wrote) and by
//! nothing else. What it assumes beyond them stands in [`model`]. It plans steady load: peaks are what the bus is for.

pub mod figures;
pub mod limits;
pub mod model;
pub mod report;
pub mod tables;
mod units;

pub use figures::Figures;
pub use model::{Load, Machines, Plan};

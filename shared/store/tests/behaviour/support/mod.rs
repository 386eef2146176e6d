//! Fixtures: databases of their own, and chunks.

mod backends;
mod chunks;
mod postgres;

pub use backends::{Fixture, Fresh, Memory, Postgres, Sqlite};
pub use chunks::*;

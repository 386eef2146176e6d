//! Fixtures: databases of their own, and chunks.

mod backends;
mod chunks;
mod postgres;

pub use backends::{Fixture, Memory, Postgres, Sqlite};
pub use chunks::*;

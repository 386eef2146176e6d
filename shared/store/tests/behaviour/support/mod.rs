//! Fixtures: databases of their own, and chunks.

mod backends;
mod chunks;
mod postgres;
mod schema;
mod way;

pub use backends::{Fixture, Fresh, Memory, Postgres, Sqlite};
pub use chunks::*;
pub use schema::{CONTRACT, Upgraded};
pub use way::Way;

//! Each part of a path alone, with the product's own code: what the bounds are made of.

mod codec;
mod stores;
mod transport;

use anyhow::Result;

use crate::options::Options;
use crate::report::Report;

pub const CLIENT: &str = "client: JSON write, zstd -1, frame";
pub const UNZSTD: &str = "zstd read";
pub const INDEX: &str = "parse and index";
pub const ENCODE: &str = "chunk encode";
pub const DECODE: &str = "chunk decode";
pub const SOCKET: &str = "WebSocket frame, acked, loopback";
pub const LOCAL: &str = "local bus: publish, pull, ack";
pub const NATS_PUBLISH: &str = "JetStream publish, acked";
pub const NATS_PULL: &str = "JetStream pull, ack";
pub const SQLITE: &str = "SQLite commit, 50 chunks";
pub const POSTGRES: &str = "Postgres commit, 50 chunks";

/// What a v2 batch passes on its way into SQLite. Publishing on a bus includes encoding.
pub const SQLITE_PATH: [&str; 7] = [CLIENT, SOCKET, UNZSTD, INDEX, LOCAL, DECODE, SQLITE];
/// What a v2 batch passes on its way into Postgres.
pub const NATS_PATH: [&str; 8] = [CLIENT, SOCKET, UNZSTD, INDEX, NATS_PUBLISH, NATS_PULL, DECODE, POSTGRES];

/// Measures all parts.
pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    codec::run(options, report)?;
    transport::run(options, report).await?;
    stores::run(options, report).await
}

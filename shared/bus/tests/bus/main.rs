//! Tests of the bus, with real servers.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod cases;
mod directory;
mod history;
mod nats;
mod nats_tail;
mod suite;
mod support;

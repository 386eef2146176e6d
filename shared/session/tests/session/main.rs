//! Sessions over real sockets: a server on a local bus whose writer acknowledges when the test says so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod budget;
mod clients;
mod errors_page;
mod large;
mod live;
mod refusals;
mod support;
mod v1;
mod v2;

//! Sessions over real sockets: a server on a local bus whose writer acknowledges when the test says so.

mod live;
mod support;
mod v1;
mod v2;

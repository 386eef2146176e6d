//! Our own client, natively, against real servers.

mod arrives;
mod scene;

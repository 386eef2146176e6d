//! The client, natively, against real servers.

#![cfg(not(target_arch = "wasm32"))]

mod answers;
mod arrives;
mod buffer;
mod collectors;
mod cost;
mod ended;
mod many;
mod outage;
mod reachable;
mod sampling;
mod scene;
mod spool;
mod stalled;
mod stand_in;
mod tls;
mod told;
mod too_large;
mod unsteady;
mod v1;

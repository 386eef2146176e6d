//! What the tests in a browser or in Node use: real servers by the runner's control, patience, and the events they send.
//!
//! Compiled for wasm32 alone; on this machine it is empty.

#![cfg(target_arch = "wasm32")]

mod javascript;
mod patience;
mod server;

pub use patience::{eventually, patience};
pub use server::Server;

//! The client in a browser and in Node, against a real `reflow-tracing`. `tests/browser/wasm.sh` runs them in both.

#![cfg(target_arch = "wasm32")]

mod delivery;
mod protocol;
mod questions;
mod runtime;
mod scene;

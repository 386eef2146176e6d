//! Published Reflow programs (`reflow_network` 0.2.1, from the registry, unpatched) against our real services.
//!
//! Each program runs behind the recording proxy, so that what it sent is known frame by frame; and what the services give
//! back is read with the *published* types. See [`check`] for what has to hold.

mod check;
mod program;
mod reader;
mod services;
mod standalone;
mod traffic;

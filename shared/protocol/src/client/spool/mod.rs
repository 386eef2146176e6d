//! A file that holds what is not acked yet, so that a crash of the program, or a long outage of everything, loses nothing.
//!
//! Every batch and every start or end of a trace is appended before it is sent, and crossed out when it is acked. What the last
//! process left is sent at the next start under the same ids, so the server stores it once. While there is no connection, or the
//! server takes nothing, batches lie in the file alone and take no memory to speak of.
//!
//! Guarantee: what was appended survives `kill -9` of the program. Not a power failure: nothing is synced, that would cost more than
//! everything else. An event is appended when its batch is made, at the latest `batch_timeout` after it was recorded.
//!
//! Browsers have no files, and [`super::ClientBuilder::build`] says so.

#[cfg(not(target_arch = "wasm32"))]
mod file;
#[cfg(not(target_arch = "wasm32"))]
mod records;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use file::Spool;

#[cfg(target_arch = "wasm32")]
mod none;
#[cfg(target_arch = "wasm32")]
pub(crate) use none::Spool;

//! The same file as in `shared/protocol/tests`, against the published crate: what it says of the published face is true.

#[path = "../../../shared/protocol/tests/published_api.rs"]
mod published_api;

//! The same files as in `shared/protocol/tests`, against the published crate: what they say of the published face is true.

#[path = "../../../shared/protocol/tests/published_api/main.rs"]
mod published_api;

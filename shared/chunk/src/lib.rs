//! The chunk: events of ONE trace out of one batch, with an index of what is in it. The unit on the bus and in the store.
//!
//! A chunk is a [`Header`] and a payload. Nobody downstream of the collector opens the payload unless somebody reads the
//! events: [`ChunkBuilder`] makes the header in the same pass that checks them, [`Chunk::encode`] puts both in one message,
//! [`decode_events`] opens the payload again and [`merge`] makes one chunk of many.
//!
//! Left out on purpose: where chunks go (the bus) and how they are kept (the store).

mod build;
mod envelope;
mod header;
mod histogram;
mod index;
mod kind;
mod left_out;
mod merge;
mod names;
mod read;

pub use build::{BuildError, ChunkBuilder, Rejected, store_trace_chunk_id};
pub use envelope::{Chunk, DecodeError, MAGIC};
pub use header::*;
pub use histogram::{BUCKETS, TimeStats};
pub use kind::{EventKind, KindSet};
pub use left_out::LeftOut;
pub use merge::{MergeError, Merged, merge};
pub use names::{
    FlowNaming, MAX_ERROR_BYTES, MAX_NAME_BYTES, flow_hash, sanitize_error, sanitize_name, sanitize_status,
    valid_tenant,
};
pub use read::{ReadError, StoredEvent, StoredEvents, V1Rewrite, decode_events};

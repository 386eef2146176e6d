//! Makes few chunks of many: what compaction writes.
//!
//! Guarantee: every distinct event id is in the result exactly once, by time; nothing else of the trace is lost. Rollups and
//! summaries are not the merged chunks' business: their counts were taken when the originals came.

use std::collections::HashSet;

use reflow_tracing_protocol::codec::Codec;
use uuid::Uuid;

use crate::build::{BuildError, ChunkBuilder, Rejected};
use crate::envelope::Chunk;
use crate::header::{EndMark, Origin};
use crate::read::{ReadError, decode_events};

/// Level at which compaction compresses: it runs once, the result is read often.
const LEVEL: i32 = 3;

/// Why chunks could not be merged. The originals stay.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A payload cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The merged chunk cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An event that was accepted once is refused now.
    #[error("stored event: {0}")]
    Event(#[from] Rejected),
    /// Chunks of different traces.
    #[error("chunks of different traces cannot be merged")]
    Traces,
}

/// The result of a merge.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The new chunks, in order of time.
    pub chunks: Vec<Chunk>,
    /// Distinct events in them.
    pub events: u64,
    /// Events that were in more than once.
    pub duplicates: u64,
}

/// Merges chunks of one trace into chunks of about `max_raw_bytes` before compression.
pub fn merge(chunks: &[Chunk], max_raw_bytes: usize) -> Result<Merged, MergeError> {
    let Some(first) = chunks.first() else { return Ok(Merged { chunks: Vec::new(), events: 0, duplicates: 0 }) };
    if chunks.iter().any(|chunk| chunk.header.trace_id != first.header.trace_id) {
        return Err(MergeError::Traces);
    }
    let opened =
        chunks.iter().map(|chunk| decode_events(&chunk.header, &chunk.payload)).collect::<Result<Vec<_>, _>>()?;
    let mut events: Vec<_> = opened.iter().flat_map(|events| events.iter()).collect();
    let total = events.len();
    let mut seen = HashSet::with_capacity(total);
    events.retain(|(event, _)| seen.insert(event.event_id));
    // Stable: events of the same microsecond stay in the order they were sent.
    events.sort_by_key(|(event, _)| event.at_us);

    let sources: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.header.chunk_id.iter().copied()).collect();
    let mut out = Vec::new();
    let mut builder = start(chunks, &sources, 0);
    for (_, raw) in &events {
        if builder.event_count() > 0 && builder.raw_bytes() + raw.len() > max_raw_bytes {
            out.push(builder.build(Codec::Zstd, LEVEL)?);
            builder = start(chunks, &sources, out.len());
        }
        builder.push_event(raw)?;
    }
    out.push(builder.build(Codec::Zstd, LEVEL)?);
    Ok(Merged { chunks: out, events: events.len() as u64, duplicates: (total - events.len()) as u64 })
}

/// An empty merged chunk with what the originals say of the trace; the first one carries the marks and the ids as sent.
fn start(chunks: &[Chunk], sources: &[u8], part: usize) -> ChunkBuilder {
    let headers = || chunks.iter().map(|chunk| &chunk.header);
    let trace_id = chunks[0].header.trace_uuid();
    let id = Uuid::new_v5(&trace_id, &[sources, &part.to_le_bytes()].concat());
    let received_us = headers().map(|header| header.received_us).min().unwrap_or_default();
    let mut builder = ChunkBuilder::new(id, trace_id, &chunks[0].header.tenant, received_us, Origin::Compaction);
    let header = builder.header_mut();
    let named = headers()
        .filter(|header| header.flow_id.is_some())
        .min_by_key(|header| (header.started_us.unwrap_or(i64::MAX), header.flow_id.clone()));
    if let Some(named) = named {
        header.flow_id.clone_from(&named.flow_id);
        header.flow_name.clone_from(&named.flow_name);
    }
    header.execution_id = headers().filter_map(|header| header.execution_id.clone()).min();
    header.flow_version = headers().filter_map(|header| header.flow_version.clone()).max();
    header.metadata_json = headers().filter_map(|header| header.metadata_json.clone()).min();
    if part == 0 {
        header.started_us = headers().filter_map(|header| header.started_us).min();
        header.closed_us = headers().filter_map(|header| header.closed_us).max();
        header.ended = headers().filter_map(|header| header.ended.clone()).max_by(EndMark::order);
        let mut ids: Vec<&[u8]> = headers().flat_map(|header| header.sent_ids.chunks_exact(16)).collect();
        ids.sort_unstable();
        ids.dedup();
        header.sent_ids = ids.concat();
    }
    builder
}

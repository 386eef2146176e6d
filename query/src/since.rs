//! Chunks received since a time, as the store keeps them, for a viewer that wants the past before the present.
//!
//! Each comes after its length (u32, little endian). They are found by trace (newest trace first), gathered up to
//! [`SORTED_BYTES`] and put in order of received time: all of a short past is in order, a longer one stretch by stretch. Nothing is
//! opened, and no more than one stretch is held: the past may be larger than any answer. A compacted chunk counts as received
//! when the last of its trace was, so that nothing is left out.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use reflow_tracing_bus::{AnswerStream, BusError, MAX_PIECE_BYTES};
use reflow_tracing_chunk::{Chunk, Origin};
use reflow_tracing_store::{Page, StoreError, StoreReader, StoredChunk, TraceFilter, TraceSummary};

use crate::metrics::QueryMetrics;
use crate::refusal::Refusal;

/// Payload bytes that are put in order together.
const SORTED_BYTES: usize = 8 << 20;
/// Payload bytes read at once.
const PAGE_BYTES: usize = 1 << 20;
/// Traces looked up at once.
const TRACES: usize = 200;

/// The past, being read.
struct Past {
    reader: Arc<dyn StoreReader>,
    tenant: String,
    since_us: i64,
    now_us: i64,
    metrics: QueryMetrics,
    /// Where the next page of traces begins; `None` once there is none.
    after: Option<Option<(i64, uuid::Uuid)>>,
    traces: std::collections::VecDeque<TraceSummary>,
    /// Encoded, waiting to be sent in pieces that the bus takes.
    ready: Bytes,
}

/// Chunks received at or after `since_us`. An error ends the stream.
pub(crate) fn chunks(
    reader: Arc<dyn StoreReader>,
    tenant: String,
    since_us: i64,
    now_us: i64,
    metrics: QueryMetrics,
) -> AnswerStream {
    let past = Past {
        reader,
        tenant,
        since_us,
        now_us,
        metrics,
        after: Some(None),
        traces: std::collections::VecDeque::new(),
        ready: Bytes::new(),
    };
    stream::try_unfold(past, |mut past| async move {
        if past.ready.is_empty() {
            let stretch = past.stretch().await.map_err(|error| Refusal::from(error).into_bus())?;
            past.metrics.bytes(stretch.len());
            past.ready = stretch;
        }
        if past.ready.is_empty() {
            return Ok::<_, BusError>(None);
        }
        let piece = past.ready.split_to(past.ready.len().min(MAX_PIECE_BYTES));
        Ok(Some((piece, past)))
    })
    .boxed()
}

impl Past {
    /// The next stretch, encoded; empty at the end.
    async fn stretch(&mut self) -> Result<Bytes, StoreError> {
        let mut chunks: Vec<StoredChunk> = Vec::new();
        let mut bytes = 0;
        while bytes < SORTED_BYTES {
            let Some(trace) = self.next_trace().await? else { break };
            let mut after = None;
            loop {
                let page = self.reader.trace_chunks(&self.tenant, trace.trace_id, after, PAGE_BYTES).await?;
                let since_us = self.since_us;
                chunks.extend(page.chunks.into_iter().filter(|chunk| {
                    chunk.header.received_us >= since_us || chunk.header.origin() == Origin::Compaction
                }));
                bytes = chunks.iter().map(|chunk| chunk.payload.len()).sum();
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        chunks.sort_by_key(|chunk| (chunk.header.received_us, chunk.header.chunk_uuid()));
        Ok(encode(chunks))
    }

    async fn next_trace(&mut self) -> Result<Option<TraceSummary>, StoreError> {
        if let (true, Some(after)) = (self.traces.is_empty(), self.after) {
            let filter = TraceFilter {
                tenant: self.tenant.clone(),
                active_since_us: Some(self.since_us),
                ..TraceFilter::default()
            };
            let page = Page { limit: TRACES, offset: 0, after };
            let found = self.reader.query(&filter, &page, self.now_us).await?.traces;
            let last = found.last().map(|trace| (trace.start_us, trace.trace_id));
            self.after = last.filter(|_| found.len() == TRACES).map(Some);
            self.traces = found.into();
        }
        Ok(self.traces.pop_front())
    }
}

fn encode(chunks: Vec<StoredChunk>) -> Bytes {
    let mut out = BytesMut::new();
    for stored in chunks {
        let message = Chunk { header: stored.header, payload: stored.payload }.encode();
        // A chunk is a message of the bus, far below 4 GiB.
        out.put_u32_le(u32::try_from(message.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(&message);
    }
    out.freeze()
}

//! Chunks received since a time, as the store keeps them, for a viewer that wants the past before the present.
//!
//! Each comes after its length (u32, little endian); a length of 0 stands where something may be missing. They are found by trace (newest
//! trace first), gathered up to [`STRETCH_BYTES`] and put in order of received time: all of a short past is in order, a longer one stretch
//! by stretch. Nothing is opened (but each names its trace's flow), and no more than one stretch and one page are held: the past may be larger than any answer. A
//! compacted chunk counts as received when the last of its trace was, so that nothing is left out.
//!
//! A trace of one page is read in one state. Between the pages of a larger one a compaction may put chunks before the cursor: its counts show
//! it, as in [`crate::events`], and it is read again, or, where a part of it has been told already, said to have a gap. A trace whose start moves
//! back meanwhile is told again, under the same chunk ids; the reader leaves those out.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use reflow_tracing_bus::{AnswerStream, BusError, MAX_PIECE_BYTES};
use reflow_tracing_chunk::{Chunk, Origin};
use reflow_tracing_store::{ChunkCursor, Page, StoreError, StoreReader, StoredChunk, TraceFilter, TraceSummary};

use crate::events::{ATTEMPTS, covers};
use crate::metrics::QueryMetrics;
use crate::refusal::Refusal;

/// Payload bytes that are put in order together.
const STRETCH_BYTES: usize = 8 << 20;
/// Payload bytes read at once: all of nearly every trace (some 100,000 events), so that it needs no second look.
const PAGE_BYTES: usize = STRETCH_BYTES;
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
    /// The trace whose turn it is.
    reading: Option<Reading>,
    /// Encoded, waiting to be sent in pieces that the bus takes.
    ready: Bytes,
}

/// A trace between two of its pages.
struct Reading {
    /// As it was before the first page.
    trace: TraceSummary,
    after: Option<ChunkCursor>,
    pages: usize,
    /// Events in the pages read.
    events: u64,
    attempt: usize,
    /// Where its chunks begin in the stretch; `None` once some have left with an earlier one.
    begin: Option<usize>,
}

/// What is put in order together.
#[derive(Default)]
struct Stretch {
    chunks: Vec<StoredChunk>,
    /// Of their payloads.
    bytes: usize,
    /// Some of it may be missing.
    gap: bool,
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
        reading: None,
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
        let mut stretch = Stretch::default();
        while stretch.bytes < STRETCH_BYTES {
            let reading = match self.reading.take() {
                Some(reading) => reading,
                None => match self.next_trace().await? {
                    Some(trace) => Reading::new(trace, stretch.chunks.len(), 1),
                    None => break,
                },
            };
            self.reading = self.page(reading, &mut stretch).await?;
        }
        if let Some(reading) = &mut self.reading {
            reading.begin = None;
        }
        Ok(stretch.encode())
    }

    /// Reads a page of a trace; what is left of it to be read.
    async fn page(&self, mut reading: Reading, stretch: &mut Stretch) -> Result<Option<Reading>, StoreError> {
        let trace_id = reading.trace.trace_id;
        let page = self.reader.trace_chunks(&self.tenant, trace_id, reading.after, PAGE_BYTES).await?;
        reading.pages += 1;
        reading.events += page.chunks.iter().map(|chunk| u64::from(chunk.header.event_count)).sum::<u64>();
        let wanted = page
            .chunks
            .into_iter()
            .filter(|chunk| chunk.header.received_us >= self.since_us || chunk.header.origin() == Origin::Compaction);
        stretch.add(wanted.map(|chunk| with_flow(chunk, &reading.trace)));
        if page.next.is_some() {
            reading.after = page.next;
            return Ok(Some(reading));
        }
        if reading.pages == 1 {
            return Ok(None);
        }
        let Some(now) = self.reader.find_trace(&self.tenant, trace_id, self.now_us).await? else { return Ok(None) };
        if covers(reading.events, &reading.trace, &now) {
            return Ok(None);
        }
        match reading.begin {
            Some(begin) if reading.attempt < ATTEMPTS => {
                stretch.truncate(begin);
                Ok(Some(Reading::new(now, begin, reading.attempt + 1)))
            }
            _ => {
                tracing::warn!(%trace_id, events = reading.events, "trace changed while it was read");
                stretch.gap = true;
                Ok(None)
            }
        }
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

/// Whoever took the chunk in may not have known its trace's flow; by now the trace does.
fn with_flow(mut chunk: StoredChunk, trace: &TraceSummary) -> StoredChunk {
    let header = &mut chunk.header;
    if header.flow_id.is_none() {
        (header.flow_id, header.flow_name) = (trace.flow_id.clone(), trace.flow_name.clone());
    }
    chunk
}

impl Reading {
    fn new(trace: TraceSummary, begin: usize, attempt: usize) -> Self {
        Self { trace, after: None, pages: 0, events: 0, attempt, begin: Some(begin) }
    }
}

impl Stretch {
    fn add(&mut self, chunks: impl Iterator<Item = StoredChunk>) {
        self.chunks.extend(chunks.inspect(|chunk| self.bytes += chunk.payload.len()));
    }

    /// Takes back what was added behind the first `count`.
    fn truncate(&mut self, count: usize) {
        self.bytes -= self.chunks.drain(count..).map(|chunk| chunk.payload.len()).sum::<usize>();
    }

    fn encode(mut self) -> Bytes {
        self.chunks.sort_by_key(|chunk| (chunk.header.received_us, chunk.header.chunk_uuid()));
        let mut out = BytesMut::new();
        for stored in self.chunks {
            let message = Chunk { header: stored.header, payload: stored.payload }.encode();
            // A chunk is a message of the bus, far below 4 GiB.
            out.put_u32_le(u32::try_from(message.len()).unwrap_or(u32::MAX));
            out.extend_from_slice(&message);
        }
        if self.gap {
            out.put_u32_le(0);
        }
        out.freeze()
    }
}

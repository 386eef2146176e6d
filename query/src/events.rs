//! The events of one trace, from the store's chunks to one list: each event once, by time.
//!
//! Guarantee: nothing is lost or doubled when the trace is compacted between two pages. Doubles are told by event id. A loss
//! shows in the counts: merged chunks may lie before the cursor, so a read of several pages that found fewer events than the
//! summary promised, or across which the summary became exact, starts again.
//!
//! Memory: the opened payloads (the answer's own size) and 16 bytes an event; compressed pages are dropped one by one.

use std::borrow::Cow;
use std::collections::HashSet;

use reflow_tracing_chunk::{StoredEvents, V1Rewrite, decode_events};
use reflow_tracing_store::{StoreReader, StoredChunk, TraceSummary};

use crate::refusal::Refusal;
use crate::room::Room;

/// Compressed bytes asked for at once: about 16 MiB of events.
const PAGE_BYTES: usize = 2 << 20;

/// Opening more than this, some tenths of a millisecond, takes long enough to be in the way of other tasks on the same thread.
const INLINE_BYTES: usize = 1 << 20;

/// Room made for so many events at most before any is read.
const EXPECTED_EVENTS: u64 = 10_000;

/// A compaction between two pages is rare, and hardly comes twice in a row.
pub(crate) const ATTEMPTS: usize = 3;

/// Events of a trace, each once, by time; those of the same microsecond as they were sent.
#[derive(Default)]
pub(crate) struct TraceEvents {
    bodies: Vec<Body>,
    order: Vec<Place>,
    bytes: usize,
}

enum Body {
    AsSent(StoredEvents),
    Rewritten(Vec<String>),
}

#[derive(Clone, Copy)]
struct Place {
    at_us: i64,
    body: u32,
    event: u32,
}

/// The trace turned out larger than the caller allows.
pub(crate) struct TooLarge {
    /// Size of all its events; estimated when reading stopped early.
    pub about_bytes: u64,
}

/// Why there are no events.
pub(crate) enum LoadError {
    TooLarge(TooLarge),
    Refused(Refusal),
}

/// What to read, and within which bounds.
pub(crate) struct Load<'a> {
    pub reader: &'a dyn StoreReader,
    /// For a 0.2.1 reader.
    pub v1: bool,
    /// Events above this are refused, bytes.
    pub max_bytes: usize,
    pub now_us: i64,
}

struct Gather {
    v1: bool,
    seen: HashSet<uuid::Uuid>,
    found: TraceEvents,
    /// Events in the chunks read, doubles included.
    read: u64,
}

impl TraceEvents {
    /// Size with commas, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes + self.order.len().saturating_sub(1)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// An event's JSON.
    pub fn get(&self, index: usize) -> Option<&str> {
        let place = self.order.get(index)?;
        let event = place.event as usize;
        match self.bodies.get(place.body as usize)? {
            Body::AsSent(events) => Some(events.raw(events.index().get(event)?)),
            Body::Rewritten(events) => events.get(event).map(String::as_str),
        }
    }
}

impl Load<'_> {
    /// Reads a trace. The summary comes back as it was when its events were complete.
    pub async fn trace(
        &self,
        mut summary: TraceSummary,
        room: &mut Room,
    ) -> Result<(TraceSummary, TraceEvents), LoadError> {
        for attempt in 1.. {
            let (gather, pages) = self.pages(&summary, room).await?;
            if pages == 1 {
                // One page is one statement of the store, hence one state of it.
                return Ok((summary, gather.finish()));
            }
            let again = self.reader.find_trace(&summary.tenant, summary.trace_id, self.now_us).await?;
            let Some(now) = again else { return Ok((summary, gather.finish())) };
            if gather.covers(&summary, &now) {
                return Ok((now, gather.finish()));
            }
            if attempt == ATTEMPTS {
                tracing::warn!(trace_id = %now.trace_id, read = gather.read, "trace kept changing while it was read");
                return Ok((now, gather.finish()));
            }
            summary = now;
        }
        unreachable!("the loop returns on its last attempt")
    }

    async fn pages(&self, summary: &TraceSummary, room: &mut Room) -> Result<(Gather, usize), LoadError> {
        // What is told is only a hint: a trace may be larger than anybody may be answered.
        let expected = summary.stored_events.min(EXPECTED_EVENTS) as usize;
        let seen = HashSet::with_capacity(expected);
        let mut gather = Gather { v1: self.v1, seen, found: TraceEvents::default(), read: 0 };
        let mut after = None;
        for pages in 1.. {
            let page = self.reader.trace_chunks(&summary.tenant, summary.trace_id, after, PAGE_BYTES).await?;
            gather = self.open(gather, page.chunks, room).await?;
            if gather.found.bytes() > self.max_bytes {
                let per_event = gather.found.bytes() as u64 / gather.found.len().max(1) as u64;
                let events = summary.stored_events.max(gather.found.len() as u64);
                return Err(LoadError::TooLarge(TooLarge { about_bytes: per_event.saturating_mul(events) }));
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok((gather, pages)),
            }
        }
        unreachable!("an endless range has no end")
    }

    async fn open(&self, mut gather: Gather, chunks: Vec<StoredChunk>, room: &mut Room) -> Result<Gather, LoadError> {
        let raw: usize = chunks.iter().map(|chunk| chunk.header.raw_size as usize).sum();
        room.take(raw).await?;
        if raw <= INLINE_BYTES {
            gather.add(chunks)?;
            return Ok(gather);
        }
        let opened = tokio::task::spawn_blocking(move || gather.add(chunks).map(|()| gather)).await;
        Ok(opened.map_err(|error| Refusal::internal(&error))??)
    }
}

impl Gather {
    fn add(&mut self, chunks: Vec<StoredChunk>) -> Result<(), Refusal> {
        for StoredChunk { header, payload } in chunks {
            let events = decode_events(&header, &payload).map_err(|error| {
                tracing::error!(chunk_id = %header.chunk_uuid(), trace_id = %header.trace_uuid(), "damaged chunk");
                Refusal::damaged("a part of the trace", &error)
            })?;
            self.read += events.index().len() as u64;
            let rewrite = if self.v1 { V1Rewrite::of(&header) } else { V1Rewrite::None };
            self.keep(events, rewrite).map_err(|error| Refusal::damaged("an event of the trace", &error))?;
        }
        Ok(())
    }

    fn keep(&mut self, events: StoredEvents, rewrite: V1Rewrite) -> Result<(), serde_json::Error> {
        let body = self.found.bodies.len() as u32;
        let kept = self.found.order.len();
        let mut rewritten = Vec::new();
        for (index, (event, raw)) in events.iter().enumerate() {
            if !self.seen.insert(event.event_id) {
                continue;
            }
            let place = |event: usize| event as u32;
            let index = if rewrite == V1Rewrite::None {
                self.found.bytes += raw.len();
                place(index)
            } else {
                let raw = rewrite.apply(raw).map(Cow::into_owned)?;
                self.found.bytes += raw.len();
                rewritten.push(raw);
                place(rewritten.len() - 1)
            };
            self.found.order.push(Place { at_us: event.at_us, body, event: index });
        }
        // A chunk of nothing but doubles is not kept: a program that repeats itself must not cost memory.
        if self.found.order.len() > kept {
            self.found.bodies.push(match rewrite {
                V1Rewrite::None => Body::AsSent(events),
                V1Rewrite::Figures => Body::Rewritten(rewritten),
            });
        }
        Ok(())
    }

    /// Whether what was read is all that both summaries, taken before and after, speak of.
    fn covers(&self, before: &TraceSummary, after: &TraceSummary) -> bool {
        // An inexact count holds doubles, as `read` does; an exact one does not.
        covers(if after.exact { self.seen.len() as u64 } else { self.read }, before, after)
    }

    fn finish(mut self) -> TraceEvents {
        self.found.order.sort_by_key(|place| place.at_us);
        self.found
    }
}

/// Whether pages that held so many events were of one state of the trace, by its summaries before and after.
pub(crate) fn covers(found: u64, before: &TraceSummary, after: &TraceSummary) -> bool {
    before.exact == after.exact && found >= before.stored_events.min(after.stored_events)
}

impl From<Refusal> for LoadError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<reflow_tracing_store::StoreError> for LoadError {
    fn from(error: reflow_tracing_store::StoreError) -> Self {
        Self::Refused(error.into())
    }
}

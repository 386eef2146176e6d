//! The new chunks of a commit as rows of each table.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use reflow_tracing_chunk::{Chunk, Header};
use uuid::Uuid;

use super::names::{actor_key, key_text};
use super::{Rollup, RollupKey, TraceRow, VersionKey, VersionTimes};
use crate::ClientRow;

const HOUR_US: i64 = 3_600_000_000;

/// An hour of insertion: day since the epoch, and hour of that day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hour {
    pub day: i64,
    pub hour: i64,
}

impl Hour {
    pub fn of(now_us: i64) -> Self {
        let hours = now_us.div_euclid(HOUR_US);
        Self { day: hours.div_euclid(24), hour: hours.rem_euclid(24) }
    }
}

/// What a trace is known by: its id, in its tenant. Two tenants with the same id are two traces.
pub(crate) type TraceKey = (Uuid, String);

/// What a batch says of one trace.
#[derive(Clone, Debug)]
pub(crate) struct TraceDelta {
    pub row: TraceRow,
    /// [`actor_key`]s.
    pub actors: BTreeSet<i64>,
    /// By client id.
    pub clients: BTreeMap<String, ClientRow>,
}

/// Everything a commit writes, each row once, in key order.
#[derive(Debug, Default)]
pub(crate) struct Batch<'a> {
    /// In the order given.
    pub chunks: Vec<&'a Chunk>,
    pub traces: BTreeMap<TraceKey, TraceDelta>,
    pub versions: BTreeMap<VersionKey, VersionTimes>,
    pub rollups: BTreeMap<RollupKey, Rollup>,
    /// Events in all chunks.
    pub events: u64,
    /// Payload bytes of all chunks.
    pub bytes: u64,
}

impl<'a> Batch<'a> {
    /// Merges the chunks whose ids are in `new`, each id once.
    pub fn of_new(chunks: &'a [Chunk], mut new: HashSet<Uuid>) -> Self {
        let mut batch = Self::default();
        chunks.iter().filter(|chunk| new.remove(&chunk.header.chunk_uuid())).for_each(|chunk| batch.add(chunk));
        batch
    }

    fn add(&mut self, chunk: &'a Chunk) {
        let header = &chunk.header;
        let row = TraceRow::of(header);
        let tenant = row.tenant.clone();
        let key = (row.trace_id, tenant);
        match self.traces.get_mut(&key) {
            Some(delta) => {
                delta.row.merge(row);
                delta.add(header, &key.1);
            }
            None => {
                let mut delta = TraceDelta { row, actors: BTreeSet::new(), clients: BTreeMap::new() };
                delta.add(header, &key.1);
                self.traces.insert(key, delta);
            }
        }
        if let Some((key, times)) = VersionKey::of(header) {
            self.versions.entry(key).and_modify(|mine| mine.merge(times)).or_insert(times);
        }
        if header.event_count > 0 {
            self.rollups.entry(RollupKey::of(header)).or_default().add_chunk(header);
        }
        self.events += u64::from(header.event_count);
        self.bytes += chunk.payload.len() as u64;
        self.chunks.push(chunk);
    }

    /// The chunks that were sent under other ids than their trace's.
    pub fn aliased(&self) -> impl Iterator<Item = &'a Chunk> + '_ {
        self.chunks.iter().copied().filter(|chunk| !chunk.header.sent_ids.is_empty())
    }
}

impl TraceDelta {
    fn add(&mut self, header: &Header, tenant: &str) {
        self.actors.extend(header.actors.iter().map(|stats| actor_key(tenant, &stats.actor)));
        let Some(mark) = &header.client else { return };
        let events = u64::from(header.event_count);
        let rejected = u64::from(mark.rejected);
        let client_id = key_text(&mark.client_id).into_owned();
        let row = ClientRow {
            client_id: client_id.clone(),
            recorded: mark.sequence.saturating_add(events).saturating_add(rejected),
            stored: events,
            dropped: mark.dropped,
            rejected,
        };
        self.clients.entry(client_id).and_modify(|mine| mine.merge(&row)).or_insert(row);
    }
}

impl ClientRow {
    /// Sums and maxima.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.recorded = self.recorded.max(other.recorded);
        self.stored = self.stored.saturating_add(other.stored);
        self.dropped = self.dropped.max(other.dropped);
        self.rejected = self.rejected.saturating_add(other.rejected);
    }
}

/// The chunk ids of a call, each once, in key order.
pub(crate) fn unique_ids(chunks: &[Chunk]) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> = chunks.iter().map(|chunk| chunk.header.chunk_uuid()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The header as it is stored: without the ids as sent, which lie in `trace_aliases` and are the one part of a v1 header that does
/// not compress.
pub(crate) fn stored_header(header: &Header) -> Cow<'_, Header> {
    if header.sent_ids.is_empty() {
        return Cow::Borrowed(header);
    }
    Cow::Owned(Header { sent_ids: Vec::new(), ..header.clone() })
}

//! The maps, and how a commit changes them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use reflow_tracing_chunk::{Chunk, Header};
use uuid::Uuid;

use super::EvictionPolicy;
use crate::merge::compaction::ChunkRef;
use crate::merge::{
    Batch, Hour, OTHER, Rollup, RollupKey, TraceDelta, TraceKey, TraceRow, VersionKey, VersionTimes, actor_key,
    key_text, stored_header, unique_ids, within_limit,
};
use crate::{ClientRow, CommitOutcome, Limits};

/// A chunk, by (first event time, chunk id): the order in which it is read.
pub(super) type ChunkKey = (Option<i64>, Uuid);

#[derive(Clone, Debug)]
pub(super) struct KeptChunk {
    pub at: Hour,
    pub header: Header,
    pub payload: Bytes,
}

impl KeptChunk {
    pub fn reference(&self) -> ChunkRef {
        ChunkRef {
            at: self.at,
            first_us: self.header.first_event_us,
            chunk_id: self.header.chunk_uuid(),
            events: u64::from(self.header.event_count),
            raw_bytes: u64::from(self.header.raw_size),
            bytes: self.payload.len() as u64,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct KeptTrace {
    pub row: TraceRow,
    /// [`actor_key`]s.
    pub actors: HashSet<i64>,
    pub clients: BTreeMap<String, ClientRow>,
    pub aliases: BTreeSet<Uuid>,
    pub chunks: BTreeMap<ChunkKey, KeptChunk>,
    /// Its place in the queue for eviction.
    turn: u64,
}

#[derive(Debug)]
pub(super) struct State {
    pub limits: Limits,
    pub seen: HashMap<Uuid, i64>,
    pub traces: HashMap<TraceKey, KeptTrace>,
    pub versions: BTreeMap<VersionKey, VersionTimes>,
    pub rollups: BTreeMap<RollupKey, Rollup>,
    pub evicted: u64,
    /// Traces by turn: the first goes first.
    queue: BTreeMap<u64, TraceKey>,
    next_turn: u64,
    max_traces: usize,
    eviction: EvictionPolicy,
}

impl State {
    pub fn new(max_traces: usize, eviction: EvictionPolicy, limits: Limits) -> Self {
        Self {
            limits,
            seen: HashMap::new(),
            traces: HashMap::new(),
            versions: BTreeMap::new(),
            rollups: BTreeMap::new(),
            evicted: 0,
            queue: BTreeMap::new(),
            next_turn: 0,
            max_traces,
            eviction,
        }
    }

    pub fn commit(&mut self, chunks: &[Chunk], now_us: i64) -> CommitOutcome {
        let at = Hour::of(now_us);
        let mut new: HashSet<Uuid> = HashSet::new();
        for id in unique_ids(chunks) {
            self.seen.entry(id).or_insert_with(|| {
                new.insert(id);
                at.day
            });
        }
        let stored = new.len();
        let batch = Batch::of_new(chunks, new);
        let mut rows = 2 * stored + batch.traces.len() + batch.versions.len() + batch.rollups.len();
        for (key, delta) in batch.traces {
            rows += self.merge_trace(key, delta);
        }
        for chunk in &batch.chunks {
            let header = &chunk.header;
            let Some(trace) = self.traces.get_mut(&trace_key(header)) else { continue };
            trace.aliases.extend(header.sent_uuids());
            let kept = KeptChunk { at, header: stored_header(header).into_owned(), payload: chunk.payload.clone() };
            trace.chunks.insert((header.first_event_us, header.chunk_uuid()), kept);
        }
        for (key, times) in batch.versions {
            self.merge_version(key, times);
        }
        for (key, delta) in batch.rollups {
            self.merge_rollup(key, &delta);
        }
        // After the chunks are in: a batch of more traces than fit leaves the last ones.
        self.evict();
        CommitOutcome { stored, duplicates: chunks.len() - stored, events: batch.events, rows: rows as u64 }
    }

    /// Gives how many rows beside the summary's the SQL backends would have written.
    fn merge_trace(&mut self, key: TraceKey, delta: TraceDelta) -> usize {
        let turn = self.next_turn;
        self.next_turn += 1;
        let tenant = key.1.clone();
        let trace = match self.traces.get_mut(&key) {
            Some(trace) => {
                trace.row.merge(delta.row);
                if self.eviction == EvictionPolicy::Lru {
                    self.queue.remove(&trace.turn);
                    self.queue.insert(turn, key);
                    trace.turn = turn;
                }
                trace
            }
            None => {
                self.queue.insert(turn, key.clone());
                self.traces.entry(key).or_insert(KeptTrace {
                    row: delta.row,
                    actors: HashSet::new(),
                    clients: BTreeMap::new(),
                    aliases: BTreeSet::new(),
                    chunks: BTreeMap::new(),
                    turn,
                })
            }
        };
        let actors = trace.actors.len();
        for actor in delta.actors {
            let has_room = trace.actors.len() < self.limits.actors_per_trace || trace.actors.contains(&actor);
            trace.actors.insert(if has_room { actor } else { actor_key(&tenant, OTHER) });
        }
        let rows = trace.actors.len() - actors + delta.clients.len();
        let stored = trace.clients.iter().map(|(client_id, row)| (client_id.clone(), row.recorded)).collect();
        for client in within_limit(&stored, &delta.clients, self.limits.clients_per_trace) {
            let client_id = client.client_id.clone();
            trace.clients.entry(client_id).and_modify(|mine| mine.merge(&client)).or_insert(client);
        }
        rows
    }

    fn merge_version(&mut self, key: VersionKey, times: VersionTimes) {
        let same_flow = |other: &VersionKey| (&other.tenant, &other.flow_name) == (&key.tenant, &key.flow_name);
        let of_flow = |versions: &BTreeMap<VersionKey, VersionTimes>| {
            let mut keys: Vec<_> = versions.iter().filter(|(other, _)| same_flow(other)).collect();
            keys.sort_by_key(|(_, times)| (times.last_us, times.first_us));
            let beyond = keys.len().saturating_sub(self.limits.versions_per_flow);
            keys.into_iter().take(beyond).map(|(key, _)| key.clone()).collect::<Vec<_>>()
        };
        let before = self.versions.len();
        self.versions.entry(key.clone()).and_modify(|mine| mine.merge(times)).or_insert(times);
        if self.versions.len() > before {
            for oldest in of_flow(&self.versions) {
                self.versions.remove(&oldest);
            }
        }
    }

    fn merge_rollup(&mut self, mut key: RollupKey, delta: &Rollup) {
        if key.is_limited() && !self.rollups.contains_key(&key) {
            let first = RollupKey { flow_name: String::new(), ..key.clone() };
            let same_minute = |other: &&RollupKey| other.tenant == key.tenant && other.minute == key.minute;
            let flows = self.rollups.range(first..).map(|(other, _)| other).take_while(same_minute);
            if flows.filter(|other| other.is_limited()).count() >= self.limits.flows_per_minute {
                key = key.overflow();
            }
        }
        self.rollups.entry(key).or_default().merge(delta, &self.limits);
    }

    fn evict(&mut self) {
        while self.traces.len() > self.max_traces
            && let Some((_, key)) = self.queue.pop_first()
        {
            self.traces.remove(&key);
            self.evicted += 1;
        }
    }

    /// Forgets a trace that retention has emptied.
    pub fn remove(&mut self, key: &TraceKey) {
        if let Some(trace) = self.traces.remove(key) {
            self.queue.remove(&trace.turn);
        }
    }
}

/// The trace a chunk belongs to.
pub(super) fn trace_key(header: &Header) -> TraceKey {
    (header.trace_uuid(), key_text(&header.tenant).into_owned())
}

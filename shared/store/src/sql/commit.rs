//! The order of a commit, once for both SQL backends; they bring the statements.
//!
//! Guarantee: `seen` first, and only ids it takes go on; then tables in one fixed order, rows in key order, so that two writers never
//! wait for each other in a circle. Everything happens in the transaction that the steps run in.

use std::collections::{BTreeMap, HashMap, HashSet};

use async_trait::async_trait;
use reflow_tracing_chunk::Chunk;
use uuid::Uuid;

use super::clients;
use crate::merge::compaction::find_packed;
use crate::merge::{Batch, Hour, OTHER, Rollup, RollupKey, TraceDelta, VersionKey, VersionTimes, actor_key};
use crate::{ClientRow, CommitOutcome, Limits};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// A summary row after the merge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredTrace {
    pub seq: i64,
    pub event_count: u64,
}

/// A rollup row as it lies there.
#[derive(Debug)]
pub(crate) struct StoredRollup {
    pub key: RollupKey,
    pub rollup: Rollup,
    /// The backend's own name for the row.
    pub id: i64,
}

/// What a backend does inside one transaction. Slices come in key order.
#[async_trait]
pub(crate) trait CommitSteps: Send {
    /// Inserts the ids; gives those that were not there.
    async fn take_seen(&mut self, ids: &[Uuid], at: Hour) -> Result<HashSet<Uuid>>;
    /// Rows of packed ids of these traces.
    async fn packed_ids(&mut self, traces: &[Uuid]) -> Result<Vec<Vec<u8>>>;
    /// Takes ids out again that turned out to be packed.
    async fn drop_seen(&mut self, ids: &[Uuid]) -> Result<()>;
    /// Merges summaries; gives them in the order of `deltas`.
    async fn merge_traces(&mut self, deltas: &[&TraceDelta]) -> Result<Vec<StoredTrace>>;
    async fn insert_chunks(&mut self, chunks: &[(i64, &Chunk)], at: Hour) -> Result<()>;
    /// How many actors a trace can be found by.
    async fn count_actors(&mut self, trace: i64) -> Result<u64>;
    /// Inserts (trace, actor) where missing; gives how many were.
    async fn insert_actors(&mut self, rows: &[(i64, i64)]) -> Result<u64>;
    /// How many clients each of these traces has; nothing of those that have none.
    async fn count_clients(&mut self, traces: &[i64]) -> Result<Vec<(i64, u64)>>;
    /// The clients of a trace, and what each recorded.
    async fn clients_of(&mut self, trace: i64) -> Result<Vec<(String, u64)>>;
    async fn merge_clients(&mut self, rows: &[(i64, &ClientRow)]) -> Result<()>;
    async fn insert_aliases(&mut self, rows: &[(i64, &[u8])]) -> Result<()>;
    /// Merges versions, and forgets those of their flows beyond the limit: the ones not seen for the longest.
    async fn merge_versions(&mut self, rows: &[(&VersionKey, &VersionTimes)], limit: usize) -> Result<()>;
    async fn add_to_hour(&mut self, at: Hour, chunks: i64, events: i64, bytes: i64) -> Result<()>;
    /// Reads rows and locks them.
    async fn read_rollups(&mut self, keys: &[&RollupKey]) -> Result<Vec<StoredRollup>>;
    /// Flows of this tenant and minute, counted up to `limit`.
    async fn count_flows(&mut self, key: &RollupKey, limit: usize) -> Result<usize>;
    /// Inserts rows; gives the keys that somebody else has inserted in between.
    async fn insert_rollups(&mut self, rows: &[(&RollupKey, &Rollup)]) -> Result<Vec<RollupKey>>;
    async fn update_rollups(&mut self, rows: &[StoredRollup]) -> Result<()>;
}

/// Writes what is new among the chunks.
pub(crate) async fn run(
    steps: &mut dyn CommitSteps,
    ids: &[Uuid],
    chunks: &[Chunk],
    now_us: i64,
    limits: &Limits,
) -> Result<CommitOutcome> {
    let at = Hour::of(now_us);
    let mut new = steps.take_seen(ids, at).await?;
    drop_packed(steps, chunks, &mut new).await?;
    let stored = new.len();
    let mut outcome = CommitOutcome { stored, duplicates: chunks.len() - stored, ..CommitOutcome::default() };
    if stored == 0 {
        return Ok(outcome);
    }

    let batch = Batch::of_new(chunks, new);
    let deltas: Vec<&TraceDelta> = batch.traces.values().collect();
    let traces = steps.merge_traces(&deltas).await?;
    let seqs: HashMap<(Uuid, &str), i64> =
        batch.traces.keys().zip(&traces).map(|((id, tenant), trace)| ((*id, tenant.as_str()), trace.seq)).collect();
    let seq_of = |chunk: &Chunk| {
        let tenant = crate::merge::key_text(&chunk.header.tenant);
        seqs.get(&(chunk.header.trace_uuid(), &*tenant)).copied().ok_or(sqlx::Error::RowNotFound)
    };

    let rows = batch.chunks.iter().map(|chunk| Ok((seq_of(chunk)?, *chunk))).collect::<Result<Vec<_>>>()?;
    steps.insert_chunks(&rows, at).await?;

    let actors = actor_rows(steps, &batch, &traces, limits).await?;
    let new_actors = if actors.is_empty() { 0 } else { steps.insert_actors(&actors).await? };

    let clients = clients::rows(steps, &deltas, &traces, limits).await?;
    if !clients.is_empty() {
        let rows: Vec<_> = clients.iter().map(|(trace, client)| (*trace, &**client)).collect();
        steps.merge_clients(&rows).await?;
    }
    let aliases =
        batch.aliased().map(|chunk| Ok((seq_of(chunk)?, &chunk.header.sent_ids[..]))).collect::<Result<Vec<_>>>()?;
    if !aliases.is_empty() {
        steps.insert_aliases(&aliases).await?;
    }
    let versions: Vec<_> = batch.versions.iter().collect();
    if !versions.is_empty() {
        steps.merge_versions(&versions, limits.versions_per_flow).await?;
    }
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    steps.add_to_hour(at, signed(stored as u64), signed(batch.events), signed(batch.bytes)).await?;
    let rollups = merge_rollups(steps, &batch.rollups, limits).await?;

    outcome.events = batch.events;
    let counted = 2 * stored + traces.len() + clients.len() + aliases.len() + versions.len() + 1 + rollups;
    outcome.rows = counted as u64 + new_actors;
    Ok(outcome)
}

/// Chunks of a compacted trace have their ids in packed rows. Looked up after `seen` was written: a compaction that was moving an id
/// meanwhile has held the insert up until its packed row could be read.
async fn drop_packed(steps: &mut dyn CommitSteps, chunks: &[Chunk], new: &mut HashSet<Uuid>) -> Result<()> {
    let mut traces: Vec<Uuid> = chunks
        .iter()
        .filter(|chunk| new.contains(&chunk.header.chunk_uuid()))
        .map(|chunk| chunk.header.trace_uuid())
        .collect();
    traces.sort_unstable();
    traces.dedup();
    if traces.is_empty() {
        return Ok(());
    }
    let packed = steps.packed_ids(&traces).await?;
    let ids: Vec<Uuid> = new.iter().copied().collect();
    let mut again: Vec<Uuid> = packed.iter().flat_map(|row| find_packed(row, &ids)).collect();
    if !again.is_empty() {
        again.sort_unstable();
        again.dedup();
        new.retain(|id| again.binary_search(id).is_err());
        steps.drop_seen(&again).await?;
    }
    Ok(())
}

/// (trace, actor) pairs within the limit. A trace of no more events than the limit cannot have more actors: only larger ones are counted.
async fn actor_rows(
    steps: &mut dyn CommitSteps,
    batch: &Batch<'_>,
    traces: &[StoredTrace],
    limits: &Limits,
) -> Result<Vec<(i64, i64)>> {
    let limit = limits.actors_per_trace as u64;
    let mut rows = Vec::new();
    for (((_, tenant), delta), trace) in batch.traces.iter().zip(traces) {
        let mut room = usize::MAX;
        if trace.event_count > limit && !delta.actors.is_empty() {
            room = usize::try_from(limit.saturating_sub(steps.count_actors(trace.seq).await?)).unwrap_or(usize::MAX);
        }
        rows.extend(delta.actors.iter().take(room).map(|actor| (trace.seq, *actor)));
        if delta.actors.len() > room {
            rows.push((trace.seq, actor_key(tenant, OTHER)));
        }
    }
    rows.sort_unstable();
    rows.dedup();
    Ok(rows)
}

/// Adds to rollup rows; gives how many were written.
async fn merge_rollups(
    steps: &mut dyn CommitSteps,
    deltas: &BTreeMap<RollupKey, Rollup>,
    limits: &Limits,
) -> Result<usize> {
    let mut stored = read(steps, deltas.keys()).await?;
    let folded = fold_overflow(steps, deltas, &stored, limits).await?;
    let deltas = folded.as_ref().unwrap_or(deltas);
    if folded.is_some() {
        stored = read(steps, deltas.keys()).await?;
    }

    let empty = Rollup::default();
    let mut fresh = Vec::new();
    for (key, delta) in deltas.iter().filter(|(key, _)| !stored.contains_key(*key)) {
        let mut rollup = empty.clone();
        rollup.merge(delta, limits);
        fresh.push((key, rollup));
    }
    if !fresh.is_empty() {
        let rows: Vec<_> = fresh.iter().map(|(key, rollup)| (*key, rollup)).collect();
        let taken = steps.insert_rollups(&rows).await?;
        if !taken.is_empty() {
            // Another writer shares the slot and was quicker: its row is committed now, and ours is added to it.
            stored.extend(read(steps, taken.iter()).await?);
        }
    }
    let mut changed = Vec::with_capacity(stored.len());
    for (key, mut row) in stored {
        if let Some(delta) = deltas.get(&key) {
            row.rollup.merge(delta, limits);
            changed.push(row);
        }
    }
    if !changed.is_empty() {
        steps.update_rollups(&changed).await?;
    }
    Ok(deltas.len())
}

async fn read<'k>(
    steps: &mut dyn CommitSteps,
    keys: impl Iterator<Item = &'k RollupKey> + Send,
) -> Result<BTreeMap<RollupKey, StoredRollup>> {
    let keys: Vec<&RollupKey> = keys.collect();
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = steps.read_rollups(&keys).await?;
    Ok(rows.into_iter().map(|row| (row.key.clone(), row)).collect())
}

/// When a minute would get more flows than allowed, the deltas with those beyond put under `other`.
async fn fold_overflow(
    steps: &mut dyn CommitSteps,
    deltas: &BTreeMap<RollupKey, Rollup>,
    stored: &BTreeMap<RollupKey, StoredRollup>,
    limits: &Limits,
) -> Result<Option<BTreeMap<RollupKey, Rollup>>> {
    let mut room: HashMap<(&str, i64), usize> = HashMap::new();
    let mut beyond: HashSet<&RollupKey> = HashSet::new();
    for key in deltas.keys().filter(|key| key.is_limited() && !stored.contains_key(*key)) {
        let minute = (key.tenant.as_str(), key.minute);
        let left = match room.get(&minute) {
            Some(left) => *left,
            None => limits.flows_per_minute - steps.count_flows(key, limits.flows_per_minute).await?,
        };
        if left == 0 {
            beyond.insert(key);
        }
        room.insert(minute, left.saturating_sub(1));
    }
    if beyond.is_empty() {
        return Ok(None);
    }
    let unlimited = Limits { actors_per_flow: usize::MAX, edges_per_flow: usize::MAX, ..*limits };
    let mut folded: BTreeMap<RollupKey, Rollup> = BTreeMap::new();
    for (key, delta) in deltas {
        let key = if beyond.contains(key) { key.overflow() } else { key.clone() };
        folded.entry(key).or_default().merge(delta, &unlimited);
    }
    Ok(Some(folded))
}

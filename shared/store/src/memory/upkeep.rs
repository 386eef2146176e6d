//! Compaction and retention.

use std::collections::BTreeMap;

use reflow_tracing_chunk::Chunk;

use super::MemoryStore;
use super::state::{KeptChunk, State};
use crate::merge::compaction::{self, ChunkRef, Finish, Replacement};
use crate::merge::retention::{DAY_US, first_day_kept, first_day_seen, hours_to_remove};
use crate::merge::{Hour, TraceKey, minute_of, stored_header};
use crate::{CompactOutcome, CompactPolicy, RetentionOutcome, RetentionPolicy, StoreError, StoreErrorKind};

/// Merges outside of the lock and replaces under it, like the SQL backends outside and inside of a transaction.
pub(super) async fn compact(
    store: &MemoryStore,
    policy: &CompactPolicy,
    now_us: i64,
) -> Result<CompactOutcome, StoreError> {
    let mut outcome = CompactOutcome::default();
    let mut due: Vec<TraceKey> = {
        let state = store.state();
        let is_due = |key: &&TraceKey| {
            state.traces.get(*key).is_some_and(|trace| compaction::is_due(&trace.row, policy, now_us))
        };
        state.traces.keys().filter(is_due).cloned().collect()
    };
    due.sort_unstable();
    outcome.more = due.len() > policy.max_traces;
    due.truncate(policy.max_traces);
    for key in due {
        let (store, policy) = (store.clone(), policy.clone());
        let work = tokio::task::spawn_blocking(move || compact_trace(&store, &key, &policy));
        let failed = |error: tokio::task::JoinError| {
            StoreError::new(StoreErrorKind::Unavailable, "merging chunks", error.to_string())
        };
        match work.await.map_err(failed)? {
            Ok(done) => {
                outcome.traces += 1;
                outcome.chunks_removed += done.chunks_removed;
                outcome.chunks_written += done.chunks_written;
                outcome.duplicate_events += done.duplicate_events;
            }
            Err(error) => {
                tracing::warn!(%error, "trace cannot be compacted");
                outcome.failed += 1;
            }
        }
    }
    Ok(outcome)
}

fn compact_trace(
    store: &MemoryStore,
    key: &TraceKey,
    policy: &CompactPolicy,
) -> Result<CompactOutcome, reflow_tracing_chunk::MergeError> {
    let mut done = CompactOutcome::default();
    let Some((row, refs)) = store.state().traces.get(key).map(|trace| {
        let refs: Vec<ChunkRef> = trace.chunks.values().map(KeptChunk::reference).collect();
        (trace.row.clone(), refs)
    }) else {
        return Ok(done);
    };
    let mut left = refs.len() as u64;
    let windows = compaction::windows(&row, refs, policy);
    let count = windows.len();
    for (index, window) in windows.into_iter().enumerate() {
        let chunks = {
            let state = store.state();
            let kept = |chunk: &ChunkRef| {
                let kept = state.traces.get(key)?.chunks.get(&(chunk.first_us, chunk.chunk_id))?;
                Some(Chunk { header: kept.header.clone(), payload: kept.payload.clone() })
            };
            window.iter().map(kept).collect::<Option<Vec<_>>>()
        };
        let Some(chunks) = chunks else { return Ok(done) };
        let replacement = compaction::replace(&window, &chunks, policy)?;
        if !replacement.chunks.is_empty() {
            left = left + replacement.chunks.len() as u64 - window.len() as u64;
        }
        let finish = Finish { loose_chunks: row.loose_chunks, chunks: left, exact: count == 1 };
        let finish = (index + 1 == count).then_some(finish);
        if !store.state().replace(key, &window, &replacement, finish) {
            return Ok(done);
        }
        if !replacement.chunks.is_empty() {
            done.chunks_removed += window.len();
            done.chunks_written += replacement.chunks.len();
            done.duplicate_events += replacement.duplicates;
        }
    }
    Ok(done)
}

impl State {
    /// `false`, and nothing done, when a chunk of the window is gone.
    fn replace(
        &mut self,
        key: &TraceKey,
        window: &[ChunkRef],
        replacement: &Replacement,
        finish: Option<Finish>,
    ) -> bool {
        let Some(trace) = self.traces.get_mut(key) else { return false };
        let place = |chunk: &ChunkRef| (chunk.first_us, chunk.chunk_id);
        if !replacement.chunks.is_empty() {
            if !window.iter().all(|chunk| trace.chunks.contains_key(&place(chunk))) {
                return false;
            }
            window.iter().for_each(|chunk| drop(trace.chunks.remove(&place(chunk))));
            for chunk in &replacement.chunks {
                let header = stored_header(&chunk.header).into_owned();
                let place = (header.first_event_us, header.chunk_uuid());
                let kept = KeptChunk { at: replacement.at, header, payload: chunk.payload.clone() };
                trace.chunks.insert(place, kept);
            }
            let row = &mut trace.row;
            row.event_count = row.event_count.saturating_sub(replacement.duplicates);
            row.stored_events = row.stored_events.saturating_sub(replacement.duplicates);
            row.failures = row.failures.saturating_sub(replacement.failures);
            row.left_out_milli = row.left_out_milli.saturating_sub(replacement.left_out_milli);
        }
        let chunks = trace.chunks.len() as u64;
        let row = &mut trace.row;
        if let Some(finish) = finish
            && chunks + finish.loose_chunks == row.loose_chunks + finish.chunks
        {
            row.exact |= finish.exact && row.loose_chunks == finish.loose_chunks;
            row.loose_chunks = row.loose_chunks.saturating_sub(finish.loose_chunks);
        }
        true
    }

    pub(super) fn retain(&mut self, policy: &RetentionPolicy, now_us: i64) -> RetentionOutcome {
        let mut outcome = RetentionOutcome::default();
        let mut hours: BTreeMap<Hour, u64> = BTreeMap::new();
        for chunk in self.traces.values().flat_map(|trace| trace.chunks.values()) {
            *hours.entry(chunk.at).or_default() += chunk.payload.len() as u64;
        }
        let hours: Vec<(Hour, u64)> = hours.into_iter().collect();
        let gone = hours_to_remove(&hours, policy, now_us);
        let mut emptied = Vec::new();
        for (key, trace) in &mut self.traces {
            let before = trace.chunks.len();
            let (mut events, mut bytes) = (0, 0);
            trace.chunks.retain(|_, chunk| {
                let stays = gone.binary_search(&chunk.at).is_err();
                if !stays {
                    events += u64::from(chunk.header.event_count);
                    bytes += chunk.payload.len() as u64;
                }
                stays
            });
            if trace.chunks.len() == before {
                continue;
            }
            outcome.chunks += (before - trace.chunks.len()) as u64;
            outcome.bytes += bytes;
            trace.row.stored_events = trace.row.stored_events.saturating_sub(events);
            if trace.row.stored_events == 0 {
                emptied.push(key.clone());
            }
        }
        outcome.traces = emptied.len() as u64;
        emptied.iter().for_each(|key| self.remove(key));
        if let Some(first_day) = first_day_kept(policy, now_us) {
            let first_us = first_day.saturating_mul(DAY_US);
            self.rollups.retain(|key, _| key.minute >= minute_of(first_us));
            self.versions.retain(|_, times| times.last_us >= first_us);
        }
        let first_day = first_day_seen(policy, now_us);
        let before = self.seen.len();
        self.seen.retain(|_, day| *day >= first_day);
        outcome.seen = (before - self.seen.len()) as u64;
        outcome
    }
}

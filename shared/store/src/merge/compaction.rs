//! Which chunks of a trace compaction merges, and into what. Pure: backends list, load and replace.
//!
//! A trace is worked through in *windows*: chunks of one day of insertion (retention removes whole days) whose events fit in memory
//! together. Each window is replaced in one transaction, which checks that its chunks are all still there: a crash, a retention
//! run or another compaction in between leaves either the old chunks or the new one.

use std::collections::{BTreeMap, HashSet};

use reflow_tracing_chunk::{Chunk, Header, MergeError, merge};
use reflow_tracing_protocol::ExecutionStatus;
use uuid::Uuid;

use super::batch::Hour;
use super::trace::TraceRow;
use crate::CompactPolicy;

/// Bytes of events, not compressed, that one window may hold: with their index about three times that in memory.
const WINDOW_RAW_BYTES: u64 = 32 << 20;

/// Traces looked at in one call, so that a call stays short among many traces that still run.
pub(crate) const CANDIDATES_PER_CALL: i64 = 1_000;

/// Ids in one packed row: 64 KiB.
pub(crate) const IDS_PER_PACK: usize = 4_096;

/// A stored chunk without its payload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChunkRef {
    pub at: Hour,
    pub first_us: Option<i64>,
    pub chunk_id: Uuid,
    pub events: u64,
    pub raw_bytes: u64,
    pub bytes: u64,
}

/// What takes the place of a window's chunks.
#[derive(Debug)]
pub(crate) struct Replacement {
    pub at: Hour,
    /// Empty when the chunks stay as they are.
    pub chunks: Vec<Chunk>,
    /// Events that were in twice.
    pub duplicates: u64,
    /// Failures among them.
    pub failures: u64,
    /// What sampling had left out beside them, in thousandths of events.
    pub left_out_milli: u64,
}

/// What the last window of a trace sets beside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finish {
    /// The trace's loose chunks when its chunks were listed: those that came since stay loose.
    pub loose_chunks: u64,
    /// Chunks that the trace has then, if none came and none went since they were listed.
    pub chunks: u64,
    /// Everything was in one window, so that every event was compared with every other.
    pub exact: bool,
}

/// Whether compaction should look into the trace.
pub(crate) fn is_due(row: &TraceRow, policy: &CompactPolicy, now_us: i64) -> bool {
    if row.last_received_us() >= policy.idle_before_us {
        return false;
    }
    if row.loose_chunks == 0 || (row.exact && row.loose_chunks < policy.min_chunks.max(2) as u64) {
        return false;
    }
    row.clone().summary(Vec::new(), now_us, policy.trace_idle_us).status.status != ExecutionStatus::Running
}

/// Parts a trace's chunks into windows, in order of time. Chunks that are large already stay alone, unless the trace may hold events
/// twice. Windows in which there is nothing to gain are left out, except the last: it always exists.
pub(crate) fn windows(row: &TraceRow, mut chunks: Vec<ChunkRef>, policy: &CompactPolicy) -> Vec<Vec<ChunkRef>> {
    let large = (policy.max_chunk_bytes / 2) as u64;
    if row.exact {
        chunks.retain(|chunk| chunk.raw_bytes < large);
    }
    chunks.sort_by_key(|chunk| (chunk.at.day, chunk.first_us, chunk.chunk_id));
    let mut windows: Vec<Vec<ChunkRef>> = Vec::new();
    let mut raw_bytes = 0;
    for chunk in chunks {
        let fits = raw_bytes + chunk.raw_bytes <= WINDOW_RAW_BYTES;
        match windows.last_mut().filter(|window| fits && window[0].at.day == chunk.at.day) {
            Some(window) => {
                raw_bytes += chunk.raw_bytes;
                window.push(chunk);
            }
            None => {
                raw_bytes = chunk.raw_bytes;
                windows.push(vec![chunk]);
            }
        }
    }
    if row.exact {
        windows.retain(|window| window.len() > 1);
    }
    if windows.is_empty() {
        windows.push(Vec::new());
    }
    windows
}

/// Merges the chunks of a window. Takes a while: not for an async thread.
pub(crate) fn replace(refs: &[ChunkRef], chunks: &[Chunk], policy: &CompactPolicy) -> Result<Replacement, MergeError> {
    let at = refs.iter().map(|chunk| chunk.at).max().unwrap_or(Hour { day: 0, hour: 0 });
    let nothing = || Replacement { at, chunks: Vec::new(), duplicates: 0, failures: 0, left_out_milli: 0 };
    if chunks.is_empty() {
        return Ok(nothing());
    }
    let merged = merge(chunks, policy.max_chunk_bytes)?;
    if merged.duplicates == 0 && merged.chunks.len() >= chunks.len() {
        return Ok(nothing());
    }
    let gone = |count: fn(&Header) -> u64| {
        let sum = |chunks: &[Chunk]| chunks.iter().map(|chunk| count(&chunk.header)).sum::<u64>();
        sum(chunks).saturating_sub(sum(&merged.chunks))
    };
    let failures = gone(|header| u64::from(header.failures));
    let left_out_milli = gone(|header| header.left_out().events_milli);
    Ok(Replacement { at, chunks: merged.chunks, duplicates: merged.duplicates, failures, left_out_milli })
}

/// Chunk ids as packed rows: sorted, at most [`IDS_PER_PACK`] a row.
pub(crate) fn pack(mut ids: Vec<Uuid>) -> Vec<Vec<u8>> {
    ids.sort_unstable();
    ids.chunks(IDS_PER_PACK).map(|ids| ids.iter().flat_map(|id| *id.as_bytes()).collect()).collect()
}

/// Rows of ids as sent as fewer rows: sorted, each once, at most [`IDS_PER_PACK`] a row.
pub(crate) fn join_ids(rows: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut ids: Vec<[u8; 16]> = rows.iter().flat_map(|row| row.as_chunks::<16>().0).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    ids.chunks(IDS_PER_PACK).map(|ids| ids.as_flattened().to_vec()).collect()
}

/// What a replacement changes in each hour: chunks, events, payload bytes.
pub(crate) fn hour_sums(window: &[ChunkRef], replacement: &Replacement) -> BTreeMap<Hour, [i64; 3]> {
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let mut sums: BTreeMap<Hour, [i64; 3]> = BTreeMap::new();
    let mut add = |at: Hour, numbers: [i64; 3]| {
        let sum = sums.entry(at).or_default();
        sum.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
    };
    for chunk in window {
        add(chunk.at, [-1, -signed(chunk.events), -signed(chunk.bytes)]);
    }
    for chunk in &replacement.chunks {
        add(replacement.at, [1, i64::from(chunk.header.event_count), signed(chunk.payload.len() as u64)]);
    }
    sums
}

/// Which of `ids` are in a packed row.
pub(crate) fn find_packed(packed: &[u8], ids: &[Uuid]) -> HashSet<Uuid> {
    let (rows, _) = packed.as_chunks::<16>();
    ids.iter().filter(|id| rows.binary_search(id.as_bytes()).is_ok()).copied().collect()
}

/// Whether a row of ids as sent (not sorted) holds one.
pub(crate) fn holds_id(ids: &[u8], id: Uuid) -> bool {
    ids.as_chunks::<16>().0.contains(id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_ids_are_found_again() {
        let ids: Vec<Uuid> = (0..10_000_u128).map(|n| Uuid::from_u128(n * 7)).rev().collect();
        let rows = pack(ids.clone());
        assert_eq!(rows.len(), 3);
        let probe = [Uuid::from_u128(7 * 9_999), Uuid::from_u128(8)];
        let found: HashSet<Uuid> = rows.iter().flat_map(|row| find_packed(row, &probe)).collect();
        assert_eq!(found, HashSet::from([probe[0]]));
    }
}

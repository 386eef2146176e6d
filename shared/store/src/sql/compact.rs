//! The order of a compaction, once for both SQL backends: find, list, load, merge, replace.
//!
//! Only the replacing is a write transaction, and a short one: payloads are loaded and merged outside of it, because SQLite has one
//! writer and nobody's commit should wait for a decompression.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use reflow_tracing_chunk::{Chunk, Header};
use uuid::Uuid;

use super::read::{TRACE_COLUMNS, trace_row};
use super::statement::{Columns, Reading, Sql, corrupt};
use crate::merge::Hour;
use crate::merge::TraceRow;
use crate::merge::compaction::{self, CANDIDATES_PER_CALL, ChunkRef, Finish, Replacement};
use crate::{CompactOutcome, CompactPolicy, StoreError, StoreErrorKind};

/// What a backend brings to a compaction.
#[async_trait]
pub(crate) trait Compacting: Sync {
    type Reader: Reading;

    /// What lists and loads.
    fn reader(&self) -> &Self::Reader;
    /// The last trace looked at: calls go round through all of them.
    fn cursor(&self) -> &AtomicI64;

    /// In one transaction: replaces the window's chunks (when the replacement holds any), moves their ids from `seen` to packed rows,
    /// corrects counts, and on `finish` marks the trace as compacted. `false`, and nothing done, when a chunk is gone.
    async fn replace(
        &self,
        trace: (i64, Uuid),
        window: &[ChunkRef],
        replacement: &Replacement,
        finish: Option<Finish>,
    ) -> Result<bool, StoreError>;
}

pub(crate) async fn compact<B: Compacting>(
    backend: &B,
    policy: &CompactPolicy,
    now_us: i64,
) -> Result<CompactOutcome, StoreError> {
    const CONTEXT: &str = "looking for traces to compact";
    let mut outcome = CompactOutcome::default();
    let after = backend.cursor().load(Ordering::Relaxed);
    let mut sql = Sql::new("SELECT ");
    sql.push(TRACE_COLUMNS).push(" FROM traces t WHERE t.is_loose = 1 AND t.seq > ").int(after);
    sql.push(" ORDER BY t.seq LIMIT ").int(CANDIDATES_PER_CALL);
    let rows = backend.reader().fetch(CONTEXT, sql).await?;
    let looked_at_all = (rows.len() as i64) < CANDIDATES_PER_CALL;
    for row in rows {
        let (seq, row) = trace_row(&row).map_err(|error| backend.reader().error(CONTEXT, error))?;
        if outcome.traces >= policy.max_traces {
            outcome.more = true;
            return Ok(outcome);
        }
        backend.cursor().store(seq, Ordering::Relaxed);
        if !compaction::is_due(&row, policy, now_us) {
            continue;
        }
        match compact_trace(backend, seq, &row, policy, &mut outcome).await {
            Ok(()) => outcome.traces += 1,
            // One trace that cannot be read must not keep the others from being compacted.
            Err(error) if error.kind == StoreErrorKind::Corrupt => {
                tracing::warn!(trace_id = %row.trace_id, %error, "trace cannot be compacted");
                outcome.failed += 1;
            }
            Err(error) => return Err(error),
        }
    }
    if looked_at_all {
        backend.cursor().store(0, Ordering::Relaxed);
    }
    outcome.more = !looked_at_all;
    Ok(outcome)
}

async fn compact_trace<B: Compacting>(
    backend: &B,
    seq: i64,
    row: &TraceRow,
    policy: &CompactPolicy,
    outcome: &mut CompactOutcome,
) -> Result<(), StoreError> {
    let listed = list(backend.reader(), seq).await?;
    let mut left = listed.len() as u64;
    let windows = compaction::windows(row, listed, policy);
    let count = windows.len();
    for (index, window) in windows.into_iter().enumerate() {
        let chunks = load(backend.reader(), seq, &window).await?;
        if chunks.len() != window.len() {
            // Retention was here; the trace comes round again.
            return Ok(());
        }
        let (window, replacement) = merge(window, chunks, policy).await?;
        if !replacement.chunks.is_empty() {
            left = left + replacement.chunks.len() as u64 - window.len() as u64;
        }
        let finish = Finish { loose_chunks: row.loose_chunks, chunks: left, exact: count == 1 };
        let finish = (index + 1 == count).then_some(finish);
        if replacement.chunks.is_empty() && finish.is_none() {
            continue;
        }
        if !backend.replace((seq, row.trace_id), &window, &replacement, finish).await? {
            return Ok(());
        }
        if !replacement.chunks.is_empty() {
            outcome.chunks_removed += window.len();
            outcome.chunks_written += replacement.chunks.len();
            outcome.duplicate_events += replacement.duplicates;
        }
    }
    Ok(())
}

async fn list<B: Reading>(backend: &B, trace: i64) -> Result<Vec<ChunkRef>, StoreError> {
    const CONTEXT: &str = "listing chunks to compact";
    let mut sql = Sql::new(
        "SELECT day, hour, first_us, chunk_id, events, raw_bytes, CAST(octet_length(payload) AS BIGINT) FROM chunks WHERE trace = ",
    );
    sql.int(trace);
    let read = |row: &B::Row| {
        Ok(ChunkRef {
            at: Hour { day: row.int(0)?, hour: row.int(1)? },
            first_us: row.int_opt(2)?,
            chunk_id: row.id(3)?,
            events: row.count(4)?,
            raw_bytes: row.count(5)?,
            bytes: row.count(6)?,
        })
    };
    let rows = backend.fetch(CONTEXT, sql).await?;
    rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(|error| backend.error(CONTEXT, error))
}

/// The window's chunks: those without events, and a range of those with.
async fn load<B: Reading>(backend: &B, trace: i64, window: &[ChunkRef]) -> Result<Vec<Chunk>, StoreError> {
    const CONTEXT: &str = "loading chunks to compact";
    let Some(first) = window.first() else { return Ok(Vec::new()) };
    let select = |condition: &str| {
        let mut sql = Sql::new("SELECT chunk_id, header, payload FROM chunks WHERE trace = ");
        sql.int(trace).push(" AND day = ").int(first.at.day).push(" AND first_us ").push(condition);
        sql
    };
    let mut statements = Vec::new();
    if first.first_us.is_none() {
        statements.push(select("IS NULL"));
    }
    let times: Vec<i64> = window.iter().filter_map(|chunk| chunk.first_us).collect();
    if let (Some(from_us), Some(to_us)) = (times.first(), times.last()) {
        let largest = window.iter().map(|chunk| chunk.raw_bytes).max().unwrap_or(0);
        let mut sql = select(">= ");
        sql.int(*from_us).push(" AND first_us <= ").int(*to_us);
        sql.push(" AND raw_bytes <= ").int(i64::try_from(largest).unwrap_or(i64::MAX));
        statements.push(sql);
    }
    let wanted: HashSet<Uuid> = window.iter().map(|chunk| chunk.chunk_id).collect();
    let mut chunks = Vec::with_capacity(window.len());
    for sql in statements {
        for row in backend.fetch(CONTEXT, sql).await? {
            let read = || {
                if !wanted.contains(&row.id(0)?) {
                    return Ok(None);
                }
                let header = Header::from_bytes(row.bytes(1)?).map_err(corrupt)?;
                Ok(Some(Chunk { header, payload: row.bytes(2)?.to_vec().into() }))
            };
            chunks.extend(read().map_err(|error| backend.error(CONTEXT, error))?);
        }
    }
    Ok(chunks)
}

async fn merge(
    window: Vec<ChunkRef>,
    chunks: Vec<Chunk>,
    policy: &CompactPolicy,
) -> Result<(Vec<ChunkRef>, Replacement), StoreError> {
    let policy = policy.clone();
    let work = tokio::task::spawn_blocking(move || (compaction::replace(&window, &chunks, &policy), window));
    let failed = |kind, reason: String| StoreError::new(kind, "merging chunks", reason);
    let (replacement, window) = work.await.map_err(|error| failed(StoreErrorKind::Unavailable, error.to_string()))?;
    let replacement = replacement.map_err(|error| failed(StoreErrorKind::Corrupt, error.to_string()))?;
    Ok((window, replacement))
}

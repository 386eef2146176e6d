//! Bytes and rows an event, written straight through the stores, with time passing as the load says.

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use reflow_tracing_chunk::{Chunk, ChunkBuilder, Origin};
use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_store::{CompactPolicy, Store, StoreReader};
use uuid::Uuid;

use crate::backend::{PostgresBackend, SqliteBackend};
use crate::load::{BATCH_EVENTS, Load, now_us};
use crate::options::Options;
use crate::report::{Figure, Goal, Report};

const SECOND_US: i64 = 1_000_000;
/// v1 programs that send an event a second each.
const SESSIONS: usize = 1_000;
const COMMIT_CHUNKS: usize = 50;
const TRACE_IDLE_US: i64 = 15 * 60 * SECOND_US;

/// Measures both backends.
pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let sqlite = (SqliteBackend::new()?, SqliteBackend::new()?);
    batches(options, report, "SQLite", &sqlite.0.open().await?).await?;
    sessions(options, report, "SQLite", &sqlite.1.open().await?).await?;

    let postgres = PostgresBackend::start().await?;
    batches(options, report, "Postgres", &postgres.open().await?).await?;
    let postgres = PostgresBackend::start().await?;
    sessions(options, report, "Postgres", &postgres.open().await?).await
}

/// Batches of 200, ten thousand events a commit.
async fn batches(options: &Options, report: &mut Report, backend: &str, store: &dyn Store) -> Result<()> {
    let count = options.pick(2_500, 100);
    let mut load = Load::new(4, Utc::now());
    for group in load.batches(count).chunks(COMMIT_CHUNKS) {
        let now = now_us();
        let chunks = group.iter().map(|batch| batch.chunk(Origin::V2Batch, now)).collect::<Result<Vec<_>>>()?;
        store.commit(&chunks, now).await?;
    }
    let (bytes, rows) = size(store, count * BATCH_EVENTS).await?;
    let name = |what| format!("{what} an event, 200 a batch, {backend}");
    report.figure(Figure::new(name("stored bytes"), bytes, "bytes").goal(Goal::AtMost(120.0)));
    report.figure(Figure::new(name("rows"), rows, "rows").goal(Goal::AtMost(0.05)));
    Ok(())
}

/// Sessions of single events, each of which is a chunk; then they end, and are compacted.
async fn sessions(options: &Options, report: &mut Report, backend: &str, store: &dyn Store) -> Result<()> {
    let seconds = options.pick(300, 5);
    let start_us = now_us();
    let mut load = Load::new(5, DateTime::from_timestamp_micros(start_us).unwrap_or_default());
    let traces: Vec<Uuid> = (0..SESSIONS).map(|_| load.uuid()).collect();
    for second in 0..seconds {
        let now = start_us + second * SECOND_US;
        let chunks = traces.iter().map(|trace| single(&mut load, *trace, now)).collect::<Result<Vec<_>>>()?;
        // One event is nobody's: else each session would see the same step of the program again and again, and one actor.
        load.event();
        for group in chunks.chunks(COMMIT_CHUNKS) {
            store.commit(group, now).await?;
        }
    }
    let end_us = start_us + seconds * SECOND_US;
    let ends: Vec<Chunk> = traces.iter().map(|trace| close(*trace, end_us)).collect::<Result<_>>()?;
    store.commit(&ends, end_us).await?;
    let events = SESSIONS * seconds as usize;
    let name = |what, when| format!("{what} an event, 1,000 v1 sessions, {when}, {backend}");
    let (bytes, rows) = size(store, events).await?;
    report.figure(Figure::new(name("rows", "before compaction"), rows, "rows").goal(Goal::AtMost(4.0)));
    report.figure(Figure::new(name("stored bytes", "before compaction"), bytes, "bytes"));

    let now = end_us + 3_600 * SECOND_US;
    let policy = CompactPolicy {
        idle_before_us: now - 60 * SECOND_US,
        min_chunks: 2,
        max_chunk_bytes: 900 << 10,
        max_traces: 64,
        trace_idle_us: TRACE_IDLE_US,
    };
    loop {
        let outcome = store.compact(&policy, now).await?;
        ensure!(outcome.failed == 0, "{} traces could not be compacted", outcome.failed);
        if !outcome.more {
            break;
        }
    }
    let (bytes, rows) = size(store, events).await?;
    let note = format!("1 event a second, for {seconds} s");
    report.figure(Figure::new(name("rows", "compacted"), rows, "rows").goal(Goal::AtMost(0.1)).note(note));
    let note = "what compaction has emptied is used again, not given back to the file system at once";
    report.figure(Figure::new(name("stored bytes", "compacted"), bytes, "bytes").note(note));
    Ok(())
}

/// An event as a v1 session publishes it that had nothing else to gather: alone, under an id of its own.
fn single(load: &mut Load, trace_id: Uuid, now_us: i64) -> Result<Chunk> {
    let event = load.event();
    let mut builder = ChunkBuilder::new(Uuid::now_v7(), trace_id, "default", now_us, Origin::V1Session);
    builder.push_event(&serde_json::to_string(&event)?)?;
    let header = builder.header_mut();
    header.flow_id = Some("network_session_1763900000".to_owned());
    header.flow_name = Some("network_session".to_owned());
    header.sent_ids = load.uuid().as_bytes().to_vec();
    Ok(builder.build(Codec::Zstd, 1)?)
}

/// What a session leaves behind when its peer closes it.
fn close(trace_id: Uuid, now_us: i64) -> Result<Chunk> {
    let mut builder = ChunkBuilder::new(Uuid::now_v7(), trace_id, "default", now_us, Origin::V1Session);
    builder.header_mut().closed_us = Some(now_us);
    Ok(builder.build(Codec::Zstd, 1)?)
}

/// Bytes and rows of everything, an event.
async fn size(store: &dyn Store, events: usize) -> Result<(f64, f64)> {
    let stats = StoreReader::stats(store).await?;
    ensure!(stats.events as usize == events, "{events} events were written and {} are there", stats.events);
    let rows: u64 = stats.rows.iter().map(|(_, rows)| rows).sum();
    Ok((stats.bytes as f64 / events as f64, rows as f64 / events as f64))
}

//! Retention by size as an operator sets it, on services that run: `retention.max_bytes`.
//!
//! Hours are those of the writer's clock, which no test turns back: what is old was put into the store before, by the library that the
//! writer is made of.

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use reflow_tracing_chunk::{ChunkBuilder, Origin};
use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore, StoreWriter};
use reflow_tracing_tests::{
    Cluster, NatsServer, Postgres, Service, answers, cluster::DATABASE, events, eventually, frames, frames::Batch,
    patience,
};
use uuid::Uuid;

const HOUR_US: i64 = 3_600_000_000;
const EVENTS: usize = 200;
const MAX_BYTES: &str = "REFLOW_TRACING_RETENTION__MAX_BYTES";
const INTERVAL: &str = "REFLOW_TRACING_RETENTION__COMPACTION_INTERVAL_SECS";

/// A trace an hour, oldest first, with the bytes it takes.
type Past = Vec<(Uuid, u64)>;

async fn fill(store: &impl StoreWriter) -> Result<Past> {
    let mut past = Vec::new();
    for hours in [50, 49, 2] {
        let (trace_id, at_us) = (Uuid::now_v7(), Utc::now().timestamp_micros() - hours * HOUR_US);
        let mut builder = ChunkBuilder::new(Uuid::now_v7(), trace_id, "default", at_us, Origin::V2Batch);
        for event in events::program(EVENTS) {
            builder.push_event(&event.to_string())?;
        }
        let chunk = builder.build(Codec::Zstd, 1)?;
        past.push((trace_id, chunk.payload.len() as u64));
        store.commit(&[chunk], at_us).await?;
    }
    Ok(past)
}

/// Room for the newest hour of the past and no more than half of the one before.
fn room(past: &Past) -> String {
    (past[2].1 + past[1].1 / 2).to_string()
}

async fn gone(service: &Service, trace_id: Uuid) -> Result<()> {
    eventually(patience(), || async {
        let answer = service.connect().await?.ask(&frames::get_trace(trace_id)).await?;
        ensure!(answers::trace(&answer)?.is_none(), "trace {trace_id} is still there");
        Ok(())
    })
    .await
}

/// What retention has done so far: of `what`, or how often it ran.
async fn done(writer: &Service, metric: &str, label: (&str, &str)) -> Result<f64> {
    writer.metrics().await?.sum(metric, &[label]).with_context(|| format!("no {metric}"))
}

async fn check(ingest: &Service, writer: &Service, answering: &Service, past: Past) -> Result<()> {
    for (trace_id, _) in &past[..2] {
        gone(answering, *trace_id).await?;
    }
    Cluster::trace_from(answering, past[2].0, EVENTS).await?;

    // The open hour alone is over the bound: what is before it goes, and it stays itself, however often retention runs.
    let batch = Batch::new("now", events::program(EVENTS * 4));
    let answer = ingest.connect_v2().await?.ask(&batch.request()).await?;
    ensure!(answer["BatchRecorded"]["accepted"] == EVENTS * 4, "{answer:.300}");
    gone(answering, past[2].0).await?;
    const RUNS: &str = "reflow_writer_task_runs_total";
    let before = done(writer, RUNS, ("task", "retention")).await?;
    eventually(patience(), || async {
        let runs = done(writer, RUNS, ("task", "retention")).await? - before;
        ensure!(runs >= 2.0, "{runs} more runs");
        Ok(())
    })
    .await?;
    Cluster::trace_from(answering, batch.trace_id, EVENTS * 4).await?;

    let bytes: u64 = past.iter().map(|(_, bytes)| bytes).sum();
    for (what, count) in [("chunks", 3.0), ("traces", 3.0), ("bytes", bytes as f64)] {
        let removed = done(writer, "reflow_writer_retention_removed_total", ("what", what)).await?;
        ensure!(removed == count, "{removed} {what} are counted as removed, not {count}");
    }
    Ok(())
}

#[tokio::test]
async fn oldest_hours_leave_postgres_when_it_holds_too_much() -> Result<()> {
    let (nats, postgres) = tokio::try_join!(NatsServer::start(), Postgres::start())?;
    let url = postgres.create_database(DATABASE).await?;
    let past = fill(&PostgresStore::connect_writer(&PostgresOptions::new(url)).await?).await?;
    let cluster = Cluster::build().env(MAX_BYTES, room(&past)).env(INTERVAL, "1").start_on(nats, postgres).await?;
    check(&cluster.collectors[0], &cluster.writers[0], &cluster.queries[0], past).await
}

#[tokio::test]
async fn oldest_hours_leave_sqlite_when_it_holds_too_much() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("traces.db");
    let store = SqliteStore::open_writer(&SqliteOptions::new(&file)).await?;
    let past = fill(&store).await?;
    store.close().await;
    let service = Service::standalone().sqlite(&file).env(MAX_BYTES, room(&past)).env(INTERVAL, "1").start().await?;
    check(&service, &service, &service, past).await
}

//! A short load on each path: what matters is that it is right at speed. The figures are printed; the benchmark
//! (`cargo bench --bench pipeline`) is where figures are judged.
//!
//! One path after the other, in one test: side by side they would measure each other.

mod meter;
mod senders;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Cluster, Ledger, Process, Service, Tables, answers, events, eventually, frames, patience, tables::Counts,
};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

use crate::{
    meter::Meter,
    senders::{batches, frames_of, frames_of_events, send_batches, send_events},
};

/// Events of a run: enough for some seconds.
const BATCHED: usize = if cfg!(debug_assertions) { 100_000 } else { 500_000 };
const SINGLE: usize = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
const SENDERS: usize = 4;
const STORED: &str = "reflow_writer_stored_events_total";
/// Far above what each needs, far below what a queue without bounds would take.
const MEMORY_BYTES: u64 = 256 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_takes_load_and_loses_nothing() -> Result<()> {
    batches_to_sqlite().await.context("batches to SQLite")?;
    single_events_to_sqlite().await.context("single events to SQLite")?;
    batches_to_postgres().await.context("batches over NATS to Postgres")?;
    single_events_to_postgres().await.context("single events over NATS to Postgres")
}

async fn batches_to_sqlite() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("traces.db");
    let service = Service::standalone().sqlite(&database).start().await?;
    let batches = batches(BATCHED);
    let frames = frames_of(&batches);
    let meter = Meter::start("v2 batches, reflow-tracing, SQLite", &[("reflow-tracing", service.process())])?;
    send_batches(&service.url(), SENDERS, &batches, &frames).await?;
    meter.stop(BATCHED, MEMORY_BYTES)?;
    stored_once(service.metrics().await?.sum(STORED, &[]), BATCHED)?;
    Ledger::of_acked(&batches).check_all(database.as_path(), &service).await
}

async fn single_events_to_sqlite() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("traces.db");
    let service = Service::standalone().sqlite(&database).start().await?;
    let (traces, frames) = single_events();
    let meter = Meter::start("v1 single events, reflow-tracing, SQLite", &[("reflow-tracing", service.process())])?;
    send_events(&service.url(), &frames).await?;
    meter.stop(SINGLE, MEMORY_BYTES)?;
    // Readers leave out doubles: what lies in the store is told by what counted it.
    stored_once(service.metrics().await?.sum(STORED, &[]), SINGLE)?;
    counted_once(Tables::from(database.as_path()), SINGLE).await?;
    check_single_events(&service, &traces).await
}

async fn batches_to_postgres() -> Result<()> {
    let cluster = Cluster::start().await?;
    let batches = batches(BATCHED);
    let frames = frames_of(&batches);
    let meter = Meter::start("v2 batches, collector, NATS, writer, Postgres", &processes(&cluster))?;
    send_batches(&cluster.collectors[0].url(), SENDERS, &batches, &frames).await?;
    stored(&cluster, BATCHED).await?;
    meter.stop(BATCHED, MEMORY_BYTES)?;
    stored_once(Some(cluster.written(STORED, &[]).await?), BATCHED)?;
    Ledger::of_acked(&batches).check_all(&cluster.postgres, &cluster.queries[0]).await
}

async fn single_events_to_postgres() -> Result<()> {
    let cluster = Cluster::start().await?;
    let (traces, frames) = single_events();
    let meter = Meter::start("v1 single events, collector, NATS, writer, Postgres", &processes(&cluster))?;
    send_events(&cluster.collectors[0].url(), &frames).await?;
    stored(&cluster, SINGLE).await?;
    meter.stop(SINGLE, MEMORY_BYTES)?;
    check_single_events(&cluster.queries[0], &traces).await?;
    stored_once(Some(cluster.written(STORED, &[]).await?), SINGLE)?;
    counted_once(Tables::from(&cluster.postgres), SINGLE).await
}

fn processes(cluster: &Cluster) -> [(&'static str, &Process); 4] {
    [
        ("collector", cluster.collectors[0].process()),
        ("nats", cluster.nats.process()),
        ("writer", cluster.writers[0].process()),
        ("postgres", cluster.postgres.process()),
    ]
}

/// Returns when so many events are stored: an ack over NATS comes before that.
async fn stored(cluster: &Cluster, events: usize) -> Result<()> {
    eventually(patience(), || async {
        let stored = cluster.written(STORED, &[]).await?;
        ensure!(stored >= events as f64, "{stored} of {events} events are stored");
        Ok(())
    })
    .await
}

/// What the writer has counted is what was sent, and no more.
fn stored_once(stored: Option<f64>, events: usize) -> Result<()> {
    ensure!(stored == Some(events as f64), "{stored:?} events are stored of {events} that were sent once each");
    Ok(())
}

/// So is every count in the store.
async fn counted_once(tables: Tables<'_>, events: usize) -> Result<()> {
    let (counts, events) = (tables.counts().await?, events as u64);
    ensure!(counts == Counts { rows: events, summaries: events, rollups: events }, "{counts:?}, {events} were sent");
    Ok(())
}

type Traces = Vec<(Uuid, Vec<Value>)>;

/// A trace a sender, and its events as frames, one each.
fn single_events() -> (Traces, Vec<(Uuid, Vec<Utf8Bytes>)>) {
    let traces: Traces = (0..SENDERS).map(|_| (Uuid::new_v4(), events::program(SINGLE / SENDERS))).collect();
    let frames = traces.iter().map(|(trace_id, sent)| (*trace_id, frames_of_events(*trace_id, sent))).collect();
    (traces, frames)
}

async fn check_single_events(service: &Service, traces: &Traces) -> Result<()> {
    for (trace_id, sent) in traces {
        let trace = Cluster::trace_from(service, *trace_id, sent.len()).await?;
        ensure!(answers::events(&trace)? == answers::by_id(sent), "not what was sent");
    }
    let all = service.connect().await?.ask(&frames::query_traces(&frames::Query::all())).await?;
    ensure!(answers::found(&all)?.1 == SENDERS as u64, "other traces than those that were sent");
    Ok(())
}

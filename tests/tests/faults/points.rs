//! Chosen points: the step before is done, and whoever was about to do the next one dies or stands still.
//!
//! A proxy holds back exactly the bytes of the next step. What it passed is done, what it holds never happens.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Cluster, Service, Tables, Wire, answers, events, eventually,
    frames::{self, Batch},
    patience,
    wire::Direction,
};
use uuid::Uuid;

use crate::settings::cluster;

/// NATS says that it has stored a chunk.
const STORED: &[u8] = b"{\"stream\":\"REFLOW_CHUNKS\"";
/// A collector hands a chunk to NATS.
const PUBLISH: &[u8] = b"HPUB reflow.chunks.";
/// A writer tells NATS that a chunk is committed.
const COMMITTED: &[u8] = b"+ACK";

/// A cluster, and a service more that reaches NATS through a proxy.
async fn beside(service: fn() -> reflow_tracing_tests::ServiceBuilder) -> Result<(Cluster, Service, Wire)> {
    let builder = cluster().collectors(1).writers(1);
    let cluster = builder.clone().start().await?;
    let wire = Wire::before(cluster.nats.port()).await?;
    let watched = builder
        .configured(service(), &cluster.nats)
        .postgres(&cluster.postgres.url_of("traces"))
        .env("REFLOW_TRACING_NATS_URL", format!("nats://127.0.0.1:{}", wire.port()))
        .start()
        .await?;
    Ok((cluster, watched, wire))
}

/// Sends a batch through the collector, which gets no further than to `bytes` and dies there; then through the other one.
async fn collector_dies_at(direction: Direction, bytes: &[u8], stored_before: bool) -> Result<()> {
    let (cluster, mut collector, wire) = beside(Service::collector).await?;
    for round in 1..=3 {
        let batch = Batch::new("points", events::program(20));
        let mut client = collector.connect_v2().await?;
        wire.stop_at(direction, bytes);
        client.send_json(&batch.request()).await?;
        wire.stopped().await?;
        collector.kill9().await?;
        let answer = client.recv_json().await;
        ensure!(answer.is_err(), "acknowledged before it was: {answer:?}");
        wire.release();
        if stored_before {
            cluster.trace_with(batch.trace_id, 20).await.context("it had been stored in the bus")?;
        }

        let answer = cluster.collectors[0].connect_v2().await?.ask(&batch.request()).await?;
        ensure!(answers::batch_recorded(&answer, batch.batch_id)? == (20, vec![]), "{answer}");
        cluster.trace_with(batch.trace_id, 20).await?;
        ensure_counted(&cluster, round * 20).await?;
        collector.restart().await?;
    }
    Ok(())
}

/// Every count of the store, also after whatever else was on its way has come.
async fn ensure_counted(cluster: &Cluster, events: u64) -> Result<()> {
    eventually(patience(), || async {
        // Nothing more is on its way once the bus is empty.
        let client = async_nats::connect(cluster.nats.url()).await?;
        let stream = async_nats::jetstream::new(client).get_stream("REFLOW_CHUNKS").await?;
        let left = stream.cached_info().state.messages;
        ensure!(left == 0, "{left} chunks are still in the bus");
        let counts = Tables::from(&cluster.postgres).counts().await?;
        ensure!([counts.rows, counts.summaries, counts.rollups] == [events; 3], "{counts:?}, sent were {events}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_collector_that_dies_between_publish_and_ack() -> Result<()> {
    collector_dies_at(Direction::ToClient, STORED, true).await
}

#[tokio::test]
async fn a_collector_that_dies_before_its_publish_arrives() -> Result<()> {
    collector_dies_at(Direction::ToServer, PUBLISH, false).await
}

/// A v1 program has no batch id to send again: its event is stored, and told once although it was sent twice.
#[tokio::test]
async fn a_single_event_sent_again_after_a_lost_ack_is_read_once() -> Result<()> {
    let (cluster, mut collector, wire) = beside(Service::collector).await?;
    let (trace_id, event) = (Uuid::new_v4(), events::actor_created("twice"));
    let start = frames::start_trace_with_id(trace_id, "points");
    let record = frames::record_event(trace_id, &event);
    let mut client = collector.connect().await?;
    answers::started(&client.ask(&start).await?)?;
    wire.stop_at(Direction::ToClient, STORED);
    client.send_json(&record).await?;
    wire.stopped().await?;
    collector.kill9().await?;
    ensure!(client.recv_json().await.is_err(), "acknowledged before it was");
    wire.release();

    let mut client = cluster.collectors[0].connect().await?;
    answers::started(&client.ask(&start).await?)?;
    answers::recorded(&client.ask(&record).await?)?;
    let trace = cluster.trace_with(trace_id, 1).await?;
    ensure!(answers::events(&trace)? == answers::by_id(&[event]), "not what was sent");
    Ok(())
}

/// A writer with a chunk that is committed and not yet acknowledged.
async fn committed_but_not_acked() -> Result<(Cluster, Service, Wire, Batch)> {
    let (mut cluster, writer, wire) = beside(Service::writer).await?;
    // The other one must not get it.
    cluster.writers[0].terminate().await?;
    wire.stop_at(Direction::ToServer, COMMITTED);
    let batch = Batch::new("points", events::program(20));
    let answer = cluster.collectors[0].connect_v2().await?.ask(&batch.request()).await?;
    answers::batch_recorded(&answer, batch.batch_id)?;
    wire.stopped().await?;
    cluster.trace_with(batch.trace_id, 20).await.context("it had been committed")?;
    Ok((cluster, writer, wire, batch))
}

#[tokio::test]
async fn a_writer_that_dies_between_commit_and_ack() -> Result<()> {
    let (cluster, mut writer, wire, batch) = committed_but_not_acked().await?;
    writer.kill9().await?;
    wire.release();
    writer.restart().await?;
    ensure_counted(&cluster, 20).await?;
    let duplicates = writer.metric("reflow_writer_duplicate_chunks_total").await?;
    ensure!(duplicates == Some(1.0), "the chunk came again {duplicates:?} times");
    cluster.trace_with(batch.trace_id, 20).await?;
    Ok(())
}

#[tokio::test]
async fn a_writer_that_stands_still_between_commit_and_ack_while_another_goes_on() -> Result<()> {
    let (mut cluster, writer, wire, batch) = committed_but_not_acked().await?;
    writer.pause().await?;
    cluster.writers[0].restart().await?;
    ensure_counted(&cluster, 20).await?;
    // The late ack is for a delivery that is over.
    writer.resume()?;
    wire.release();
    let next = batch.next(events::program(20));
    let answer = cluster.collectors[0].connect_v2().await?.ask(&next.request()).await?;
    answers::batch_recorded(&answer, next.batch_id)?;
    cluster.trace_with(batch.trace_id, 40).await?;
    ensure_counted(&cluster, 40).await
}

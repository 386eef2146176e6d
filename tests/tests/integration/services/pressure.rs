//! A full stream pushes back: nobody is refused, nothing is dropped, and it goes on by itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Cluster, answers, events, eventually, frames::Batch, http, patience};

use super::sent;

/// Events that hardly compress: a mebibyte of stream holds a few batches.
const BATCHES: usize = 16;
const EVENT_BYTES: usize = 30_000;

#[tokio::test]
async fn a_full_stream_pushes_back_and_goes_on_when_there_is_room() -> Result<()> {
    let mut cluster =
        Cluster::build().env("REFLOW_TRACING_BUS__NATS__STREAM_MAX_BYTES", (1 << 20).to_string()).start().await?;
    cluster.writers[0].kill9().await?;

    let large = || (0..5).map(|_| events::large(EVENT_BYTES)).collect();
    let mut batches = vec![Batch::new("full", large())];
    while batches.len() < BATCHES {
        batches.extend(batches.last().map(|batch: &Batch| batch.next(large())));
    }
    let mut client = cluster.collectors[0].connect_v2().await?;
    for batch in &batches {
        client.send_binary(batch.frame()).await?;
    }
    let collector = &cluster.collectors[0];
    eventually(patience(), || async {
        let waits = collector.metric("reflow_bus_full_waits_total").await?;
        ensure!(waits.unwrap_or(0.0) >= 1.0, "the bus was not found full: {waits:?}");
        Ok(())
    })
    .await?;
    // What fits is acknowledged, the rest waits without a word.
    let mut acknowledged = 0;
    while let Some(answer) = client.recv_json_within(Duration::from_secs(1)).await? {
        answers::batch_recorded(&answer, batches[acknowledged].batch_id)?;
        acknowledged += 1;
    }
    ensure!(acknowledged > 0 && acknowledged < BATCHES, "{acknowledged} of {BATCHES} batches acknowledged");
    // Others wait as well, on sessions of their own, and the service stays in rotation.
    let other = Batch::new("other", events::program(3));
    let mut bystander = cluster.collectors[0].connect_v2().await?;
    bystander.send_json(&other.request()).await?;
    assert_eq!(http::get(collector.admin_port(), "/readyz").await?.status, 200);

    cluster.writers[0].restart().await?;

    for batch in &batches[acknowledged..] {
        answers::batch_recorded(&client.recv_json().await.context("still no answer")?, batch.batch_id)?;
    }
    answers::batch_recorded(&bystander.recv_json().await?, other.batch_id)?;
    let trace = cluster.trace_with(batches[0].trace_id, BATCHES * 5).await?;
    ensure!(answers::events(&trace)? == sent(&batches), "not what was sent");
    let refused = cluster.collectors[0].metrics().await?.sum("reflow_session_refused_total", &[]);
    ensure!(refused.unwrap_or(0.0) == 0.0, "{refused:?} refused");
    Ok(())
}

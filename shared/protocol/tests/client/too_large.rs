//! Batches and events that are larger than a server takes.

use anyhow::{Context, Result, ensure};
use reflow_tracing_protocol::client::TracingClient;
use reflow_tracing_protocol::{ExecutionStatus, FlowId, TraceId};
use reflow_tracing_tests::{Service, patience};
use serde_json::json;

use crate::scene::{config, event, noise, version};
use crate::stand_in::StandIn;

/// Forty events, one of which is larger than what the server takes at once.
async fn record_one_too_large(client: &TracingClient) -> Result<TraceId> {
    let trace_id = client.start_trace(FlowId::new("large"), version()).await?;
    for number in 0..40 {
        let mut event = event(number);
        let bytes = if number == 17 { 20_000 } else { 1_000 };
        event.data.custom_attributes.insert("noise".to_owned(), json!(noise(bytes)));
        client.record_event(trace_id.clone(), event).await?;
    }
    Ok(trace_id)
}

/// All others arrive, and what was dropped is told.
async fn only_that_is_dropped(client: &TracingClient, trace_id: TraceId) -> Result<()> {
    let undelivered = client.flush_within(patience()).await.expect_err("one of them can never fit");
    assert_eq!((undelivered.events, undelivered.dropped, undelivered.rejected), (0, 0, 1), "{undelivered}");
    ensure!(undelivered.reason.contains("8192 bytes"), "{undelivered}");
    let metrics = client.metrics();
    assert_eq!((metrics.events_acked, metrics.dropped_too_large), (39, 1));
    ensure!(metrics.batches_split >= 3, "{metrics:?}");
    // The last that was dropped is told as well.
    client.record_event(trace_id.clone(), event(40)).await?;
    client.flush_within(patience()).await?;
    let details = client.get_trace_details(trace_id).await?.context("no such trace")?;
    assert_eq!(details.events.len(), 40);
    let account = &details.summary.counted.context("no counts")?.clients[0];
    assert_eq!((account.recorded, account.present, account.dropped, account.not_arrived), (41, 40, 1, 0));
    Ok(())
}

#[tokio::test]
async fn a_batch_that_is_too_large_goes_in_parts_and_only_what_can_never_fit_is_dropped() -> Result<()> {
    let server = Service::standalone().memory().env("REFLOW_TRACING_LIMITS__MAX_CHUNK_BYTES", "8192").start().await?;
    let client = TracingClient::new(config(&server.url()));
    let trace_id = record_one_too_large(&client).await?;
    only_that_is_dropped(&client, trace_id).await
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_never_sent_and_goes_in_parts_out_of_the_spool_too() -> Result<()> {
    let server = Service::standalone().memory().env("REFLOW_TRACING_LIMITS__MAX_FRAME_BYTES", "8192").start().await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("spool");
    let client = TracingClient::builder(config(&server.url())).spool(&path).build()?;
    let trace_id = record_one_too_large(&client).await?;
    only_that_is_dropped(&client, trace_id.clone()).await?;
    let long = ExecutionStatus::Failed { error: noise(20_000) };
    client.end_trace(trace_id, long).await?;
    let undelivered = client.shutdown_within(patience()).await.expect_err("that end cannot fit");
    assert_eq!((undelivered.requests, undelivered.requests_lost), (0, 1), "{undelivered}");
    let metrics = client.metrics();
    assert_eq!((metrics.connections, metrics.connections_lost, metrics.server_errors), (1, 0, 0), "{metrics:?}");
    ensure!(std::fs::metadata(&path)?.len() < 100, "the spool is not empty");
    Ok(())
}

#[tokio::test]
async fn in_v1_an_event_that_is_too_large_costs_no_other() -> Result<()> {
    let server = StandIn::start(false).await?;
    let client = TracingClient::new(config(&server.url));
    for number in 0..5 {
        let mut event = event(number);
        // What the published server's library takes is 16 MiB.
        let bytes = if number == 2 { 17 << 20 } else { 10 };
        event.data.custom_attributes.insert("text".to_owned(), json!("x".repeat(bytes)));
        client.record(&client.current_trace_id(), event)?;
    }
    let undelivered = client.flush_within(patience()).await.expect_err("one of them can never fit");
    assert_eq!((undelivered.events, undelivered.dropped, undelivered.rejected), (0, 0, 1), "{undelivered}");
    let metrics = client.metrics();
    assert_eq!((metrics.events_acked, metrics.dropped_too_large, metrics.connections_lost), (4, 1, 0));
    server.seen(|seen| assert_eq!(seen.events.len(), 4));
    Ok(())
}

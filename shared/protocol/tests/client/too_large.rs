//! Batches that are larger than a server takes.

use anyhow::{Context, Result, ensure};
use reflow_tracing_protocol::FlowId;
use reflow_tracing_protocol::client::TracingClient;
use reflow_tracing_tests::{Service, patience};
use serde_json::json;

use crate::scene::{config, event, noise, version};

#[tokio::test]
async fn a_batch_that_is_too_large_goes_in_parts_and_only_what_can_never_fit_is_dropped() -> Result<()> {
    let server = Service::standalone().memory().env("REFLOW_TRACING_LIMITS__MAX_CHUNK_BYTES", "8192").start().await?;
    let client = TracingClient::new(config(&server.url()));
    let trace_id = client.start_trace(FlowId::new("large"), version()).await?;
    for number in 0..40 {
        let mut event = event(number);
        // One of them is larger than a chunk may be.
        let bytes = if number == 17 { 20_000 } else { 1_000 };
        event.data.custom_attributes.insert("noise".to_owned(), json!(noise(bytes)));
        client.record_event(trace_id.clone(), event).await?;
    }
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

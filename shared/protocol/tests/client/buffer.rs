//! A full buffer: what gives way is what the setting says, and the server hears of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reflow_tracing_protocol::client::{TracingClient, WhenFull};
use reflow_tracing_protocol::{FlowId, TraceId};
use reflow_tracing_tests::{Port, Service, eventually, patience};
use serde_json::json;

use crate::scene::{config, event, version};

/// A server that is not there yet, and a client with a small buffer that has recorded more than fits.
async fn overfilled(when_full: WhenFull) -> Result<(Service, TracingClient, TraceId)> {
    let mut server = Service::standalone().memory().start().await?;
    server.kill9().await?;
    let client = TracingClient::builder(config(&server.url())).buffer_bytes(200_000).when_full(when_full).build()?;
    let trace_id = client.start_trace(FlowId::new("full"), version()).await?;
    for number in 0..50_000 {
        client.record_event(trace_id.clone(), event(number)).await?;
    }
    let metrics = client.metrics();
    ensure!(metrics.buffered_bytes <= 210_000, "{metrics:?}");
    ensure!(metrics.dropped_buffer_full > 10_000, "{metrics:?}");
    assert_eq!(metrics.events_recorded, 50_000);
    server.restart().await?;
    // All that is left arrives; what gave way is told, once.
    let undelivered = client.flush_within(patience()).await.expect_err("events were dropped");
    let dropped = client.metrics().dropped_buffer_full;
    assert_eq!((undelivered.events, undelivered.dropped, undelivered.rejected), (0, dropped, 0), "{undelivered}");
    ensure!(undelivered.reason.contains("for want of room in the buffer"), "{undelivered}");
    client.flush_within(patience()).await?;
    Ok((server, client, trace_id))
}

/// The numbers of the events that were stored. Checks that what is missing is told.
async fn stored(client: &TracingClient, trace_id: TraceId) -> Result<Vec<usize>> {
    // What was dropped after the last batch was made is told a moment later.
    let details = eventually(patience(), || async {
        let details = client.get_trace_details(trace_id.clone()).await?.context("no such trace")?;
        let told = details.summary.counted.as_ref().context("no counts")?.clients[0].dropped;
        ensure!(told == client.metrics().dropped_buffer_full, "{told} dropped, and {:?}", client.metrics());
        Ok(details)
    })
    .await?;
    let account = &details.summary.counted.context("no counts")?.clients[0];
    assert_eq!((account.recorded, account.present), (50_000, details.events.len() as u64));
    assert_eq!(account.not_arrived, 0);
    let number = |actor: &str| actor.trim_start_matches("actor-").parse();
    Ok(details.events.iter().map(|event| number(&event.actor_id)).collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn the_oldest_gives_way() -> Result<()> {
    let (_server, client, trace_id) = overfilled(WhenFull::DropOldest).await?;
    let numbers = stored(&client, trace_id).await?;
    ensure!(numbers.contains(&49_999) && !numbers.contains(&0), "{:?}", numbers.first());
    // Nothing in the middle is missing.
    let first = *numbers.iter().min().context("nothing")?;
    assert_eq!(numbers.len(), 50_000 - first);
    Ok(())
}

#[tokio::test]
async fn nothing_gives_way_to_an_event_that_would_not_fit_into_an_empty_buffer() -> Result<()> {
    let port = Port::reserve()?;
    let client =
        TracingClient::builder(config(&format!("ws://127.0.0.1:{}", port.number()))).buffer_bytes(200_000).build()?;
    let trace_id = client.start_trace(FlowId::new("huge"), version()).await?;
    for number in 0..100 {
        client.record_event(trace_id.clone(), event(number)).await?;
    }
    let mut huge = event(100);
    huge.data.custom_attributes.insert("noise".to_owned(), json!("x".repeat(200_000)));
    client.record_event(trace_id.clone(), huge).await?;
    client.record_event(trace_id, event(101)).await?;
    let undelivered = client.flush_within(Duration::from_millis(100)).await.expect_err("there is no server");
    assert_eq!((undelivered.events, undelivered.dropped), (101, 1), "{undelivered}");
    Ok(())
}

#[tokio::test]
async fn the_newest_gives_way() -> Result<()> {
    let (_server, client, trace_id) = overfilled(WhenFull::DropNewest).await?;
    let numbers = stored(&client, trace_id).await?;
    ensure!(numbers.contains(&0) && numbers.contains(&1), "{:?}", numbers.first());
    Ok(())
}

#[tokio::test]
async fn recording_waits_for_room() -> Result<()> {
    let mut server = Service::standalone().memory().start().await?;
    server.kill9().await?;
    let client =
        TracingClient::builder(config(&server.url())).buffer_bytes(200_000).when_full(WhenFull::Wait).build()?;
    let trace_id = client.start_trace(FlowId::new("wait"), version()).await?;
    let recording = async {
        for number in 0..20_000 {
            client.record_event(trace_id.clone(), event(number)).await?;
        }
        anyhow::Ok(())
    };
    tokio::pin!(recording);
    let waited = tokio::time::timeout(Duration::from_millis(500), &mut recording).await;
    ensure!(waited.is_err(), "there cannot be room for all without a server");
    server.restart().await?;
    recording.await?;
    client.flush_within(patience()).await?;
    assert_eq!((client.metrics().events_acked, client.metrics().events_dropped()), (20_000, 0));
    Ok(())
}

//! What flushes and shutdowns say of what was not delivered, to everybody who asks.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reflow_tracing_protocol::FlowId;
use reflow_tracing_protocol::client::{TracingClient, TracingError};
use reflow_tracing_tests::{Port, patience};
use serde_json::json;

use crate::scene::{Server, config, event, version};

/// A client of a server that is not there, with three events.
async fn without_server() -> Result<(Port, TracingClient)> {
    let port = Port::reserve()?;
    let client = TracingClient::new(config(&format!("ws://127.0.0.1:{}", port.number())));
    let trace_id = client.start_trace(FlowId::new("nobody"), version()).await?;
    for number in 0..3 {
        client.record_event(trace_id.clone(), event(number)).await?;
    }
    Ok((port, client))
}

#[tokio::test]
async fn two_shutdowns_at_once_are_both_told_what_was_not_delivered() -> Result<()> {
    let (_port, client) = without_server().await?;
    let (first, second) = tokio::join!(
        client.shutdown_within(Duration::from_millis(100)),
        client.shutdown_within(Duration::from_millis(300)),
    );
    for outcome in [first, second] {
        let undelivered = outcome.expect_err("there is no server");
        assert_eq!((undelivered.events, undelivered.requests), (3, 2), "{undelivered}");
        ensure!(undelivered.reason.contains("refused"), "{undelivered}");
    }
    assert_eq!(client.metrics().dropped_closed, 3);
    // Told once is enough.
    client.shutdown_within(patience()).await?;
    Ok(())
}

#[tokio::test]
async fn a_flush_that_a_shutdown_overtakes_is_told_too() -> Result<()> {
    let (_port, client) = without_server().await?;
    let (flushed, shut_down) =
        tokio::join!(client.flush_within(patience()), client.shutdown_within(Duration::from_millis(100)));
    assert_eq!(flushed.expect_err("there is no server").events, 3);
    assert_eq!(shut_down.expect_err("there is no server").events, 3);
    Ok(())
}

#[tokio::test]
async fn what_the_server_refuses_for_good_is_told_apart_from_what_waits() -> Result<()> {
    let server = Server::start().await?;
    let client = server.client();
    client.connect_within(patience()).await?;
    let trace_id = client.start_trace(FlowId::new("refused"), version()).await?;
    client.record_event(trace_id.clone(), event(0)).await?;
    client.flush_within(patience()).await?;
    let mut bad = event(1);
    bad.actor_id = "longer than a name may be".repeat(50);
    client.record_event(trace_id.clone(), bad.clone()).await?;
    client.record_event(trace_id.clone(), event(2)).await?;
    let undelivered = client.flush_within(patience()).await.expect_err("one of them is refused");
    assert_eq!((undelivered.events, undelivered.dropped, undelivered.rejected), (0, 0, 1), "{undelivered}");
    ensure!(undelivered.reason.contains("refused one by one"), "{undelivered}");
    client.flush_within(patience()).await?;

    // The published calls say it as well as they can.
    client.record_event(trace_id.clone(), bad).await?;
    let error = client.flush().await.expect_err("it is refused");
    ensure!(matches!(&error, TracingError::WebSocketError(text) if text.contains("1 refused")), "{error}");
    client.shutdown().await?;
    let trace = server.trace(trace_id.0).await?.context("no such trace")?;
    assert_eq!((trace["events"].as_array().map(Vec::len), &trace["status"]), (Some(2), &json!("Completed")));
    Ok(())
}

//! Servers that are not there, urls that are none, and ends: what is said of what could not be delivered.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use reflow_tracing_protocol::FlowId;
use reflow_tracing_protocol::client::{TracingClient, TracingConfig, TracingError};
use reflow_tracing_tests::{Port, Service, eventually, patience};

use crate::scene::{Server, config, event, version};

#[tokio::test]
async fn an_url_that_is_none_is_an_error_at_once() {
    for url in ["", "localhost:8080", "http://localhost:8080", "ws://"] {
        let client = TracingClient::new(config(url));
        let error = client.connect().await.expect_err(url);
        assert!(matches!(&error, TracingError::ConnectionFailed(reason) if reason.contains("ws://host")), "{error}");
        assert!(TracingClient::builder(config(url)).build().is_err());
    }
}

#[tokio::test]
async fn connecting_goes_on_without_a_server_and_connect_within_tells() -> Result<()> {
    let port = Port::reserve()?;
    let client = TracingClient::new(config(&format!("ws://127.0.0.1:{}", port.number())));
    let began = Instant::now();
    client.connect().await?;
    let took = began.elapsed();
    ensure!((1_900..4_000).contains(&took.as_millis()), "connect took {took:?}");
    ensure!(!client.is_connected() && client.last_error().is_some());
    let error = client.connect_within(Duration::from_millis(300)).await.expect_err("there is no server");
    ensure!(matches!(&error, TracingError::ConnectionFailed(reason) if reason.contains("refused")), "{error}");

    // A program goes on as if nothing were wrong, and is told what was not delivered.
    let trace_id = client.start_trace(FlowId::new("nobody"), version()).await?;
    (client.record_event(trace_id.clone(), event(0)).await, client.record(&trace_id, event(1))).1?;
    let undelivered = client.flush_within(Duration::from_millis(100)).await.expect_err("there is no server");
    assert_eq!((undelivered.events, undelivered.spooled), (2, 0));
    ensure!(undelivered.reason.contains("refused"), "{undelivered}");
    let undelivered = client.shutdown_within(Duration::from_millis(100)).await.expect_err("there is no server");
    assert_eq!(undelivered.events, 2);
    assert_eq!(client.metrics().dropped_closed, 2);
    let after = client.record_event(trace_id, event(2)).await;
    ensure!(matches!(after, Err(TracingError::Disconnected)), "{after:?}");
    assert_eq!(client.metrics().dropped_closed, 3);
    Ok(())
}

#[tokio::test]
async fn a_server_that_comes_later_gets_everything() -> Result<()> {
    let mut server = Service::standalone().memory().start().await?;
    server.kill9().await?;
    let client = TracingClient::new(config(&server.url()));
    client.connect().await?;
    let trace_id = client.start_trace(FlowId::new("later"), version()).await?;
    client.record_event(trace_id.clone(), event(0)).await?;
    server.restart().await?;
    client.flush_within(patience()).await?;
    ensure!(client.is_connected() && client.last_error().is_none());
    assert_eq!(client.get_trace(trace_id).await?.map(|trace| trace.events.len()), Some(1));
    Ok(())
}

#[tokio::test]
async fn a_client_can_be_connected_again_after_its_shutdown() -> Result<()> {
    let server = Server::start().await?;
    let client = server.client();
    for run in 0..3 {
        client.connect_within(patience()).await?;
        let trace_id = client.start_trace(FlowId::new("again"), version()).await?;
        client.record_event(trace_id.clone(), event(run)).await?;
        client.shutdown_within(patience()).await?;
        server.trace_with(trace_id.0, 1).await?;
        server.trace_in(trace_id.0, &serde_json::json!("Completed")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn dropping_the_client_delivers_what_it_has() -> Result<()> {
    let server = Server::start().await?;
    let client = server.client();
    client.connect_within(patience()).await?;
    let trace_id = client.start_trace(FlowId::new("dropped"), version()).await?;
    for number in 0..10 {
        client.record_event(trace_id.clone(), event(number)).await?;
    }
    tokio::task::spawn_blocking(move || drop(client)).await?;
    server.trace_with(trace_id.0, 10).await?;
    server.trace_in(trace_id.0, &serde_json::json!("Completed")).await?;
    Ok(())
}

#[test]
fn a_client_works_without_any_runtime_of_the_program() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(Server::start())?;
    let client = server.client();
    let trace_id = client.current_trace_id();
    client.record(&trace_id, event(0))?;
    // The calling thread has no reactor and no timer.
    futures_util::FutureExt::now_or_never(client.record_event(trace_id.clone(), event(1))).transpose()?;
    runtime.block_on(async {
        eventually(patience(), || async {
            ensure!(client.metrics().events_acked == 2, "{:?}", client.metrics());
            Ok(())
        })
        .await
    })?;
    Ok(())
}

/// A shutdown whose caller does not wait for its end leaves nothing behind that a later call would wait for.
#[tokio::test]
async fn a_shutdown_that_was_given_up_is_no_hindrance() -> Result<()> {
    let server = Server::start().await?;
    let client = server.client();
    client.connect_within(patience()).await?;
    let trace_id = client.start_trace(FlowId::new("before"), version()).await?;
    client.record_event(trace_id, event(0)).await?;
    let given_up = futures_util::FutureExt::now_or_never(client.shutdown());
    ensure!(given_up.is_none(), "the shutdown was done at once");
    eventually(patience(), || async {
        ensure!(!client.is_connected(), "it goes on");
        Ok(())
    })
    .await?;
    let again = async {
        client.flush().await?;
        client.shutdown().await?;
        client.connect_within(patience()).await?;
        let trace_id = client.start_trace(FlowId::new("after"), version()).await?;
        client.record_event(trace_id.clone(), event(1)).await?;
        client.flush_within(patience()).await?;
        anyhow::Ok(trace_id)
    };
    let trace_id = tokio::time::timeout(2 * patience(), again).await??;
    server.trace_with(*trace_id.as_uuid(), 1).await?;
    Ok(())
}

#[tokio::test]
async fn a_disabled_client_does_nothing_and_succeeds() -> Result<()> {
    let client = TracingClient::new(TracingConfig { enabled: false, server_url: "nonsense".into(), ..config("") });
    client.connect().await?;
    let trace_id = client.start_trace(FlowId::new("off"), version()).await?;
    client.record_event(trace_id.clone(), event(0)).await?;
    client.ping().await?;
    ensure!(client.get_trace(trace_id).await?.is_none());
    client.flush().await?;
    client.shutdown().await?;
    assert_eq!(client.metrics().events_recorded, 0);
    Ok(())
}

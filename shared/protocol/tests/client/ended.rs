//! How a client ends that others still record into.

use anyhow::{Result, ensure};
use reflow_tracing_protocol::client::{TracingClient, TracingError, TracingIntegration};
use reflow_tracing_protocol::{ExecutionStatus, FlowId};
use reflow_tracing_tests::patience;
use serde_json::json;
use tokio::sync::mpsc;

use crate::scene::{Server, event, everything, version};

/// How many traces the server has.
async fn traces(server: &Server) -> Result<u64> {
    let client = server.client();
    let page = client.find_traces(everything(), None).await?;
    client.shutdown().await?;
    Ok(page.total)
}

fn refused<T>(outcome: Result<T, TracingError>) -> bool {
    matches!(outcome, Err(TracingError::Disconnected))
}

/// Records until it is refused; says when it has recorded some. Gives how many events were taken.
async fn record(integration: TracingIntegration, begun: mpsc::Sender<()>) -> u64 {
    let mut taken = 0;
    while integration.trace_actor_created("late").await.is_ok() {
        taken += 1;
        if taken == 100 {
            begun.send(()).await.expect("somebody waits");
        }
        tokio::task::yield_now().await;
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_client_that_others_record_into_ends_as_one_trace() -> Result<()> {
    let server = Server::start().await?;
    let integration = TracingIntegration::new(server.client());
    let client = integration.client();
    client.connect_within(patience()).await?;
    let trace_id = integration.start_flow_trace("ended").await?;
    let (begun, mut all_begun) = mpsc::channel(2);
    let others = [(); 2].map(|()| tokio::spawn(record(integration.clone(), begun.clone())));
    for _ in 0..2 {
        all_begun.recv().await.expect("they record");
    }
    let status = ExecutionStatus::Failed { error: "enough".to_owned() };
    client.shutdown_as(status.clone(), patience()).await?;
    let mut taken = 0;
    for other in others {
        taken += other.await?;
    }
    // Each was refused once. One that was taken in the very moment of the end may have been dropped, and is counted.
    let figures = client.metrics();
    ensure!(figures.dropped_closed >= 2, "{figures:?}");
    assert_eq!(figures.events_recorded, taken + 2);
    assert_eq!(figures.events_acked + figures.dropped_closed, figures.events_recorded);
    let events = usize::try_from(figures.events_acked)?;
    assert_eq!(server.trace_with(trace_id.0, events).await?["status"], json!(status));
    assert_eq!(traces(&server).await?, 1);
    Ok(())
}

#[tokio::test]
async fn nothing_begins_after_the_end_until_the_next_connect() -> Result<()> {
    let server = Server::start().await?;
    let integration = TracingIntegration::new(server.client());
    let client = integration.client();
    client.connect_within(patience()).await?;
    let trace_id = integration.start_flow_trace("ended").await?;
    integration.trace_actor_created("a").await?;
    client.shutdown_as(ExecutionStatus::Cancelled, patience()).await?;
    for _ in 0..3 {
        ensure!(refused(client.start_trace(FlowId::new("late"), version()).await));
        ensure!(refused(client.end_trace(trace_id.clone(), ExecutionStatus::Completed).await));
        ensure!(refused(integration.trace_actor_created("late").await));
        ensure!(refused(client.record_event(trace_id.clone(), event(1)).await));
    }
    assert_eq!(client.metrics().dropped_closed, 6);
    // What was refused in between makes no trace of its own.
    client.connect_within(patience()).await?;
    client.shutdown_within(patience()).await?;
    assert_eq!(traces(&server).await?, 1);
    server.trace_in(trace_id.0, &json!("Cancelled")).await?;

    client.connect_within(patience()).await?;
    let next = client.start_trace(FlowId::new("next"), version()).await?;
    integration.trace_actor_created("b").await?;
    client.shutdown_within(patience()).await?;
    ensure!(next != trace_id);
    server.trace_in(next.0, &json!("Completed")).await?;
    assert_eq!(traces(&server).await?, 2);
    Ok(())
}

#[tokio::test]
async fn only_the_current_trace_ends_as_told_and_a_status_that_is_no_end_tells_nothing() -> Result<()> {
    let server = Server::start().await?;
    let start = async |client: &TracingClient| -> Result<_> {
        let trace_id = client.start_trace(FlowId::new("ended"), version()).await?;
        client.record_event(trace_id.clone(), event(0)).await?;
        Ok(trace_id.0)
    };
    let client = server.client();
    client.connect_within(patience()).await?;
    let (first, last) = (start(&client).await?, start(&client).await?);
    client.shutdown_as(ExecutionStatus::Cancelled, patience()).await?;
    server.trace_in(first, &json!("Completed")).await?;
    server.trace_in(last, &json!("Cancelled")).await?;

    client.connect_within(patience()).await?;
    let third = start(&client).await?;
    client.shutdown_as(ExecutionStatus::Running, patience()).await?;
    server.trace_in(third, &json!("Completed")).await?;
    Ok(())
}

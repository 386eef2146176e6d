//! What is recorded arrives, from the first event on, in the right trace.

use anyhow::{Context, Result, ensure};
use reflow_tracing_protocol::client::TracingIntegration;
use reflow_tracing_protocol::{ExecutionStatus, FlowId};
use reflow_tracing_tests::patience;
use serde_json::json;

use crate::scene::{Server, event, version};

#[tokio::test]
async fn events_recorded_before_the_connection_and_the_trace_arrive_in_it() -> Result<()> {
    let server = Server::start().await?;
    let integration = TracingIntegration::new(server.client());
    for actor in ["a", "b", "c"] {
        integration.trace_actor_created(actor).await?;
    }
    let client = integration.client();
    client.connect().await?;
    ensure!(client.is_connected());
    integration.trace_actor_completed("a").await?;
    let trace_id = integration.start_flow_trace("early_123456789").await?;
    integration.trace_data_flow("a", "out", "b", "in", "Number", 8).await?;
    client.flush_within(patience()).await?;
    assert_eq!(client.metrics().events_acked, 5);
    let trace = server.trace_with(trace_id.0, 5).await?;
    assert_eq!((&trace["flow_id"], &trace["status"]), (&json!("early_123456789"), &json!("Running")));
    assert_eq!(trace_id.0.get_version_num(), 7);
    client.shutdown().await?;
    assert_eq!(client.connection_status(), "Disconnected");
    server.trace_in(trace_id.0, &json!("Completed")).await?;
    Ok(())
}

#[tokio::test]
async fn traces_of_one_client_stay_apart_and_end_as_told() -> Result<()> {
    let server = Server::start().await?;
    let client = server.client();
    client.connect().await?;
    let mut ids = Vec::new();
    for flow in ["one", "two"] {
        let trace_id = client.start_trace(FlowId::new(flow), version()).await?;
        for number in 0..100 {
            client.record_event(trace_id.clone(), event(number)).await?;
        }
        ids.push(trace_id);
    }
    let (one, two) = (ids[0].clone(), ids[1].clone());
    client.end_trace(one.clone(), ExecutionStatus::Cancelled).await?;
    client.end_trace(two.clone(), ExecutionStatus::Failed { error: "no luck".into() }).await?;
    ensure!(client.end_trace(two.clone(), ExecutionStatus::Running).await.is_err(), "Running is no end");
    client.flush_within(patience()).await?;
    let details = client.get_trace_details(one.clone()).await?.context("no such trace")?;
    assert_eq!((details.events.len(), details.summary.status), (100, ExecutionStatus::Cancelled));
    let account = &details.summary.counted.context("no counts")?.clients[0];
    assert_eq!((account.client_id.as_str(), account.recorded, account.missing), (client.client_id(), 100, 0));
    let trace = client.get_trace(two).await?.context("no such trace")?;
    assert_eq!((trace.flow_id.as_str(), trace.version.minor, trace.events.len()), ("two", 2, 100));
    assert_eq!(trace.status, ExecutionStatus::Failed { error: "no luck".into() });
    Ok(())
}

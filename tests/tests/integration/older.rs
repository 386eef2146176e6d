//! The frames of `TraceMessage`, the older generation of v1, answered in `TraceResponse`.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{answers, events, frames};
use serde_json::json;
use uuid::Uuid;

use crate::system::{Standalone, ensure_holds};

#[tokio::test]
async fn a_stored_trace_comes_back_whole_however_large() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    // More than one slice of 500, and more than a batch of v2 may hold.
    let (trace_id, sent) = (Uuid::new_v4(), events::program(10_001));
    let stored = client.ask(&frames::store_trace(&frames::flow_trace(trace_id, "stored", &sent))).await?;
    assert_eq!(answers::uuid_at(&stored, "/TraceStored/trace_id")?, trace_id);

    let trace = system.trace_with(trace_id, 10_001).await?;
    ensure_holds(&trace, &sent)?;
    assert_eq!(trace["flow_id"], "stored");
    assert_eq!(trace["status"], "Completed");
    assert_eq!(trace["metadata"]["environment"], "test");
    Ok(())
}

#[tokio::test]
async fn storing_a_trace_again_changes_nothing() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let (trace_id, sent) = (Uuid::new_v4(), events::program(1_200));
    let request = frames::store_trace(&frames::flow_trace(trace_id, "stored", &sent));
    client.ask(&request).await?;
    let once = system.trace_with(trace_id, 1_200).await?;
    client.ask(&request).await?;
    client.ask(&request).await?;
    assert_eq!(system.trace_with(trace_id, 1_200).await?, once);
    Ok(())
}

#[tokio::test]
async fn a_session_that_begins_in_the_older_words_is_answered_in_them() -> Result<()> {
    let system = Standalone::start().await?;
    let mut client = system.connect().await?;
    let (trace_id, sent) = (Uuid::new_v4(), events::program(5));
    client.ask(&frames::store_trace(&frames::flow_trace(trace_id, "older", &sent))).await?;
    system.trace_with(trace_id, 5).await?;

    let trace = client.ask(&frames::get_trace(trace_id)).await?;
    assert_eq!(trace["TraceData"]["trace"]["flow_id"], "older");
    let found = client.ask(&frames::query_traces(&frames::Query::all().flow("older"))).await?;
    let traces = found.pointer("/TracesFound/traces").and_then(|traces| traces.as_array());
    assert_eq!(traces.context("not TracesFound")?.len(), 1);
    // `TraceData` of this generation cannot say that there is none.
    let missing = client.ask(&frames::get_trace(Uuid::new_v4())).await?;
    ensure!(missing.pointer("/Error/message").is_some(), "{missing}");
    ensure!(missing.pointer("/Error/code").is_none(), "errors of this generation have no code: {missing}");
    Ok(())
}

#[tokio::test]
async fn metrics_are_an_object() -> Result<()> {
    let system = Standalone::start().await?;
    let answer = system.connect().await?.ask(&frames::get_metrics()).await?;
    ensure!(answer.pointer("/Metrics/data").is_some_and(|data| data.is_object()), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_subscriber_in_the_older_words_sees_events() -> Result<()> {
    let system = Standalone::start().await?;
    let mut viewer = system.connect().await?;
    answers::recorded(&viewer.ask(&frames::subscribe_older(&json!({}))).await?)?;
    let event = events::actor_created("seen");
    system.store("older", std::slice::from_ref(&event)).await?;
    assert_eq!(viewer.recv_json().await?["EventNotification"]["event"], event);
    Ok(())
}

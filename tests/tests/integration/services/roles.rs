//! What each service does not do, and says so.

use anyhow::{Result, ensure};
use reflow_tracing_tests::{
    Cluster, answers, events,
    frames::{self, Batch},
    http,
};
use serde_json::json;
use uuid::Uuid;

use super::{batches, record_all};

#[tokio::test]
async fn the_query_service_takes_no_events_and_says_who_does() -> Result<()> {
    let cluster = Cluster::start().await?;
    let query = &cluster.queries[0];
    let mut client = query.connect().await?;
    let event = events::actor_created("lost");
    let trace = frames::flow_trace(Uuid::new_v4(), "lost", std::slice::from_ref(&event));
    for request in [
        frames::record_event(Uuid::new_v4(), &event),
        frames::start_trace("lost"),
        frames::start_trace_with_id(Uuid::new_v4(), "lost"),
        frames::end_trace(Uuid::new_v4(), &"Completed".into()),
        frames::store_trace(&trace),
    ] {
        let reason = answers::refusal(&client.ask(&request).await?)?;
        ensure!(reason.contains("collector"), "{request:.100} was refused without a way out: {reason}");
    }
    let mut newer = query.connect_v2().await?;
    let batch = Batch::new("lost", vec![event]);
    for _ in 0..2 {
        let answer = newer.ask(&batch.request()).await?;
        let reason = answers::refusal(&answer)?;
        ensure!(reason.contains("collector"), "refused without a way out: {reason}");
        ensure!(answer["Error"]["batch_id"] == batch.batch_id.to_string(), "{answer}");
        ensure!(answer["Error"]["retryable"] == false, "trying again would not help: {answer}");
    }
    // The sessions go on, and nothing was stored.
    assert_eq!(client.ask(&frames::ping()).await?, "Pong");
    assert_eq!(newer.ask(&frames::ping()).await?, "Pong");
    assert_eq!(cluster.sql("SELECT count(*) FROM seen").await?, "0");
    Ok(())
}

/// Every question gets the same answer from a collector, which asks over the bus, as from the query service itself.
#[tokio::test]
async fn any_collector_answers_what_the_query_service_answers() -> Result<()> {
    let cluster = Cluster::start().await?;
    let batches = batches("asked", 3, 40);
    record_all(&mut cluster.collectors[0].connect_v2().await?, &batches).await?;
    let trace_id = batches[0].trace_id;
    cluster.trace_with(trace_id, 120).await?;

    let mut program = cluster.collectors[0].connect().await?;
    let started = answers::started(&program.ask(&frames::start_trace("asked")).await?)?;
    answers::recorded(&program.ask(&frames::record_event(started, &events::actor_created("a"))).await?)?;
    cluster.trace_with(started, 1).await?;

    let (mut collector, mut query) = (cluster.collectors[0].connect().await?, cluster.queries[0].connect().await?);
    for question in [
        frames::get_trace(trace_id),
        frames::get_trace(Uuid::new_v4()),
        frames::query_traces(&frames::Query::all()),
        frames::query_traces(&frames::Query::all().flow("asked").actor("sink").limit(1)),
        frames::query_traces(&frames::Query::all().limit(0)),
        frames::get_flow_versions("asked"),
        frames::get_flow_versions("nobody"),
    ] {
        let (one, other) = (collector.ask(&question).await?, query.ask(&question).await?);
        ensure!(one == other, "{question} is answered with {one:.300} and with {other:.300}");
        ensure!(one.get("Error").is_none(), "{question} is answered with {one:.300}");
    }
    Ok(())
}

/// The query service takes it in a frame; between collector and query service it is a message of the bus.
#[tokio::test]
async fn a_question_too_large_for_the_bus_is_refused_with_its_size() -> Result<()> {
    let cluster = Cluster::start().await?;
    let mut collector = cluster.collectors[0].connect_v2().await?;
    let long = "x".repeat(2_000_000);
    let mut named = frames::query_traces(&frames::Query::all().flow(&long));
    named["QueryTraces"]["request_id"] = json!("which");
    for question in [
        named,
        frames::query_traces(&frames::Query::all().flow(&long)),
        frames::query_traces(&frames::Query::all().actor(&long)),
        frames::get_flow_versions(&long),
    ] {
        let answer = collector.ask(&question).await?;
        let error = &answer["Error"];
        ensure!(error["code"] == "LimitExceeded" && error["retryable"] == false, "{answer:.300}");
        let reason = answers::refusal(&answer)?;
        ensure!(reason.contains(" bytes is larger than") && reason.contains("max_payload"), "{reason:.300}");
        ensure!(error["request_id"] == question["QueryTraces"]["request_id"], "not echoed: {answer:.300}");
    }
    assert_eq!(collector.ask(&frames::ping()).await?, "Pong");
    Ok(())
}

#[tokio::test]
async fn a_collector_without_a_query_service_says_what_is_missing() -> Result<()> {
    let cluster = Cluster::build().queries(0).start().await?;
    let collector = &cluster.collectors[0];
    let mut newer = collector.connect_v2().await?;
    let answer = newer.ask(&frames::get_trace(Uuid::new_v4())).await?;
    ensure!(answer["Error"]["retryable"] == true, "{answer}");
    ensure!(answers::refusal(&answer)?.contains("query"), "{answer}");
    // Recording goes on beside it.
    record_all(&mut newer, &batches("alone", 2, 5)).await?;
    assert_eq!(http::get(collector.admin_port(), "/readyz").await?.status, 200);
    Ok(())
}

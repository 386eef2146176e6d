//! All five against a stand-in for the published server, which speaks v1 alone: what that can answer is shown, the rest is said.

use anyhow::{Context, Result};
use chrono::{DateTime, TimeDelta, Utc};
use reflow_tracing_tests::{PublishedServer, events, frames};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::scene::{Running, line_with, run_with, watching};

/// What every program says of a server like this.
const V1: &str = "this server speaks protocol v1 alone: ";

/// A whole trace, as a program of the older generation stores it, begun so many seconds after ten.
fn trace(second: i64, status: &Value) -> Result<Value> {
    let begun = "2026-01-31T10:00:00Z".parse::<DateTime<Utc>>()? + TimeDelta::seconds(second);
    let steps = [events::actor_created("a"), events::data_flow("a", "out", "b", "in"), events::actor_completed("b")];
    let mut trace = frames::flow_trace(Uuid::now_v7(), "stored", &steps.map(|event| events::at(event, begun)));
    trace["status"] = status.clone();
    Ok(trace)
}

/// Events that came, and under how many trace ids.
fn recorded(server: &PublishedServer) -> (usize, usize) {
    let frames = server.seen().frames;
    let recorded: Vec<&Value> = frames.iter().filter_map(|frame| frame.get("RecordEvent")).collect();
    let ids: std::collections::BTreeSet<_> = recorded.iter().filter_map(|event| event["trace_id"].as_str()).collect();
    (recorded.len(), ids.len())
}

#[tokio::test]
async fn programs_that_record_deliver_everything_and_say_that_it_may_not_be_kept() -> Result<()> {
    let server = PublishedServer::start().await?;
    let out = run_with(server.url(), "simple_client", &["--count", "7", "--delay", "0"]).await?.ok()?;
    assert!(out.contains("7 of 7 messages, 25 events recorded, 25 acked"), "{out}");
    assert!(out.contains(V1) && !out.contains("look"), "{out}");
    assert_eq!(recorded(&server), (25, 1));

    let server = PublishedServer::start().await?;
    let out = run_with(server.url(), "complex_workflow", &["--items", "3", "--failure-rate", "0"]).await?.ok()?;
    assert!(out.contains("3 orders, 3 paid, 0 given up") && out.contains(V1), "{out}");
    let (events, traces) = recorded(&server);
    assert!(out.contains(&format!("{events} events recorded, {events} acked")), "{events} came: {out}");
    assert_eq!((traces, server.seen().binary), (1, 0));
    Ok(())
}

#[tokio::test]
async fn a_load_is_acked_whole_and_what_nobody_counted_is_not_shown_as_lost() -> Result<()> {
    let server = PublishedServer::start().await?;
    let out = run_with(server.url(), "performance_test", &["--messages", "300", "--json"]).await?.ok()?;
    let report: Value = serde_json::from_str(&out).with_context(|| out.clone())?;
    assert_eq!(report["events"], report["events_acked"], "{out}");
    assert_eq!(report["events"].as_u64(), Some(recorded(&server).0 as u64), "{out}");
    assert_eq!((&report["protocol"], &report["events_stored"]), (&json!("v1"), &Value::Null), "{out}");
    let out = run_with(server.url(), "performance_test", &["--messages", "30"]).await?.ok()?;
    assert!(out.contains("– stored") && out.contains("every event arrived"), "{out}");
    Ok(())
}

#[tokio::test]
async fn live_events_are_filtered_as_far_as_the_server_can_and_the_rest_is_said() -> Result<()> {
    let server = PublishedServer::start().await?;
    let flows = watching(server.url(), &["--event-types", "data_flow", "--limit", "4"]).await?;
    let actor = ["--actor-ids", "processor", "--event-types", "completed", "--flow-ids", "nobody", "--limit", "4"];
    let mut actor = Running::start_with(server.url(), "monitoring_client", &actor)?;
    let told = line_with(&mut actor.err, V1).await?;
    assert!(told.contains("events of other flows"), "{told}");
    line_with(&mut actor.err, "watching").await?;
    run_with(server.url(), "simple_client", &["--count", "4", "--delay", "0"]).await?.ok()?;

    let ended = flows.end().await?;
    assert_eq!((ended.code, ended.out.lines().count()), (Some(0), 4), "{ended:?}");
    assert!(ended.out.lines().all(|line| line.contains("generator.out → processor.in")), "{ended:?}");
    assert!(ended.err.contains("tells nobody what they missed") && !ended.err.contains("none missed"), "{}", ended.err);
    let ended = actor.end().await?;
    assert_eq!(ended.out.lines().filter(|line| line.contains("ActorCompleted   processor")).count(), 4, "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn history_shows_whole_traces_and_says_what_it_cannot_know() -> Result<()> {
    let server = PublishedServer::start().await?;
    run_with(server.url(), "simple_client", &["--count", "1", "--delay", "0"]).await?.ok()?;
    for (program, arguments) in [
        ("query_client", &[][..]),
        ("query_client", &["--analyze", "--graph", "text"]),
        ("monitoring_client", &["--query"]),
    ] {
        let out = run_with(server.url(), program, arguments).await?.ok()?;
        assert!(out.contains("0 of 0 traces") && out.contains(V1), "{program} {arguments:?}: {out}");
    }

    // More than a page, and answers that come compressed.
    let (completed, failed) = (json!("Completed"), json!({"Failed": {"error": "no money"}}));
    for second in 0..150 {
        server.store(trace(second, if second % 50 == 0 { &failed } else { &completed })?);
    }
    for (arguments, summary) in [
        (&["--limit", "1000"][..], "150 of 150 traces: 147 completed, 3 failed"),
        (&["--limit", "120"], "120 of perhaps more traces"),
        (&["--status", "failed", "--limit", "10"], "3 of 3 traces: 0 completed, 3 failed"),
        (&["--actor", "nobody"], "0 of 0 traces"),
        (&["--time-range", "2026-01-31T10:00:00Z..2026-01-31T10:00:09Z"], "10 of 10 traces"),
    ] {
        let out = run_with(server.url(), "query_client", arguments).await?.ok()?;
        assert!(out.contains(summary) && out.contains(V1), "{arguments:?}: {out}");
    }
    let out = run_with(server.url(), "query_client", &["--limit", "5", "--analyze", "--graph", "text"]).await?.ok()?;
    assert!(out.contains("stored: 2 actors, 1 connection"), "{out}");
    assert!(out.contains("2 actors, 15 events in 5 traces"), "{out}");
    let ended = run_with(server.url(), "query_client", &["--limit", "5", "--export", "csv"]).await?;
    assert!(ended.err.contains("5 of perhaps more traces"), "{}", ended.err);
    assert_eq!(ended.ok()?.lines().count(), 16, "a head and fifteen events");
    Ok(())
}

#[tokio::test]
async fn figures_are_those_that_the_server_has() -> Result<()> {
    let server = PublishedServer::start().await?;
    let out = run_with(server.url(), "monitoring_client", &["--metrics"]).await?.ok()?;
    assert!(out.starts_with("ping ") && out.contains("protocol v1"), "{out}");
    assert!(out.contains("messages_received") && out.contains("3 figures"), "{out}");
    Ok(())
}

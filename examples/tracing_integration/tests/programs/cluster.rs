//! All five against the services as they run in production: collectors over NATS, a writer, PostgreSQL and a query service.

use anyhow::{Context, Result};
use reflow_tracing_tests::Cluster;
use serde_json::{Value, json};

use crate::scene::{count, ended_traces, run_at, watching};

#[tokio::test]
async fn what_is_recorded_at_one_collector_is_seen_at_another_and_at_the_query_service() -> Result<()> {
    let cluster = Cluster::build().collectors(2).start().await?;
    let (recorder, viewer, query) = (&cluster.collectors[0], &cluster.collectors[1], &cluster.queries[0]);
    let filters = ["--flow-ids", "my flow", "--event-types", "data_flow", "--limit", "4"];
    let (live, at_query) = (watching(&viewer.url(), &filters).await?, watching(&query.url(), &filters).await?);

    let arguments = ["--flow-name", "my flow", "--count", "4", "--delay", "0"];
    let out = run_at(recorder, "simple_client", &arguments).await?.ok()?;
    assert!(out.contains("4 of 4 messages, 16 events recorded, 16 acked"), "{out}");
    assert!(out.contains(&format!("http://127.0.0.1:{}/", recorder.port())), "{out}");
    let out = run_at(recorder, "complex_workflow", &["--items", "2", "--failure-rate", "1"]).await?.ok()?;
    assert!(out.contains("2 orders, 0 paid, 2 given up; 8 charges tried"), "{out}");

    for watching in [live, at_query] {
        let ended = watching.end().await?;
        assert_eq!((ended.code, ended.out.lines().count()), (Some(0), 4), "{ended:?}");
        assert!(ended.out.lines().all(|line| line.contains("generator.out → processor.in")), "{ended:?}");
        assert!(ended.err.contains("none missed"), "{}", ended.err);
    }
    for server in [viewer, query] {
        assert_eq!(ended_traces(server, "my flow", 1).await?[0]["status"], json!("Completed"));
        let trace = &ended_traces(server, "complex_workflow", 1).await?[0];
        let events = trace["events"].as_array().context("no events")?.len();
        assert_eq!(count(trace, "ActorFailed"), 8);

        let of_flow = ["--flow-id", "complex_workflow"];
        let ask = async |arguments: &[&str]| run_at(server, "query_client", &[&of_flow, arguments].concat()).await;
        let out = ask(&["--status", "failed", "--analyze", "--graph", "text"]).await?.ok()?;
        assert!(out.contains("complex_workflow: 9 actors, 9 connections"), "{out}");
        assert!(out.contains("charge failed 8 times") && out.contains("1 of 1 traces"), "{out}");
        assert_eq!(ask(&["--export", "jsonl"]).await?.ok()?.lines().count(), events);

        let out = run_at(server, "monitoring_client", &["--query"]).await?.ok()?;
        assert!(out.contains("2 of 2 traces: 1 completed, 1 failed, 0 running"), "{out}");
        let out = run_at(server, "monitoring_client", &["--metrics"]).await?.ok()?;
        assert!(out.starts_with("ping ") && out.contains("protocol v2"), "{out}");
        assert!(out.contains("reflow_session_connections"), "{out}");
    }
    Ok(())
}

#[tokio::test]
async fn a_load_through_a_collector_is_acked_and_stored_whole() -> Result<()> {
    let cluster = Cluster::start().await?;
    let arguments = ["--messages", "3000", "--actors", "6", "--connections", "3", "--json"];
    let out = run_at(&cluster.collectors[0], "performance_test", &arguments).await?.ok()?;
    let report: Value = serde_json::from_str(&out).with_context(|| out.clone())?;
    assert!(report["events"].as_u64() >= Some(9_006), "{out}");
    assert_eq!((&report["events"], &report["events"]), (&report["events_acked"], &report["events_stored"]), "{out}");
    assert_eq!(report["protocol"], "v2", "{out}");
    for figure in ["retries", "server_errors", "events_rejected", "events_dropped", "connections_lost"] {
        assert_eq!(report[figure], 0, "{figure} of {out}");
    }
    Ok(())
}

#[tokio::test]
async fn a_query_service_takes_no_events_and_the_programs_say_so() -> Result<()> {
    let cluster = Cluster::start().await?;
    for (program, arguments) in [
        ("simple_client", &["--count", "2", "--delay", "0"][..]),
        ("complex_workflow", &["--items", "1"]),
        ("performance_test", &["--messages", "10"]),
    ] {
        let ended = run_at(&cluster.queries[0], program, arguments).await?;
        assert_eq!(ended.code, Some(1), "{program}: {ended:?}");
        assert!(ended.err.contains("collector"), "{program}: {}", ended.err);
    }
    Ok(())
}

//! `complex_workflow`: fan-out and fan-in, failures and recovery, states, figures in every event.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::scene::{count, ended_traces, is, run_at, server};

const ITEMS: &str = "40";

fn events(trace: &Value) -> &[Value] {
    trace["events"].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[tokio::test]
async fn orders_fan_out_fail_recover_and_change_states() -> Result<()> {
    let server = server().await?;
    let arguments = ["--items", ITEMS, "--failure-rate", "40%", "--seed", "7"];
    let out = run_at(&server, "complex_workflow", &arguments).await?.ok()?;
    let trace = &ended_traces(&server, "complex_workflow", 1).await?[0];
    assert!(out.contains(trace["trace_id"].as_str().context("no id")?), "{out}");

    let mut edges: BTreeMap<String, usize> = BTreeMap::new();
    for event in events(trace).iter().filter(|event| is(event, "DataFlow")) {
        let to = &event["event_type"]["DataFlow"]["to_actor"];
        *edges.entry(format!("{}→{}", event["actor_id"], to).replace('"', "")).or_default() += 1;
    }
    let of = |edge: &str| edges.get(edge).copied().unwrap_or(0);
    let whole = [
        "source→validate",
        "validate→price",
        "validate→stock",
        "validate→risk",
        "price→join",
        "stock→join",
        "risk→join",
        "join→charge",
    ];
    for edge in whole {
        assert_eq!(of(edge), 40, "{edge} of {edges:?}");
    }
    assert_eq!(of("charge→ledger") + of("charge→dead_letters"), 40, "{edges:?}");
    assert!(of("charge→ledger") > 20 && edges.len() <= 10, "{edges:?}");

    let failed: Vec<&Value> = events(trace).iter().filter(|event| is(event, "ActorFailed")).collect();
    let retried = failed.iter().filter(|event| event["data"]["custom_attributes"]["will_retry"] == true).count();
    let recovered = events(trace).iter().filter(|event| {
        let attempt = event["data"]["custom_attributes"]["attempt"].as_u64();
        is(event, "ActorCompleted") && event["actor_id"] == "charge" && attempt > Some(1)
    });
    assert!(retried > 0 && recovered.count() > 0, "{} failures, {retried} retried", failed.len());
    // Every failure that was retried was tried again, and that try names the failure as its cause.
    let ids: BTreeSet<&str> = failed.iter().filter_map(|event| event["event_id"].as_str()).collect();
    let after_failures = events(trace).iter().filter(|event| {
        let parent = event["causality"]["parent_event_id"].as_str().unwrap_or_default();
        is(event, "MessageReceived") && ids.contains(parent)
    });
    assert_eq!(after_failures.count(), retried);
    Ok(())
}

fn checksums<'a>(trace: &'a Value, event_type: &str) -> BTreeSet<&'a str> {
    let of_type = events(trace).iter().filter(|event| is(event, event_type));
    of_type.filter_map(|event| event["data"]["message"]["checksum"].as_str()).collect()
}

#[tokio::test]
async fn every_event_has_figures_and_every_change_of_state_a_before_and_an_after() -> Result<()> {
    let server = server().await?;
    run_at(&server, "complex_workflow", &["--items", "5", "--failure-rate", "0"]).await?.ok()?;
    let trace = &ended_traces(&server, "complex_workflow", 1).await?[0];
    assert_eq!(trace["status"], json!("Completed"));
    for event in events(trace) {
        let figures = &event["data"]["performance_metrics"];
        assert!(figures["execution_time_ns"].as_u64() > Some(0), "{event}");
        assert!(figures["memory_usage_bytes"].as_u64() > Some(1 << 20), "{event}");
    }
    let messages: Vec<&Value> =
        events(trace).iter().map(|event| &event["data"]["message"]).filter(|message| !message.is_null()).collect();
    for message in &messages {
        let checksum = message["checksum"].as_str().unwrap_or_default();
        assert!(checksum.starts_with("sha256:") && message["size_bytes"].as_u64() > Some(2), "{message}");
    }
    // What is sent is what is received: the same content has the same checksum.
    assert!(messages.len() > 50 && checksums(trace, "MessageSent").is_superset(&checksums(trace, "DataFlow")));
    let states = |event: &Value, side: &str| -> Result<Value> {
        let bytes: Vec<u8> = serde_json::from_value(event["data"]["state_diff"][side].clone())?;
        Ok(serde_json::from_slice(&bytes)?)
    };
    let ledger: Vec<&Value> =
        events(trace).iter().filter(|event| is(event, "StateChanged") && event["actor_id"] == "ledger").collect();
    assert_eq!(ledger.len(), 5);
    let mut orders = Vec::new();
    for event in &ledger {
        let (before, after) = (states(event, "before")?, states(event, "after")?);
        assert_ne!(before, after);
        orders.push((before["orders"].as_u64().unwrap_or(0), after["orders"].as_u64().unwrap_or(0)));
    }
    orders.sort_unstable();
    assert_eq!(orders, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]);
    Ok(())
}

#[tokio::test]
async fn a_seed_gives_the_same_failures_and_hopeless_orders_fail_the_trace() -> Result<()> {
    let server = server().await?;
    let mut outcomes = Vec::new();
    for seed in ["1", "1", "2"] {
        let arguments = ["--items", ITEMS, "--failure-rate", "0.5", "--seed", seed];
        let out = run_at(&server, "complex_workflow", &arguments).await?.ok()?;
        outcomes.push(out.split("orders, ").nth(1).and_then(|rest| rest.split(" tried").next()).map(str::to_owned));
    }
    assert!(outcomes[0].is_some() && outcomes[0] == outcomes[1] && outcomes[1] != outcomes[2], "{outcomes:?}");

    let server = crate::scene::server().await?;
    let out = run_at(&server, "complex_workflow", &["--items", "3", "--failure-rate", "1"]).await?.ok()?;
    assert!(out.contains("3 orders, 0 paid, 3 given up; 12 charges tried"), "{out}");
    let trace = &ended_traces(&server, "complex_workflow", 1).await?[0];
    assert_eq!(count(trace, "ActorFailed"), 12);
    assert_eq!(trace["status"], json!({"Failed": {"error": "3 orders given up after 4 attempts each"}}));
    Ok(())
}

//! Against `reflow-tracing`, in v2.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Service, answers, eventually, network, patience};
use serde_json::{Value, json};

use crate::{is_complete, run};

/// The one trace that is there, once it is complete and has ended.
async fn the_trace(service: &Service) -> Result<Value> {
    eventually(patience(), || async {
        let mut client = service.connect().await?;
        let page = client
            .ask(&json!({"QueryTraces": {"query": {"flow_id": null, "execution_id": null, "time_range": null,
            "status": null, "actor_filter": null, "limit": null, "offset": null}}}))
            .await?;
        let results = page.get("QueryResults").with_context(|| format!("no answer: {page:.300}"))?;
        ensure!(results["total_count"] == 1, "{} traces", results["total_count"]);
        let trace = results["traces"][0].clone();
        ensure!(trace["status"] == "Completed", "the trace is {}", trace["status"]);
        Ok(trace)
    })
    .await
}

#[tokio::test]
async fn a_network_is_one_trace_from_its_first_event_to_its_end() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let service = Service::standalone().sqlite(&folder.path().join("traces.db")).start().await?;
    run(&service.url()).await?;

    let trace = the_trace(&service).await?;
    let events = answers::events(&trace)?;
    is_complete(&network::counts(events.values()))?;
    let flow_id = trace["flow_id"].as_str().context("no flow id")?;
    ensure!(flow_id.starts_with("network_session_"), "{flow_id}");
    Ok(())
}

#[tokio::test]
async fn every_flow_comes_from_the_message_just_before_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let service = Service::standalone().sqlite(&folder.path().join("traces.db")).start().await?;
    run(&service.url()).await?;
    let events = answers::events(&the_trace(&service).await?)?;

    let mut flows_of = HashMap::<&str, usize>::new();
    for event in events.values() {
        let causality = &event["causality"];
        let root = if event["event_type"]["DataFlow"].is_object() {
            let parent = causality["parent_event_id"].as_str().context("a flow without a parent")?;
            let sent = events.get(parent).context("the parent is not in the trace")?;
            ensure!(sent["event_type"] == "MessageSent", "{sent}");
            ensure!(
                (&sent["actor_id"], &sent["data"]["port"]) == (&event["actor_id"], &event["data"]["port"]),
                "{sent}"
            );
            *flows_of.entry(parent).or_default() += 1;
            parent
        } else {
            ensure!(causality["parent_event_id"].is_null(), "{event}");
            event["event_id"].as_str().context("no id")?
        };
        ensure!(causality["root_cause_event_id"] == root, "{event}");
        // `reflow_network` knows no content: no checksum, and no size that nobody has measured.
        let message = &event["data"]["message"];
        ensure!(message.is_null() || (message["checksum"] == "" && message["size_bytes"] == 0), "{message}");
    }
    ensure!(flows_of.values().all(|flows| *flows == 1), "a message is the parent of several flows");
    Ok(())
}

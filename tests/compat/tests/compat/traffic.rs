//! What a published program really sends. Adoption, gathering and the compat tests rest on these facts; if a new release
//! changes them, this test says so first.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{events::MESSAGE_TYPE, network, proxy::Observation};

use crate::program::{MESSAGES, Program};

#[tokio::test]
async fn a_published_program_sends_a_fresh_trace_id_with_every_event_and_ends_without_a_goodbye() -> Result<()> {
    let mut program = Program::start_alone().await?;
    program.end().await?;

    let sent = program.sent()?;
    let frames = program.proxy().sent();
    let id_of = |frame: &serde_json::Value| frame.pointer("/RecordEvent/trace_id").map(ToString::to_string);
    let trace_ids: HashSet<String> = frames.iter().filter_map(id_of).collect();
    assert_eq!(trace_ids.len(), sent.events.len(), "trace ids, events");
    assert_eq!(frames.len(), sent.events.len() + 1, "one StartTrace and nothing but events beside it");
    ensure!(sent.flow_id.starts_with("network_session_"), "{}", sent.flow_id);
    ensure!(sent.before_start > 0, "StartTrace came first");
    ensure!(sent.before_start < sent.events.len(), "StartTrace came last");
    ensure!(program.flows("generator", "transformer") > MESSAGES * 9 / 10, "most messages were not traced");

    // `tests/dropin` holds our client against the same list, and finds all of it.
    let (told, done) = (network::counts(sent.events.values()), network::expected(MESSAGES));
    let known = told.iter().all(|(what, count)| done.get(what).is_some_and(|all| count <= all));
    ensure!(known, "the network did more than is expected of it: {told:?}");

    let flow = sent
        .events
        .values()
        .find(|event| event.pointer("/event_type/DataFlow").is_some())
        .context("no DataFlow among the events")?;
    assert_eq!(flow["data"]["message"]["message_type"], MESSAGE_TYPE);
    assert_eq!(flow["data"]["message"]["checksum"], "");
    assert_eq!(flow["data"]["performance_metrics"]["execution_time_ns"], 0);
    assert!(flow["causality"]["parent_event_id"].is_null());

    let record = program.proxy().record();
    ensure!(record.iter().all(|entry| entry.connection == 0), "it connected more than once");
    ensure!(record.iter().all(|entry| !matches!(entry.what, Observation::SaidGoodbye)), "it said goodbye");
    Ok(())
}

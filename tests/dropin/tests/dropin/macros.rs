//! `trace_actor_event!` from another crate: in the published crate it names a path that only exists in one.

use anyhow::{Context, Result, ensure};
use reflow_tracing_protocol::{
    client::{TracingConfig, global_tracing, init_global_tracing},
    trace_actor_event,
};
use reflow_tracing_tests::{Service, answers, eventually, network, patience};
use serde_json::json;

#[tokio::test]
async fn the_macro_traces_through_the_programs_integration() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let service = Service::standalone().sqlite(&folder.path().join("traces.db")).start().await?;
    // Before there is one it does nothing.
    trace_actor_event!(created, "nobody");
    init_global_tracing(TracingConfig { server_url: service.url(), ..TracingConfig::default() })?;
    let trace_id = global_tracing().context("no integration")?.start_flow_trace("macros").await?;
    trace_actor_event!(created, "a");
    trace_actor_event!(message_sent, "a", "out", "Text", 5);
    trace_actor_event!(failed, "a", "no");
    global_tracing().context("no integration")?.client().shutdown().await?;

    let counts = eventually(patience(), || async {
        let mut client = service.connect().await?;
        let answer = client.ask(&json!({"GetTrace": {"trace_id": trace_id}})).await?;
        let trace = answers::trace(&answer)?.context("not there yet")?;
        ensure!(trace["status"] == json!({"Failed": {"error": "no"}}), "the trace is {}", trace["status"]);
        Ok(network::counts(answers::events(trace)?.values()))
    })
    .await?;
    let told: Vec<_> = counts.iter().map(|(what, count)| (what.as_str(), *count)).collect();
    assert_eq!(told, [("ActorCreated a", 1), ("ActorFailed a", 1), ("MessageSent a out", 1)]);
    Ok(())
}

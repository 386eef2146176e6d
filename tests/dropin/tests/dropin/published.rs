//! Against a stand-in for the published server, which speaks v1 alone.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{PublishedServer, network};

use crate::{is_complete, run};

#[tokio::test]
async fn the_published_server_gets_every_event_in_one_trace() -> Result<()> {
    let server = PublishedServer::start().await?;
    run(server.url()).await?;

    let seen = server.seen();
    assert_eq!((seen.connections, seen.binary), (2, 0), "connections (one with the sub-protocol), binary frames");
    let events: Vec<_> = seen.frames.iter().filter_map(|frame| frame.pointer("/RecordEvent/event")).collect();
    is_complete(&network::counts(events.iter().copied()))?;
    let trace_ids: HashSet<_> = seen.frames.iter().filter_map(|frame| frame.pointer("/RecordEvent/trace_id")).collect();
    assert_eq!(trace_ids.len(), 1, "{trace_ids:?}");
    let start = seen.frames.iter().find_map(|frame| frame.get("StartTrace")).context("no StartTrace")?;
    let flow_id = start["flow_id"].as_str().context("no flow id")?;
    ensure!(flow_id.starts_with("network_session_"), "{flow_id}");
    Ok(())
}

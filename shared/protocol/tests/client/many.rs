//! A great many traces during an outage: the program's memory stays bounded, and what had to give way is told.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reflow_tracing_protocol::client::TracingClient;
use reflow_tracing_protocol::{ExecutionStatus, FlowId, TraceId};
use reflow_tracing_tests::process::Spec;
use reflow_tracing_tests::{Process, eventually, patience};
use serde_json::{Value, json};

use crate::scene::{Server, config, event, everything, version};

/// The test's own executable is the program whose memory is measured: with this variable it records instead of testing.
const PROGRAM: &str = "CLIENT_TEST_MANY_TRACES_URL";
const TRACES: usize = 100_000;
const BUFFER_BYTES: usize = 8 << 20;
/// Everything that the test program takes: its code, the allocator's rests, and what is in the buffer.
const MOST_RESIDENT_BYTES: u64 = 64 << 20;

/// Records one event in each of many traces; then waits for the server, and tells what became of them.
async fn program(url: &str) -> Result<()> {
    let client = TracingClient::builder(config(url)).buffer_bytes(BUFFER_BYTES).build()?;
    for number in 0..TRACES {
        let trace_id = client.start_trace(FlowId::new("many"), version()).await?;
        client.record_event(trace_id.clone(), event(number)).await?;
        client.end_trace(trace_id, ExecutionStatus::Completed).await?;
    }
    let waiting = client.flush_within(Duration::ZERO).await.expect_err("there is no server");
    tell("recorded", &json!({ "buffered": client.metrics().buffered_bytes, "dropped": waiting.dropped }))?;
    let lost =
        waiting.requests_lost + client.flush_within(4 * patience()).await.err().map_or(0, |more| more.requests_lost);
    let metrics = client.metrics();
    let (acked, dropped) = (metrics.events_acked, metrics.events_dropped());
    tell("told", &json!({ "acked": acked, "dropped": dropped, "requests_lost": [lost, metrics.requests_lost] }))
}

fn tell(name: &str, what: &Value) -> Result<()> {
    std::fs::write("new", what.to_string())?;
    Ok(std::fs::rename("new", name)?)
}

async fn told(folder: &Path, name: &str) -> Result<Value> {
    eventually(4 * patience(), || async { Ok(serde_json::from_slice(&std::fs::read(folder.join(name))?)?) }).await
}

#[tokio::test]
async fn a_hundred_thousand_traces_during_an_outage_take_no_more_memory_than_the_buffer_may() -> Result<()> {
    if let Ok(url) = std::env::var(PROGRAM) {
        return program(&url).await;
    }
    let mut server = Server::start().await?;
    server.service.kill9().await?;
    let folder = tempfile::tempdir()?;
    let name = "many::a_hundred_thousand_traces_during_an_outage_take_no_more_memory_than_the_buffer_may";
    let spec = Spec::new(std::env::current_exe()?, folder.path())
        .args(["--exact", name, "--nocapture"])
        .env(PROGRAM, server.service.url());
    let process = Process::spawn(&spec)?;
    let recorded = told(folder.path(), "recorded").await?;
    let resident = process.peak_resident_bytes()?;
    ensure!(resident < MOST_RESIDENT_BYTES, "{resident} bytes, {recorded}");
    ensure!(recorded["buffered"].as_u64() < Some(BUFFER_BYTES as u64 * 9 / 8), "{recorded}");
    server.service.restart().await?;
    let told = told(folder.path(), "told").await?;
    let number = |name: &str| told[name].as_u64().unwrap_or(0);
    ensure!(number("acked") > 1_000 && number("dropped") > 1_000, "{told}");
    assert_eq!(number("acked") + number("dropped"), TRACES as u64);
    // Each that gave way was told by a flush.
    let lost = &told["requests_lost"];
    ensure!(lost[0] == lost[1] && lost[0].as_u64() > Some(TRACES as u64), "{told}");
    // Those that are left have arrived: the newest are there, and ended.
    let client = server.client();
    client.connect_within(patience()).await?;
    let page = client.find_traces(everything(), None).await?;
    ensure!(page.total >= number("acked"), "{} traces, {told}", page.total);
    assert_eq!(page.traces[0].status, ExecutionStatus::Completed);
    Ok(())
}

#[tokio::test]
async fn an_event_that_comes_late_to_a_forgotten_trace_is_neither_missing_nor_doubled() -> Result<()> {
    let server = Server::start().await?;
    let client = server.client();
    client.connect_within(patience()).await?;
    let trace_id = TraceId::new();
    client.record(&trace_id, event(0))?;
    client.flush_within(patience()).await?;
    // More than the client knows at a time.
    for number in 0..5_000 {
        client.record(&TraceId::new(), event(number))?;
    }
    client.flush_within(patience()).await?;
    client.record(&trace_id, event(1))?;
    client.flush_within(patience()).await?;
    let details = client.get_trace_details(trace_id).await?.context("no such trace")?;
    assert_eq!(details.events.len(), 2);
    let accounts = details.summary.counted.context("no counts")?.clients;
    let counts: Vec<_> = accounts.iter().map(|account| (account.recorded, account.present, account.missing)).collect();
    assert_eq!(counts, [(1, 1, 0), (1, 1, 0)]);
    ensure!(accounts.iter().all(|account| account.client_id.starts_with(client.client_id())), "{accounts:?}");
    Ok(())
}

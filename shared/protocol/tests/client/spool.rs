//! With a spool, what was recorded survives the program.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reflow_tracing_protocol::client::{TracingClient, WhenFull};
use reflow_tracing_protocol::{FlowId, TraceId};
use reflow_tracing_tests::process::Spec;
use reflow_tracing_tests::{Port, Process, Service, eventually, patience};
use uuid::Uuid;

use crate::scene::{Server, config, event, everything, version};

/// The test's own executable is the program that gets killed: with this variable it records instead of testing.
const PROGRAM: &str = "CLIENT_TEST_PROGRAM_URL";

fn spooled_client(url: &str, path: &Path) -> Result<TracingClient> {
    Ok(TracingClient::builder(config(url)).spool(path).build()?)
}

/// Records until it is killed, and tells after each hundred events, once they are in the spool: the trace, how many.
async fn program(url: &str) -> Result<()> {
    let client = spooled_client(url, Path::new("spool"))?;
    let trace_id = client.start_trace(FlowId::new("killed"), version()).await?;
    for number in 0_u64.. {
        client.record_event(trace_id.clone(), event(usize::try_from(number)?)).await?;
        if number % 100 == 99 {
            eventually(patience(), || async {
                ensure!(client.metrics().events_spooled > number, "not in the spool yet");
                Ok(())
            })
            .await?;
            std::fs::write("told.new", format!("{trace_id} {}", number + 1))?;
            std::fs::rename("told.new", "told")?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_program_that_is_killed_while_the_server_is_away_loses_nothing_that_was_in_its_spool() -> Result<()> {
    if let Ok(url) = std::env::var(PROGRAM) {
        return program(&url).await;
    }
    let mut server = Server::start().await?;
    let folder = tempfile::tempdir()?;
    let name = "spool::a_program_that_is_killed_while_the_server_is_away_loses_nothing_that_was_in_its_spool";
    let spec = Spec::new(std::env::current_exe()?, folder.path())
        .args(["--exact", name, "--nocapture"])
        .env(PROGRAM, server.service.url());
    let mut process = Process::spawn(&spec)?;
    let told = |at_least: u64| {
        let path = folder.path().join("told");
        eventually(patience(), move || {
            let path = path.clone();
            async move {
                let text = std::fs::read_to_string(path)?;
                let (trace_id, count) = text.split_once(' ').context("half a line")?;
                let count: u64 = count.parse()?;
                ensure!(count >= at_least, "{count} of {at_least}");
                anyhow::Ok((trace_id.parse::<Uuid>()?, count))
            }
        })
    };
    // Some of it arrives; then the server goes, and the program goes on, and is killed.
    let (_, count) = told(300).await?;
    server.service.kill9().await?;
    told(count + 500).await?;
    process.kill9().await?;
    let (trace_id, count) = told(0).await?;

    server.service.restart().await?;
    let client = spooled_client(&server.service.url(), &folder.path().join("spool"))?;
    client.connect_within(patience()).await?;
    client.flush_within(patience()).await?;
    ensure!(client.metrics().events_from_spool > 0);
    // What was made after the last count may be there too.
    let details = client.get_trace_details(TraceId(trace_id)).await?.context("no such trace")?;
    let stored = details.events.len() as u64;
    ensure!(stored >= count, "{stored} of {count} events are there");
    let ids: std::collections::HashSet<_> = details.events.iter().map(|event| &event.event_id).collect();
    assert_eq!(ids.len() as u64, stored);
    let counted = details.summary.counted.context("no counts")?;
    assert_eq!((counted.event_count, counted.clients[0].missing), (stored, 0));
    assert_eq!(details.summary.flow_id, Some(FlowId::new("killed")));
    client.shutdown_within(patience()).await?;
    ensure!(std::fs::metadata(folder.path().join("spool"))?.len() < 100, "the spool is not empty");
    Ok(())
}

#[tokio::test]
async fn a_long_outage_takes_the_disk_and_not_the_memory() -> Result<()> {
    let mut server = Service::standalone().memory().start().await?;
    server.kill9().await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("spool");
    let client = TracingClient::builder(config(&server.url()))
        .spool(&path)
        .buffer_bytes(4 << 20)
        .when_full(WhenFull::Wait)
        .build()?;
    let trace_id = client.start_trace(FlowId::new("long"), version()).await?;
    for number in 0..60_000 {
        client.record_event(trace_id.clone(), event(number)).await?;
    }
    let undelivered = client.flush_within(Duration::from_millis(500)).await.expect_err("there is no server");
    let metrics = client.metrics();
    assert_eq!((undelivered.spooled, metrics.events_dropped()), (60_000, 0));
    ensure!(metrics.buffered_bytes < 200_000, "{metrics:?}");
    server.restart().await?;
    client.flush_within(patience()).await?;
    assert_eq!(client.metrics().events_acked, 60_000);
    let page = client.find_traces(everything(), None).await?;
    assert_eq!((page.total, page.traces[0].counted.as_ref().map(|counted| counted.event_count)), (1, Some(60_000)));
    Ok(())
}

#[tokio::test]
async fn a_program_that_starts_its_client_again_at_once_finds_its_spool_free() -> Result<()> {
    let server = Server::start().await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("spool");
    let again = spooled_client(&server.service.url(), &path)?;
    for run in 0..100 {
        // By turns another client, and the same.
        let other = spooled_client(&server.service.url(), &path)?;
        for client in [&other, &again] {
            client.connect_within(patience()).await?;
            let spooled = client.metrics().events_spooled;
            client.record(&client.current_trace_id(), event(run))?;
            client.shutdown_within(patience()).await?;
            assert_eq!(client.metrics().events_spooled - spooled, 1, "run {run}: {:?}", client.last_error());
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_damaged_in_a_spool_is_told_and_the_rest_arrives() -> Result<()> {
    let mut server = Server::start().await?;
    server.service.kill9().await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("spool");
    let client = spooled_client(&server.service.url(), &path)?;
    for number in 0..3 {
        client.record(&client.current_trace_id(), event(number))?;
        client.flush_within(Duration::from_millis(100)).await.expect_err("there is no server");
    }
    let trace_id = client.current_trace_id();
    drop(client);
    let mut bytes = std::fs::read(&path)?;
    // In the content of the first record, which begins behind the magic number and the record's head.
    bytes[8 + 9 + 40] ^= 0x10;
    std::fs::write(&path, bytes)?;

    server.service.restart().await?;
    let client = spooled_client(&server.service.url(), &path)?;
    client.connect_within(patience()).await?;
    let undelivered = client.flush_within(patience()).await.expect_err("one record is damaged");
    assert_eq!((undelivered.events, undelivered.dropped), (0, 1), "{undelivered}");
    let metrics = client.metrics();
    assert_eq!((metrics.events_acked, metrics.dropped_spool, metrics.events_waiting), (2, 1, 0), "{metrics:?}");
    server.trace_with(trace_id.0, 2).await?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_finds_its_spool_in_use_goes_on_without_and_says_so() -> Result<()> {
    let port = Port::reserve()?;
    let url = format!("ws://127.0.0.1:{}", port.number());
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("spool");
    let (first, second) = (spooled_client(&url, &path)?, spooled_client(&url, &path)?);
    for client in [&first, &second] {
        client.record(&client.current_trace_id(), event(0))?;
        client.flush_within(Duration::from_millis(100)).await.expect_err("there is no server");
    }
    let metrics = [first.metrics(), second.metrics()].map(|metrics| (metrics.events_spooled, metrics.spool_errors));
    assert_eq!(metrics, [(1, 0), (0, 1)]);
    let undelivered = second.flush_within(Duration::from_millis(100)).await.expect_err("there is no server");
    ensure!(undelivered.reason.contains("give each a file of its own"), "{undelivered}");
    Ok(())
}

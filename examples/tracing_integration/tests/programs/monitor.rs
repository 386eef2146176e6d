//! `monitoring_client`: live, history, figures.

use anyhow::Result;
use reflow_tracing_tests::Service;

use crate::scene::{Running, line_with, run_at, server, watching};

#[tokio::test]
async fn live_events_are_a_line_each_and_filters_hold() -> Result<()> {
    let server = server().await?;
    let all = watching(&server.url(), &["--flow-ids", "seen", "--limit", "16"]).await?;
    let flows = watching(&server.url(), &["--event-types", "data_flow", "--flow-ids", "seen", "--limit", "4"]).await?;
    let one =
        watching(&server.url(), &["--actor-ids", "processor,nobody", "--event-types", "completed", "--limit", "4"])
            .await?;
    run_at(&server, "simple_client", &["--flow-name", "unseen", "--count", "3", "--delay", "0"]).await?.ok()?;
    run_at(&server, "simple_client", &["--flow-name", "seen", "--count", "4", "--delay", "0"]).await?.ok()?;

    let ended = all.end().await?;
    assert_eq!((ended.code, ended.out.lines().count()), (Some(0), 16), "{ended:?}");
    assert!(ended.err.contains("16 events") && ended.err.contains("none missed"), "{}", ended.err);
    let ended = flows.end().await?;
    let whole = |line: &str| line.contains("DataFlow") && line.contains("generator.out → processor.in");
    assert_eq!(ended.out.lines().filter(|line| whole(line)).count(), 4, "{ended:?}");
    assert!(ended.err.lines().any(|line| line.trim() == "DataFlow         4"), "{}", ended.err);
    let ended = one.end().await?;
    assert_eq!(ended.out.lines().filter(|line| line.contains("ActorCompleted   processor")).count(), 4, "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn a_password_in_the_url_is_not_shown() -> Result<()> {
    let server = server().await?;
    let url = format!("ws://me:secret@127.0.0.1:{}", server.port());
    let mut running = Running::start_with(&url, "monitoring_client", &[])?;
    let told = line_with(&mut running.err, "watching").await?;
    assert!(told.contains(&format!("watching ws://127.0.0.1:{};", server.port())), "{told}");
    running.signal("INT").await?;
    let ended = running.end().await?;
    assert!(!ended.out.contains("secret") && !ended.err.contains("secret"), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn what_a_slow_reader_missed_is_told() -> Result<()> {
    let server = Service::standalone().memory().env("REFLOW_TRACING_LIMITS__TAIL_BUFFER_MESSAGES", "4").start().await?;
    let running = watching(&server.url(), &[]).await?;
    running.signal("STOP").await?;
    // More than the sockets between the two hold.
    run_at(&server, "performance_test", &["--messages", "20000", "--compression", "lz4"]).await?.ok()?;
    running.signal("CONT").await?;
    let mut running = running;
    let told = line_with(&mut running.out, "this reader was too slow").await?;
    running.signal("INT").await?;
    let ended = running.end().await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let missed: u64 = told.split(' ').nth(1).unwrap_or_default().replace(',', "").parse()?;
    assert!(missed > 0, "{told}");
    assert!(ended.err.contains(" missed") && !ended.err.contains("none missed"), "{}", ended.err);
    Ok(())
}

#[tokio::test]
async fn history_lists_the_newest_traces() -> Result<()> {
    let server = server().await?;
    for flow in ["one", "two", "three"] {
        run_at(&server, "simple_client", &["--flow-name", flow, "--count", "2", "--delay", "0"]).await?.ok()?;
    }
    let out = run_at(&server, "monitoring_client", &["--query", "--limit", "2"]).await?.ok()?;
    assert!(out.contains("2 of 3 traces: 2 completed, 0 failed, 0 running"), "{out}");
    let out = run_at(&server, "monitoring_client", &["--query", "--flow-ids", "two"]).await?.ok()?;
    assert!(out.contains("1 of 1 traces") && out.contains(" 10 ") && out.contains("  two  "), "{out}");
    Ok(())
}

#[tokio::test]
async fn figures_are_those_of_the_server() -> Result<()> {
    let server = server().await?;
    run_at(&server, "simple_client", &["--count", "2", "--delay", "0"]).await?.ok()?;
    let out = run_at(&server, "monitoring_client", &["--metrics"]).await?.ok()?;
    assert!(out.starts_with("ping ") && out.contains("protocol v2"), "{out}");
    let events = out.lines().find(|line| line.starts_with("reflow_writer_stored_events_total"));
    assert!(events.is_some_and(|line| line.trim_end().ends_with(" 10")), "{out}");
    Ok(())
}

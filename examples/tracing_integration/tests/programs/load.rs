//! `performance_test`: every event arrives, and the figures are those of what happened.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{eventually, patience};
use serde_json::Value;

use crate::scene::{Running, line_with, run_at, run_with, server};

#[tokio::test]
async fn every_event_is_acked_and_stored_and_the_figures_are_whole() -> Result<()> {
    let server = server().await?;
    let arguments = ["--messages", "3000", "--actors", "6", "--connections", "3", "--json"];
    let url = format!("ws://me:secret@127.0.0.1:{}", server.port());
    let out = run_with(&url, "performance_test", &arguments).await?.ok()?;
    let report: Value = serde_json::from_str(&out).with_context(|| out.clone())?;
    assert_eq!(report["server_url"], server.url().trim_end_matches('/'), "a password is not shown");
    let number = |pointer: &str| {
        report.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("no {pointer} in {out}"))
    };
    assert_eq!(number("/messages")?, 3_000.0);
    // Three a message, six actors made, and the probes of latency.
    assert!(number("/events")? >= 9_006.0, "{out}");
    assert_eq!(number("/events")?, number("/events_acked")?);
    assert_eq!(number("/events")?, number("/events_stored")?);
    for quantile in ["p50_us", "p90_us", "p99_us", "samples"] {
        assert!(number(&format!("/ack_latency/{quantile}"))? > 0.0, "{out}");
    }
    assert!(number("/ack_latency/p50_us")? <= number("/ack_latency/p99_us")?, "{out}");
    assert!(number("/compression_ratio")? > 3.0 && number("/events_per_second")? > 100.0, "{out}");
    for figure in ["retries", "server_errors", "events_rejected", "events_dropped", "connections_lost"] {
        assert_eq!(number(&format!("/{figure}"))?, 0.0, "{figure} of {out}");
    }
    for process in ["client", "server"] {
        assert!(number(&format!("/{process}/peak_memory_bytes"))? > 1e6, "{out}");
        assert!(number(&format!("/{process}/cpu_seconds"))? >= 0.0, "{out}");
    }
    assert_eq!((&report["protocol"], &report["interrupted"]), (&"v2".into(), &false.into()));
    Ok(())
}

#[tokio::test]
async fn a_server_that_dies_under_load_costs_events_but_not_the_end_and_not_the_figures() -> Result<()> {
    let mut server = server().await?;
    let running = Running::start(&server, "performance_test", &["--duration", "1h", "--json"])?;
    eventually(patience(), || async {
        let events = server.metric("reflow_session_batches_total").await?;
        ensure!(events.is_some_and(|batches| batches > 0.0), "nothing has arrived");
        Ok(())
    })
    .await?;
    server.kill9().await?;
    let ended = running.end().await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.out).with_context(|| format!("{ended:?}"))?;
    assert!(report["events_acked"].as_u64() < report["events"].as_u64(), "{report}");
    assert_eq!(report["protocol"], "v2");
    Ok(())
}

#[tokio::test]
async fn a_second_ctrl_c_ends_it_at_once() -> Result<()> {
    let server = server().await?;
    let mut running = Running::start(&server, "performance_test", &["--duration", "1h"])?;
    eventually(patience(), || async {
        let stored = server.metric("reflow_writer_stored_events_total").await?;
        ensure!(stored > Some(0.0), "nothing is stored yet");
        Ok(())
    })
    .await?;
    // Nothing is acked from here on, so that a clean end takes its time.
    server.pause().await?;
    running.signal("INT").await?;
    line_with(&mut running.err, "once more").await?;
    running.signal("INT").await?;
    let ended = running.end().await?;
    // Without the figures, which a clean end tells.
    assert_eq!((ended.code, ended.out.as_str()), (Some(130), ""), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn text_tells_the_same_and_every_codec_goes_through() -> Result<()> {
    let server = server().await?;
    for codec in ["none", "lz4", "gzip", "brotli"] {
        let arguments = ["--messages", "500", "--compression", codec, "--batch-size", "50"];
        let out = run_at(&server, "performance_test", &arguments).await?.ok()?;
        for text in ["events/s", "ack latency", "p50 ", "the server ", "every event arrived", codec] {
            assert!(out.contains(text), "no `{text}` in\n{out}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_duration_ends_the_load_and_ctrl_c_ends_it_sooner_with_its_figures() -> Result<()> {
    let server = server().await?;
    let out = run_at(&server, "performance_test", &["--duration", "300ms", "--json"]).await?.ok()?;
    let report: Value = serde_json::from_str(&out)?;
    assert!(report["elapsed_seconds"].as_f64() >= Some(0.3) && report["messages"].as_u64() > Some(0), "{out}");

    let mut running = Running::start(&server, "performance_test", &["--duration", "10min", "--json"])?;
    // It listens to signals from the moment that it sends; before that, a signal would just kill it.
    reflow_tracing_tests::eventually(reflow_tracing_tests::patience(), || async {
        let stored = server.metric("reflow_writer_stored_events_total").await?;
        anyhow::ensure!(stored > Some(report["events"].as_f64().unwrap_or_default()), "nothing of it is stored yet");
        Ok(())
    })
    .await?;
    running.signal("INT").await?;
    let first = running.out.next_line().await?.context("no figures")?;
    let ended = running.end().await?;
    assert_eq!(ended.code, Some(130), "{ended:?}");
    let report: Value = serde_json::from_str(&format!("{first}\n{}", ended.out))?;
    assert_eq!((&report["interrupted"], &report["events"]), (&true.into(), &report["events_stored"]));
    Ok(())
}

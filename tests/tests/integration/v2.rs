//! Batches: accepted event by event, once, however often they are sent.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{answers, client::V2, events, frames::Batch};
use serde_json::json;

use crate::system::{Standalone, ensure_holds};

#[tokio::test]
async fn the_handshake_announces_version_and_limits() -> Result<()> {
    let system = Standalone::start().await?;
    let client = system.service.connect_v2().await?;
    assert_eq!(client.protocol(), Some(V2));
    ensure!(client.header("reflow-tracing-limits").is_some(), "no limits in the handshake");
    assert_eq!(client.limit("max_batch_events")?, 10_000);
    ensure!(system.connect().await?.protocol().is_none(), "a v1 client was given a sub-protocol it did not ask for");
    Ok(())
}

#[tokio::test]
async fn a_batch_that_is_sent_three_times_counts_once() -> Result<()> {
    let system = Standalone::start().await?;
    let sent = events::program(300);
    let batch = Batch::new("batches", sent.clone());
    for _ in 0..3 {
        let mut client = system.service.connect_v2().await?;
        let answer = client.ask(&batch.request()).await?;
        assert_eq!(answers::batch_recorded(&answer, batch.batch_id)?, (300, vec![]));
        assert_eq!(answer["BatchRecorded"]["durable"], true);
    }
    let trace = system.trace_with(batch.trace_id, 300).await?;
    ensure_holds(&trace, &sent)?;
    assert_eq!(trace["flow_id"], "batches");
    Ok(())
}

#[tokio::test]
async fn batches_that_are_sent_without_waiting_are_answered_each() -> Result<()> {
    let system = Standalone::start().await?;
    let sent = events::program(1_000);
    let mut batches = vec![Batch::new("pipelined", sent[..10].to_vec())];
    for events in sent[10..].chunks(10) {
        let next = batches.last().context("no batch")?.next(events.to_vec());
        batches.push(next);
    }
    let requests: Vec<_> = batches.iter().map(Batch::request).collect();
    let answers = system.service.connect_v2().await?.ask_all(&requests).await?;
    for batch in &batches {
        let answered = answers.iter().filter(|answer| answers::batch_recorded(answer, batch.batch_id).is_ok()).count();
        ensure!(answered == 1, "batch {} was answered {answered} times", batch.batch_id);
    }
    ensure_holds(&system.trace_with(batches[0].trace_id, 1_000).await?, &sent)
}

#[tokio::test]
async fn one_bad_event_never_costs_the_good_ones_beside_it() -> Result<()> {
    let system = Standalone::start().await?;
    let mut sent = events::program(10);
    sent[3]["event_id"] = json!("not a uuid");
    sent[7] = json!(17);
    let batch = Batch::new("mostly_good", sent.clone());
    for _ in 0..2 {
        let answer = system.service.connect_v2().await?.ask(&batch.request()).await?;
        let (accepted, rejected) = answers::batch_recorded(&answer, batch.batch_id)?;
        let places: Vec<u64> = rejected.iter().map(|(index, _)| *index).collect();
        assert_eq!((accepted, places), (8, vec![3, 7]));
        ensure!(rejected.iter().all(|(_, reason)| !reason.is_empty()), "no reason: {rejected:?}");
    }
    sent.remove(7);
    sent.remove(3);
    ensure_holds(&system.trace_with(batch.trace_id, 8).await?, &sent)
}

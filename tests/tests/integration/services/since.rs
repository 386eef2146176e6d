//! `since`: first what the store has, then what happens, through every service that shows it; and viewers who take their time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Client, Cluster, Service, answers, events, eventually,
    frames::{self, Batch},
    patience,
};
use serde_json::{Value, json};

use super::{batches, record_all, viewers::seen_and_missed};
use crate::system::Standalone;

/// A v2 session that asks for the past from an event on.
pub(super) async fn subscribe_since(service: &Service, filters: &Value, first: &Value) -> Result<Client> {
    let mut viewer = service.connect_v2().await?;
    let request =
        json!({"Subscribe": {"filters": filters, "subscription_id": "view", "since": first["timestamp"].clone()}});
    let answer = viewer.ask(&request).await?;
    ensure!(answer["Subscribed"]["subscription_id"] == "view", "not subscribed: {answer}");
    Ok(viewer)
}

fn ids<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> BTreeSet<String> {
    batches.into_iter().flat_map(|batch| &batch.events).map(|event| events::id(event).to_owned()).collect()
}

/// Each of the services shows what was recorded before and what is recorded from then on, once.
async fn the_past_and_the_tail_have_no_gap(ingest: &Service, shown_by: &[&Service]) -> Result<()> {
    let mut program = ingest.connect_v2().await?;
    let (before, after) = (batches("since", 5, 20), batches("since", 5, 20));
    record_all(&mut program, &before).await?;
    let mut viewers = Vec::new();
    for service in shown_by {
        viewers.push(subscribe_since(service, &json!({}), &before[0].events[0]).await?);
    }
    record_all(&mut program, &after).await?;
    let all = ids(before.iter().chain(&after));
    for viewer in &mut viewers {
        let (seen, missed) = seen_and_missed(viewer, all.len()).await?;
        ensure!(missed == 0 && seen == all, "{} of {} events seen, {missed} missed", seen.len(), all.len());
    }
    Ok(())
}

#[tokio::test]
async fn a_viewer_who_asks_for_the_past_gets_it_and_the_tail_without_a_gap() -> Result<()> {
    let system = Standalone::start().await?;
    the_past_and_the_tail_have_no_gap(&system.service, &[&system.service]).await
}

#[tokio::test]
async fn collector_and_query_service_show_the_past_and_the_tail_without_a_gap() -> Result<()> {
    let cluster = Cluster::build().collectors(2).start().await?;
    let services = [&cluster.collectors[0], &cluster.collectors[1], &cluster.queries[0]];
    the_past_and_the_tail_have_no_gap(&cluster.collectors[0], &services).await
}

/// Eight programs of 5 MB: together far more than a window of the bus and the sockets on the way hold.
const TRACES: usize = 8;
const EVENTS_EACH: usize = 50;
const EVENT_BYTES: usize = 100_000;
/// One more than a query service has places for questions.
const VIEWERS: usize = 9;
const TIMEOUT: Duration = Duration::from_secs(4);

/// `history_timeout` is about what a viewer waits for, not about how long he looks; and his place is not one of those for questions.
#[tokio::test]
async fn who_reads_his_past_slowly_gets_all_of_it_and_holds_up_no_questions() -> Result<()> {
    let cluster = Cluster::build()
        .env("REFLOW_TRACING_LIMITS__HISTORY_TIMEOUT_SECS", TIMEOUT.as_secs().to_string())
        .start()
        .await?;
    let collector = &cluster.collectors[0];
    let mut program = collector.connect_v2().await?;
    let mut recorded = Vec::new();
    for _ in 0..TRACES {
        let mut batch = Batch::new("past", vec![events::large(EVENT_BYTES)]);
        for _ in 0..EVENTS_EACH {
            let next = batch.next(vec![events::large(EVENT_BYTES)]);
            recorded.push(std::mem::replace(&mut batch, next));
        }
    }
    for some in recorded.chunks(8) {
        record_all(&mut program, some).await?;
    }
    let all = ids(&recorded);
    eventually(patience(), || async {
        let stored = cluster.sql("SELECT coalesce(sum(events), 0) FROM chunks").await?;
        ensure!(stored == all.len().to_string(), "{stored} of {} events are stored", all.len());
        Ok(())
    })
    .await?;

    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        viewers.push(subscribe_since(collector, &json!({}), &recorded[0].events[0]).await?);
    }
    // While none of them reads, for longer than any question may take, questions are answered.
    let began = Instant::now();
    let mut questions = 0;
    while began.elapsed() < 2 * TIMEOUT {
        let versions = program.ask(&frames::get_flow_versions("past")).await?;
        ensure!(versions.get("FlowVersions").is_some(), "question {questions} after {:?}: {versions}", began.elapsed());
        questions += 1;
    }
    for viewer in [0, VIEWERS - 1] {
        let (seen, missed) = seen_and_missed(&mut viewers[viewer], all.len()).await.context("a slow viewer")?;
        ensure!(missed == 0 && seen == all, "{} of {} events seen, {missed} missed", seen.len(), all.len());
    }
    assert_eq!(program.ask(&frames::ping()).await?, "Pong");
    answers::recorded(&program.ask(&frames::end_trace(recorded[0].trace_id, &json!("Completed"))).await?)
}

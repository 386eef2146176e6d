//! Live viewers through the collector and through the query service; and those who do not keep up.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use reflow_tracing_tests::{
    Client, Cluster, Service, answers, events,
    frames::{self, Batch},
};
use serde_json::{Value, json};

use super::{batches, record_all, subscribe_v2};

/// Each is one batch of one event, so that missed chunks and missed events are the same number. Together far more than
/// the buffers of all sockets between the bus and a viewer hold.
const EVENTS: usize = 400;
const EVENT_BYTES: usize = 100_000;

async fn subscribe_v1(service: &Service) -> Result<Client> {
    let mut viewer = service.connect().await?;
    answers::recorded(&viewer.ask(&frames::subscribe(&json!({}))).await?)?;
    Ok(viewer)
}

fn event_of(answer: &Value) -> Option<&Value> {
    answer.pointer("/EventNotification/event")
}

/// What a viewer was shown and how many it was told to have missed, until both together are `count` events.
pub(super) async fn seen_and_missed(viewer: &mut Client, count: usize) -> Result<(BTreeSet<String>, usize)> {
    let (mut seen, mut missed) = (BTreeSet::new(), 0);
    while seen.len() + missed < count {
        let answer = viewer.recv_json().await.with_context(|| format!("{} seen, {missed} missed", seen.len()))?;
        if let Some(event) = event_of(&answer) {
            ensure!(seen.insert(events::id(event).to_owned()), "an event came twice");
        } else if let Some(message) = answer.pointer("/Error/message").and_then(Value::as_str) {
            let count = message.strip_prefix("missed ").and_then(|rest| rest.strip_suffix(" events"));
            missed += count.and_then(|count| count.parse::<usize>().ok()).with_context(|| message.to_owned())?;
        } else if let Some(lagged) = answer.get("Lagged") {
            ensure!(lagged["subscription_id"] == "view", "{answer}");
            let count = lagged["missed"].as_u64().with_context(|| format!("nobody knows how many: {answer}"))?;
            missed += usize::try_from(count)?;
        } else {
            bail!("neither an event nor a notice: {answer:.300}");
        }
    }
    ensure!(seen.len() + missed == count, "{} seen and {missed} missed of {count}", seen.len());
    Ok((seen, missed))
}

/// Two viewers who do not read, one of each protocol, and one who does.
async fn slow_viewers_get_their_notice(ingest: &Service, shown_by: &Service) -> Result<()> {
    let (mut slow_v1, mut slow_v2) = (subscribe_v1(shown_by).await?, subscribe_v2(shown_by, &json!({})).await?);
    let mut quick = subscribe_v2(shown_by, &json!({})).await?;
    let mut program = ingest.connect_v2().await?;
    let mut batch = Batch::new("slow", vec![events::large(EVENT_BYTES)]);
    for number in 0..EVENTS {
        if number > 0 {
            batch = batch.next(vec![events::large(EVENT_BYTES)]);
        }
        program.send_binary(batch.frame()).await?;
        let answer = program.recv_json().await.with_context(|| format!("batch {number} was slowed down"))?;
        answers::batch_recorded(&answer, batch.batch_id)?;
        // The quick one is shown each at once, with the others standing still beside it.
        let shown = quick.recv_json().await.with_context(|| format!("event {number} was slowed down"))?;
        let event = event_of(&shown).with_context(|| format!("not an event: {shown:.300}"))?;
        ensure!(*event == batch.events[0], "another event than the one sent");
    }
    // Once they read again, what they see and what they are told to have missed is all there was; then they see on.
    for viewer in [&mut slow_v1, &mut slow_v2] {
        let (seen, missed) = seen_and_missed(viewer, EVENTS).await?;
        ensure!(missed > 0, "{} events were seen and none missed: the viewer was not slow enough", seen.len());
    }
    let more = batch.next(vec![events::actor_completed("more")]);
    record_all(&mut program, std::slice::from_ref(&more)).await?;
    for viewer in [&mut slow_v1, &mut slow_v2] {
        let shown = viewer.recv_json().await?;
        ensure!(event_of(&shown) == more.events.first(), "{shown:.300}");
    }
    Ok(())
}

#[tokio::test]
async fn slow_viewers_get_their_notice_and_slow_nobody() -> Result<()> {
    let cluster = Cluster::build().env("REFLOW_TRACING_LIMITS__TAIL_BUFFER_MESSAGES", "16").start().await?;
    slow_viewers_get_their_notice(&cluster.collectors[0], &cluster.collectors[0]).await
}

#[tokio::test]
async fn slow_viewers_of_one_process_get_their_notice_and_slow_nobody() -> Result<()> {
    let service = Service::standalone().env("REFLOW_TRACING_LIMITS__TAIL_BUFFER_MESSAGES", "16").start().await?;
    slow_viewers_get_their_notice(&service, &service).await
}

#[tokio::test]
async fn collector_and_query_service_show_the_same_tail() -> Result<()> {
    let cluster = Cluster::build().collectors(2).start().await?;
    let batches = batches("shown", 20, 20);
    let all: BTreeSet<String> =
        batches.iter().flat_map(|batch| &batch.events).map(|event| events::id(event).to_owned()).collect();
    let services = [&cluster.collectors[0], &cluster.collectors[1], &cluster.queries[0]];
    let (mut older, mut newer) = (Vec::new(), Vec::new());
    for service in services {
        older.push(subscribe_v1(service).await?);
        newer.push(subscribe_v2(service, &json!({"flow_ids": ["shown"]})).await?);
    }
    record_all(&mut cluster.collectors[0].connect_v2().await?, &batches).await?;
    for viewer in older.iter_mut().chain(&mut newer) {
        let (seen, missed) = seen_and_missed(viewer, all.len()).await?;
        ensure!(missed == 0 && seen == all, "{} of {} events seen, {missed} missed", seen.len(), all.len());
    }
    Ok(())
}

/// What is sent while a viewer changes his mind, again and again, under one name.
#[tokio::test]
async fn who_subscribes_again_under_the_same_name_loses_nothing_and_sees_nothing_twice() -> Result<()> {
    const EVENTS_A_SUBSCRIPTION: usize = 50;
    let cluster = Cluster::build().start().await?;
    let collector = &cluster.collectors[0];
    let mut viewer = subscribe_v2(collector, &json!({})).await?;
    let mut program = collector.connect_v2().await?;
    let batches = batches("again", 2_000, 2);
    let recording = async {
        for some in batches.chunks(25) {
            record_all(&mut program, some).await?;
        }
        Ok(())
    };
    let looking = async {
        // All let everything through. For the bus the second is another than those beside it.
        let mut filters = [json!({}), json!({"flow_ids": ["again"]}), json!({})].into_iter().cycle();
        let (mut seen, mut subscribed) = (BTreeSet::new(), 0);
        while seen.len() < 4_000 {
            let answer = viewer.recv_json().await.with_context(|| format!("{} seen", seen.len()))?;
            let Some(event) = event_of(&answer) else {
                ensure!(answer["Subscribed"]["subscription_id"] == "view", "{answer:.300}");
                continue;
            };
            ensure!(seen.insert(events::id(event).to_owned()), "event {} came twice", seen.len());
            if seen.len() / EVENTS_A_SUBSCRIPTION > subscribed {
                subscribed += 1;
                let request = json!({"Subscribe": {"filters": filters.next(), "subscription_id": "view"}});
                viewer.send_json(&request).await?;
            }
        }
        Ok(())
    };
    tokio::try_join!(recording, looking).map(|_: ((), ())| ())
}

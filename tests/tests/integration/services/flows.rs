//! Which flow a trace belongs to is known to all collectors through Redis, and nobody depends on Redis for more.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use async_nats::Subscriber;
use futures_util::StreamExt;
use reflow_tracing_tests::{
    Cluster, Redis, Service, answers, events, eventually,
    frames::{self, Batch},
    patience,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{record_all, since::subscribe_since, subscribe_v2, viewers::seen_and_missed};

async fn with_redis(redis: &Redis) -> Result<Cluster> {
    Cluster::build().collectors(2).env("REFLOW_TRACING_REDIS_URL", redis.url()).start().await
}

/// The flow's place in the subject of the next chunk that is stored: a hash, or `_` for unknown.
async fn next_flow(tail: &mut Subscriber) -> Result<String> {
    let message = tokio::time::timeout(patience(), tail.next()).await.context("no chunk")?.context("no more chunks")?;
    Ok(message.subject.split('.').nth(3).with_context(|| message.subject.to_string())?.to_owned())
}

/// The first half with the flow's name, through one collector, and the second without, through the other.
async fn two_halves(cluster: &Cluster, flow_id: &str) -> Result<(Batch, Batch)> {
    let first = Batch::new(flow_id, events::program(10));
    let second = Batch { flow_id: None, ..first.next(events::program(10)) };
    record_all(&mut cluster.collectors[0].connect_v2().await?, std::slice::from_ref(&first)).await?;
    record_all(&mut cluster.collectors[1].connect_v2().await?, std::slice::from_ref(&second)).await?;
    Ok((first, second))
}

async fn bus(cluster: &Cluster) -> Result<Subscriber> {
    let client = async_nats::connect(cluster.nats.url()).await?;
    let tail = client.subscribe("reflow.live.>").await?;
    client.flush().await?;
    Ok(tail)
}

#[tokio::test]
async fn the_second_half_of_a_trace_is_routed_by_its_flow() -> Result<()> {
    let redis = Redis::start().await?;
    let cluster = with_redis(&redis).await?;
    let mut tail = bus(&cluster).await?;
    let mut viewer = subscribe_v2(&cluster.queries[0], &json!({"flow_ids": ["orders"]})).await?;
    let mut elsewhere = subscribe_v2(&cluster.queries[0], &json!({"flow_ids": ["invoices"]})).await?;

    let (first, second) = two_halves(&cluster, "orders").await?;

    let flow = next_flow(&mut tail).await?;
    ensure!(flow != "_" && next_flow(&mut tail).await? == flow, "the second half is routed elsewhere than {flow}");
    for event in first.events.iter().chain(&second.events) {
        let shown = viewer.recv_json().await?;
        ensure!(shown.pointer("/EventNotification/event") == Some(event), "{shown:.300}");
    }
    ensure!(elsewhere.ask(&frames::ping()).await? == "Pong", "a viewer of another flow was shown something");
    let trace = cluster.trace_with(first.trace_id, 20).await?;
    assert_eq!(trace["flow_id"], "orders");
    Ok(())
}

/// The same for v1, whose events never name a flow: only the start did, on another session.
#[tokio::test]
async fn single_events_through_another_collector_are_routed_by_their_flow() -> Result<()> {
    let redis = Redis::start().await?;
    let cluster = with_redis(&redis).await?;
    let mut viewer = subscribe_v2(&cluster.collectors[0], &json!({"flow_ids": ["orders"]})).await?;
    let trace_id = Uuid::new_v4();
    let mut first = cluster.collectors[0].connect().await?;
    answers::started(&first.ask(&frames::start_trace_with_id(trace_id, "orders")).await?)?;
    let event = events::actor_created("late");
    let mut second = cluster.collectors[1].connect().await?;
    answers::recorded(&second.ask(&frames::record_event(trace_id, &event)).await?)?;

    let shown = viewer.recv_json().await?;
    ensure!(shown.pointer("/EventNotification/event") == Some(&event), "{shown:.300}");
    assert_eq!(cluster.trace_with(trace_id, 1).await?["flow_id"], "orders");
    Ok(())
}

#[tokio::test]
async fn all_goes_on_without_redis_and_with_it_again() -> Result<()> {
    let mut redis = Redis::start().await?;
    let cluster = with_redis(&redis).await?;
    let (known, _) = two_halves(&cluster, "before").await?;
    redis.kill9().await?;

    // Both the trace that the caches know and one that they do not.
    let more = Batch { flow_id: None, ..known.next(events::program(10)) };
    record_all(&mut cluster.collectors[1].connect_v2().await?, std::slice::from_ref(&more)).await?;
    let (unknown, _) = two_halves(&cluster, "during").await?;
    assert_eq!(cluster.trace_with(known.trace_id, 30).await?["flow_id"], "before");
    assert_eq!(cluster.trace_with(unknown.trace_id, 20).await?["flow_id"], "during");
    let degraded = async |expected: f64| {
        eventually(patience(), || async {
            let degraded = cluster.collectors[1].metric("reflow_directory_degraded").await?;
            ensure!(degraded == Some(expected), "reflow_directory_degraded is {degraded:?}");
            Ok(())
        })
        .await
    };
    degraded(1.0).await?;

    redis.restart().await?;
    degraded(0.0).await?;
    let mut tail = bus(&cluster).await?;
    two_halves(&cluster, "after").await?;
    let (one, two) = (next_flow(&mut tail).await?, next_flow(&mut tail).await?);
    ensure!(one == two && one != "_", "routed to {one} and {two}");
    Ok(())
}

/// A Redis that hangs must cost a batch no more than its timeout.
#[tokio::test]
async fn a_redis_that_hangs_holds_nobody_up() -> Result<()> {
    let redis = Redis::start().await?;
    let cluster = with_redis(&redis).await?;
    redis.pause().await?;
    let began = std::time::Instant::now();
    let mut flows = Vec::new();
    for number in 0..10 {
        flows.push(two_halves(&cluster, &format!("hanging_{number}")).await?.0);
    }
    let took = began.elapsed();
    ensure!(took < std::time::Duration::from_secs(10), "twenty batches took {took:?}");
    redis.resume()?;
    for first in flows {
        let trace: Value = cluster.trace_with(first.trace_id, 20).await?;
        ensure!(trace["flow_id"] == json!(first.flow_id), "{}", trace["flow_id"]);
    }
    Ok(())
}

/// Without Redis the second collector does not know the flow of a trace that the first has started, and publishes under none.
#[tokio::test]
async fn a_viewer_knows_the_flow_of_a_second_half_that_its_collector_does_not() -> Result<()> {
    let cluster = Cluster::build().collectors(2).start().await?;
    let [one, other] = &cluster.collectors[..] else { anyhow::bail!("not two collectors") };
    let mut tail = bus(&cluster).await?;
    let orders = json!({"flow_ids": ["orders"]});
    let mut viewers = Vec::new();
    for service in [&cluster.queries[0], one] {
        viewers.push(subscribe_v2(service, &orders).await?);
    }
    let mut elsewhere = subscribe_v2(&cluster.queries[0], &json!({"flow_ids": ["invoices"]})).await?;

    // Of one trace its first half names the flow, of the other only its start, of which a viewer is shown nothing.
    let (first, second) = two_halves(&cluster, "orders").await?;
    ensure!(next_flow(&mut tail).await? != "_" && next_flow(&mut tail).await? == "_", "not the case to be tested");
    let started = Uuid::new_v4();
    let mut program = one.connect().await?;
    answers::started(&program.ask(&frames::start_trace_with_id(started, "orders")).await?)?;
    let event = events::actor_created("late");
    answers::recorded(&other.connect().await?.ask(&frames::record_event(started, &event)).await?)?;

    let mut shown: BTreeSet<String> = first.events.iter().chain(&second.events).map(id).collect();
    shown.insert(id(&event));
    for viewer in &mut viewers {
        let (seen, missed) = seen_and_missed(viewer, shown.len()).await?;
        ensure!(missed == 0 && seen == shown, "{} of {} events seen, {missed} missed", seen.len(), shown.len());
    }

    // Who comes later, where nobody has looked before, learns it from the past; and then knows it of what is new.
    let mut late = subscribe_since(other, &orders, &first.events[0]).await?;
    let third = Batch { flow_id: None, ..second.next(events::program(10)) };
    record_all(&mut other.connect_v2().await?, std::slice::from_ref(&third)).await?;
    shown.extend(third.events.iter().map(id));
    let (seen, missed) = seen_and_missed(&mut late, shown.len()).await?;
    ensure!(missed == 0 && seen == shown, "{} of {} events seen, {missed} missed", seen.len(), shown.len());
    ensure!(elsewhere.ask(&frames::ping()).await? == "Pong", "a viewer of another flow was shown something");
    Ok(())
}

/// With Redis a viewer at a query service need not have seen anything before.
#[tokio::test]
async fn a_query_service_knows_flows_from_redis() -> Result<()> {
    let redis = Redis::start().await?;
    let cluster = with_redis(&redis).await?;
    let (first, _) = two_halves(&cluster, "orders").await?;
    let mut viewer = subscribe_v2(&cluster.queries[0], &json!({"flow_ids": ["orders"]})).await?;
    // What a collector that cannot reach Redis would publish.
    let third = Batch { flow_id: None, ..first.next(events::program(10)).next(events::program(10)) };
    let alone = Cluster::build().configured(Service::collector(), &cluster.nats).start().await?;
    record_all(&mut alone.connect_v2().await?, std::slice::from_ref(&third)).await?;
    let (seen, missed) = seen_and_missed(&mut viewer, third.events.len()).await?;
    ensure!(missed == 0 && seen == third.events.iter().map(id).collect(), "{} seen, {missed} missed", seen.len());
    Ok(())
}

/// Without Redis, and without having asked for the past, it is history that knows.
#[tokio::test]
async fn who_comes_after_a_flow_was_named_learns_it_from_history() -> Result<()> {
    let cluster = Cluster::build().collectors(2).start().await?;
    let (first, second) = two_halves(&cluster, "orders").await?;
    let stored = first.events.len() + second.events.len();
    let _: Value = cluster.trace_with(first.trace_id, stored).await?;
    let orders = json!({"flow_ids": ["orders"]});
    let mut viewers = Vec::new();
    // Two at the same service, of which neither may take the other's question for an answer.
    for service in [&cluster.queries[0], &cluster.queries[0], &cluster.collectors[0], &cluster.collectors[1]] {
        viewers.push(subscribe_v2(service, &orders).await?);
    }
    let third = Batch { flow_id: None, ..second.next(events::program(10)) };
    record_all(&mut cluster.collectors[1].connect_v2().await?, std::slice::from_ref(&third)).await?;
    for viewer in &mut viewers {
        let (seen, missed) = seen_and_missed(viewer, third.events.len()).await?;
        ensure!(missed == 0 && seen == third.events.iter().map(id).collect(), "{} seen, {missed} missed", seen.len());
    }
    Ok(())
}

fn id(event: &Value) -> String {
    events::id(event).to_owned()
}

//! Live viewers over v1: each filter, each event once, and an end.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Client, answers, events, frames};
use serde_json::{Value, json};

use crate::system::Standalone;

async fn subscribe(system: &Standalone, filters: &Value) -> Result<Client> {
    let mut viewer = system.connect().await?;
    answers::recorded(&viewer.ask(&frames::subscribe(filters)).await?)?;
    Ok(viewer)
}

/// The ids of all events up to the last one, which must come.
async fn seen_until(viewer: &mut Client, last: &Value) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some(events::id(last)) {
        let answer = viewer.recv_json().await.with_context(|| format!("after {} events", seen.len()))?;
        let event = answer.pointer("/EventNotification/event").with_context(|| format!("{answer:.300}"))?;
        seen.push(events::id(event).to_owned());
    }
    Ok(seen)
}

#[tokio::test]
async fn each_filter_lets_through_what_it_says() -> Result<()> {
    let system = Standalone::start().await?;
    let flow = events::data_flow("generator", "out", "transformer", "in");
    let other_flow = events::data_flow("generator", "out", "sink", "in");
    let created = events::actor_created("sink");
    let all = [flow.clone(), other_flow.clone(), created.clone()];
    let event_types = |kinds: Value| json!({"event_types": kinds});
    let flows_to = |actor: &str, port: &str| json!([{"DataFlow": {"to_actor": actor, "to_port": port}}]);
    let cases = [
        (json!({}), all.to_vec()),
        (json!({"flow_ids": ["watched"]}), all.to_vec()),
        (json!({"flow_ids": ["unwatched"]}), vec![]),
        (json!({"actor_ids": ["sink"]}), vec![created.clone()]),
        (event_types(json!(["ActorCreated", "StateChanged"])), vec![created.clone()]),
        (event_types(flows_to("*", "*")), vec![flow.clone(), other_flow.clone()]),
        (event_types(flows_to("sink", "*")), vec![other_flow.clone()]),
        (event_types(flows_to("*", "in")), vec![flow.clone(), other_flow.clone()]),
        (event_types(flows_to("sink", "other")), vec![]),
        (json!({"status_filter": ["Running"]}), all.to_vec()),
        (json!({"status_filter": ["Completed"]}), vec![]),
        (json!({"actor_ids": ["generator"], "event_types": flows_to("sink", "in")}), vec![other_flow.clone()]),
    ];
    let mut viewers = Vec::new();
    for (filters, _) in &cases {
        viewers.push(subscribe(&system, filters).await?);
    }
    let mut everything = subscribe(&system, &json!({})).await?;

    let mut program = system.connect().await?;
    crate::system::record(&mut program, "watched", &all).await?;
    seen_until(&mut everything, &created).await?;

    for ((filters, expected), viewer) in cases.iter().zip(&mut viewers) {
        let seen = match expected.last() {
            Some(last) => seen_until(viewer, last).await.with_context(|| filters.to_string())?,
            None => vec![],
        };
        let expected: Vec<_> = expected.iter().map(|event| events::id(event).to_owned()).collect();
        assert_eq!(seen, expected, "{filters}");
        // Nothing more was on its way.
        assert_eq!(viewer.ask(&frames::ping()).await?, "Pong", "{filters}");
    }
    Ok(())
}

#[tokio::test]
async fn a_viewer_sees_every_event_once_and_in_order() -> Result<()> {
    let system = Standalone::start().await?;
    let mut viewer = subscribe(&system, &json!({})).await?;
    let sent = events::program(2_000);
    let trace_id = system.store("watched", &sent).await?;
    let seen = seen_until(&mut viewer, &sent[1_999]).await?;
    let expected: Vec<_> = sent.iter().map(|event| events::id(event).to_owned()).collect();
    ensure!(seen == expected, "{} events seen, not the {} that were sent, in their order", seen.len(), expected.len());
    system.trace_with(trace_id, 2_000).await?;
    Ok(())
}

#[tokio::test]
async fn a_viewer_that_unsubscribed_sees_nothing_more() -> Result<()> {
    let system = Standalone::start().await?;
    let (mut viewer, mut other) = (subscribe(&system, &json!({})).await?, subscribe(&system, &json!({})).await?);
    let (before, after) = (events::actor_created("before"), events::actor_created("after"));
    system.store("watched", std::slice::from_ref(&before)).await?;
    seen_until(&mut viewer, &before).await?;
    answers::recorded(&viewer.ask(&frames::unsubscribe()).await?)?;
    system.store("watched", std::slice::from_ref(&after)).await?;
    seen_until(&mut other, &after).await?;
    assert_eq!(viewer.ask(&frames::ping()).await?, "Pong");
    Ok(())
}

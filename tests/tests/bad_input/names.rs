//! Odd but valid: names, texts and clocks that must come back as they were sent, from every store: Postgres, for one,
//! cannot hold a nul byte.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{answers, events, eventually, frames, frames::Query, patience};
use serde_json::json;

use crate::scene::{Scene, altered};

#[tokio::test]
async fn odd_but_valid_names_and_texts_come_back_as_they_were_sent() -> Result<()> {
    come_back(Scene::start().await?).await
}

#[tokio::test]
async fn odd_but_valid_names_and_texts_come_back_as_they_were_sent_in_postgres() -> Result<()> {
    come_back(Scene::start_services().await?).await
}

#[tokio::test]
async fn odd_names_can_be_asked_for() -> Result<()> {
    asked_for(Scene::start().await?).await
}

#[tokio::test]
async fn odd_names_can_be_asked_for_in_postgres() -> Result<()> {
    asked_for(Scene::start_services().await?).await
}

#[tokio::test]
async fn clocks_may_be_anywhere_from_year_1_to_beyond_9999() -> Result<()> {
    clocks(Scene::start().await?).await
}

#[tokio::test]
async fn clocks_may_be_anywhere_from_year_1_to_beyond_9999_in_postgres() -> Result<()> {
    clocks(Scene::start_services().await?).await
}

async fn come_back(mut scene: Scene) -> Result<()> {
    let odd = [
        "quote \" and \\ back",
        "line\nand\ttab",
        "nul \0 inside",
        "\u{1}\u{1f}\u{7f}",
        "日本語 🚀 ё",
        "'; --",
        "{}",
        "",
    ];
    let mut sent = Vec::new();
    for text in odd {
        let mut event = events::data_flow(text, text, text, text);
        event["data"]["error"] = json!(text);
        event["data"]["message"]["message_type"] = json!(text);
        event["data"]["custom_attributes"] = json!({text: text, "list": [text, {text: null}]});
        event["causality"]["span_id"] = json!(text);
        sent.push(event);
        sent.push(events::actor_failed(text, text));
    }
    scene.accepted("flow \"with\" \\ everything \n 🚀", &sent).await?;
    scene.accepted("nul \0 in the flow id", &sent[..1]).await?;
    // Escapes that a writer may choose and `serde_json` does not.
    let mut client = scene.service.connect().await?;
    client.send_text(altered("\"actor_id\":\"actor\"", "\"actor_id\":\"\\u0061\\/\\ud83d\\ude80\"")).await?;
    answers::recorded(&client.recv_json().await?)?;
    scene.end().await
}

async fn asked_for(mut scene: Scene) -> Result<()> {
    let (flow, actor) = ("flow '\"\\ %_ 🚀", "actor '\"\\ %_ 🚀");
    scene.accepted(flow, &[events::actor_created(actor)]).await?;
    // Stores and headers hold something else instead of a nul, and the beginning of a long error.
    let (nul, long) = ("nul \0 here", "long ".repeat(1_000));
    let mut client = scene.service.connect().await?;
    for (flow, error) in [("nul \0", nul), ("usual", long.as_str())] {
        let trace_id = answers::started(&client.ask(&frames::start_trace(flow)).await?)?;
        answers::recorded(&client.ask(&frames::record_event(trace_id, &events::actor_created("nul \0"))).await?)?;
        let status = json!({"Failed": {"error": error}});
        answers::recorded(&client.ask(&frames::end_trace(trace_id, &status)).await?)?;
    }
    for (query, count) in [
        (Query::all().flow(flow), 1),
        (Query::all().actor(actor), 1),
        (Query::all().flow("flow%"), 0),
        (Query::all().actor("actor _____ 🚀"), 0),
        (Query::all().flow("nul \0"), 1),
        (Query::all().flow("nul \0 and more"), 0),
        (Query::all().actor("nul \0"), 2),
        (Query::all().actor("nul \0 and more"), 0),
        (Query::all().status(json!({"Failed": {"error": nul}})), 1),
        (Query::all().status(json!({"Failed": {"error": long}})), 1),
        (Query::all().status(json!({"Failed": {"error": "nul"}})), 0),
        (Query::all().flow(&"long".repeat(100_000)), 0),
    ] {
        let client = &tokio::sync::Mutex::new(scene.service.connect().await?);
        eventually(patience(), || async {
            let answer = client.lock().await.ask(&frames::query_traces(&query)).await?;
            let found = answers::found(&answer).with_context(|| format!("{query:.200?}"))?.1;
            ensure!(found == count, "{found} and not {count}: {query:.200?}");
            Ok(())
        })
        .await?;
    }
    scene.end().await
}

async fn clocks(mut scene: Scene) -> Result<()> {
    let mut sent = Vec::new();
    for timestamp in [
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999999999Z",
        "9999-12-31T23:59:59.999999999Z",
        "+10000-01-01T00:00:00Z",
    ] {
        let mut event = events::actor_created("clock");
        event["timestamp"] = json!(timestamp);
        sent.push(event);
    }
    for event in &sent {
        scene.accepted("clocks", std::slice::from_ref(event)).await?;
    }
    scene.accepted("clocks", &sent).await?;
    let mut client = scene.service.connect().await?;
    let answer = client.ask(&frames::query_traces(&Query::all().flow("clocks"))).await?;
    assert_eq!(answers::found(&answer)?.1, 5);
    scene.end().await
}

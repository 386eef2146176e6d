//! Text frames that are no requests, and requests with wrong parts.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{answers, events, frames, frames::Query};
use serde_json::json;
use uuid::Uuid;

use crate::scene::{Scene, altered, record};

#[tokio::test]
async fn what_is_no_request_is_refused_with_a_reason() -> Result<()> {
    let mut scene = Scene::start().await?;
    let texts = [
        "",
        "hello",
        "{",
        "{}",
        "[]",
        "17",
        "null",
        "\"",
        "{\"GetTrace\":5}",
        "{\"GetTrace\":{}}",
        "{\"RecordEvent\":{}}",
        "{\"RecordEvent\":null}",
        "{\"QueryTraces\":{\"query\":{\"limit\":-1}}}",
        "{\"QueryTraces\":{\"query\":{\"limit\":\"ten\"}}}",
        "{\"Subscribe\":{\"filters\":{\"flow_ids\":5}}}",
        "{\"StartTrace\":{\"version\":{}}}",
        "{\"Ping\":null,\"GetMetrics\":null}",
    ];
    scene.refused(&texts.map(str::to_owned)).await?;
    scene.end().await
}

#[tokio::test]
async fn an_unknown_request_is_refused_by_its_name() -> Result<()> {
    let mut scene = Scene::start().await?;
    let mut client = scene.service.connect().await?;
    let reason = answers::refusal(&client.ask(&json!({"DropEverything": {}})).await?)?;
    ensure!(reason.contains("DropEverything"), "{reason}");
    scene.refused(&["\"Nonsense\"".to_owned()]).await?;
    scene.end().await
}

#[tokio::test]
async fn events_with_wrong_parts_are_refused() -> Result<()> {
    let mut scene = Scene::start().await?;
    let id = "\"actor_id\":\"actor\"";
    let attributes = "\"custom_attributes\":{}";
    let texts = [
        record(&json!(17)),
        record(&json!({})),
        record(&json!({"event_id": Uuid::new_v4()})),
        frames::record_event(Uuid::nil(), &events::actor_created("a"))
            .to_string()
            .replace(&Uuid::nil().to_string(), "x"),
        altered("\"event_type\":\"ActorCreated\"", "\"event_type\":\"ActorVanished\""),
        altered("\"timestamp\":\"2", "\"timestamp\":\"x"),
        altered("\"timestamp\":\"2", "\"timestamp\":\"102"),
        altered("\"execution_time_ns\":0", "\"execution_time_ns\":-1"),
        altered("\"execution_time_ns\":0", "\"execution_time_ns\":\"long\""),
        altered(id, "\"actor_id\":17"),
        altered(id, "\"actor_id\":\"half a surrogate \\ud800\""),
        altered(id, "\"actor_id\":\"bad escape \\x\""),
        altered(id, &format!("\"actor_id\":\"{}\"", "a".repeat(100_000))),
        altered(attributes, &format!("\"custom_attributes\":{{\"deep\":{}{}}}", "[".repeat(500), "]".repeat(500))),
    ];
    scene.refused(&texts).await?;
    scene.end().await
}

/// Deep enough to overflow the stack of a parser that recurses without a limit.
#[tokio::test]
async fn json_that_is_a_hundred_thousand_deep_is_refused() -> Result<()> {
    let mut scene = Scene::start().await?;
    let depth = 100_000;
    let arrays = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let texts = [
        arrays.clone(),
        objects.clone(),
        format!("{{\"GetTrace\":{arrays}}}"),
        altered("\"custom_attributes\":{}", &format!("\"custom_attributes\":{{\"deep\":{objects}}}")),
    ];
    scene.refused(&texts).await?;
    scene.end().await
}

/// Which one wins must not depend on who reads, so neither does.
#[tokio::test]
async fn duplicate_keys_do_not_end_the_session() -> Result<()> {
    let mut scene = Scene::start().await?;
    let mut client = scene.service.connect().await?;
    let twice = [
        altered("\"actor_id\":\"actor\"", "\"actor_id\":\"one\",\"actor_id\":\"two\""),
        format!("{{\"GetTrace\":{{\"trace_id\":\"{0}\",\"trace_id\":\"{0}\"}}}}", Uuid::new_v4()),
        "{\"Ping\":null,\"Ping\":null}".to_owned(),
    ];
    for text in &twice {
        client.send_text(text.as_str()).await?;
        answers::refusal(&client.recv_json().await?).with_context(|| text.clone())?;
    }
    assert_eq!(client.ask(&frames::ping()).await?, "Pong");
    scene.go_on().await?;
    scene.end().await
}

#[tokio::test]
async fn times_that_are_no_times_get_the_right_answer() -> Result<()> {
    let mut scene = Scene::start().await?;
    let mut client = scene.service.connect().await?;
    let mut query = frames::query_traces(&Query::all());
    // Backwards: a slip of the asker's, who is told so.
    query["QueryTraces"]["query"]["time_range"] = json!(["2030-01-01T00:00:00Z", "2020-01-01T00:00:00Z"]);
    scene.refused(&[query.to_string()]).await?;
    query["QueryTraces"]["query"]["time_range"] = json!(["-262143-01-01T00:00:00Z", "+262142-12-31T23:59:59Z"]);
    let widest = client.ask(&query).await?;
    answers::found(&widest).map(drop).or_else(|_| answers::refusal(&widest).map(drop))?;
    query["QueryTraces"]["query"]["time_range"] = json!(["yesterday", "today"]);
    scene.refused(&[query.to_string()]).await?;
    scene.end().await
}

//! Batches of v2 that lie, are too large, or are empty.

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{answers, events, frames::Batch};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::scene::{Scene, compress};

#[tokio::test]
async fn batches_that_are_wrong_as_a_whole_are_refused_as_a_whole() -> Result<()> {
    let mut scene = Scene::start().await?;
    let mut client = scene.service.connect_v2().await?;
    let good = Batch::new("wrong", events::program(3));
    let with = |field: &str, value: Value| {
        let mut request = good.request();
        request["RecordBatch"][field] = value;
        request
    };
    let inputs = [
        with("batch_id", json!("not a uuid")),
        with("trace_id", Value::Null),
        with("sequence", json!(-1)),
        with("events", json!({"not": "a list"})),
        with("events", Value::Null),
        json!({"RecordBatch": {}}),
        json!({"RecordBatch": []}),
    ];
    for input in &inputs {
        answers::refusal(&client.ask(input).await?).with_context(|| format!("{input:.300}"))?;
        scene.go_on().await?;
    }
    assert_eq!(answers::batch_recorded(&client.ask(&good.request()).await?, good.batch_id)?, (3, vec![]));
    scene.end().await
}

#[tokio::test]
async fn ten_thousand_and_one_events_are_refused_and_ten_thousand_are_not() -> Result<()> {
    let mut scene = Scene::start().await?;
    let mut client = scene.service.connect_v2().await?;
    let mut batch = Batch::new("large", events::program(10_001));
    let reason = answers::refusal(&client.ask(&batch.request()).await?)?;
    ensure!(reason.contains("10000") || reason.contains("10,000"), "the limit is not named: {reason}");
    scene.go_on().await?;
    batch.events.pop();
    let answer = client.ask(&batch.request()).await?;
    match answer.get("BatchTooLarge") {
        // So many events of random ids may not fit in one chunk: then the client is told to split them.
        Some(body) => ensure!(body["max"].is_u64(), "{answer}"),
        None => assert_eq!(answers::batch_recorded(&answer, batch.batch_id)?, (10_000, vec![])),
    }
    scene.end().await
}

#[tokio::test]
async fn an_empty_batch_is_recorded_as_nothing() -> Result<()> {
    let mut scene = Scene::start().await?;
    let mut client = scene.service.connect_v2().await?;
    let empty = Batch::new("empty", vec![]);
    assert_eq!(answers::batch_recorded(&client.ask(&empty.request()).await?, empty.batch_id)?, (0, vec![]));
    scene.go_on().await?;
    scene.end().await
}

#[tokio::test]
async fn binary_batches_that_lie_are_refused() -> Result<()> {
    let mut scene = Scene::start().await?;
    let mut client = scene.service.connect_v2().await?;
    let array = serde_json::to_vec(&events::program(3))?;
    let good = binary_batch(array.len() as u64, "zstd", &compress(&array)?);
    let bomb = compress(&vec![b' '; 200 << 20])?;
    let inputs = [
        ("a magic number and no more", b"RFB2".to_vec()),
        ("a header longer than the frame", [b"RFB2".as_slice(), &u32::MAX.to_le_bytes(), b"{}"].concat()),
        ("a header that is no header", [b"RFB2".as_slice(), &2_u32.to_le_bytes(), b"{}"].concat()),
        ("a codec that nobody knows", binary_batch(10, "rot13", b"[]")),
        ("a bomb", binary_batch(200 << 20, "zstd", &bomb)),
        ("a bomb that says it is small", binary_batch(100, "zstd", &bomb)),
        ("truncated", good[..good.len() - 3].to_vec()),
        ("no list inside", binary_batch(2, "zstd", &compress(b"{}")?)),
        ("not utf-8 inside", binary_batch(4, "zstd", &compress(b"[\"\xff\"]")?)),
    ];
    for (name, bytes) in inputs {
        client.send_binary(bytes).await.context(name)?;
        answers::refusal(&client.recv_json().await.context(name)?).context(name)?;
        scene.go_on().await.context(name)?;
    }
    client.send_binary(good).await?;
    let answer = client.recv_json().await?;
    assert_eq!(answer["BatchRecorded"]["accepted"], 3, "{answer}");
    scene.end().await
}

/// The layout of a binary batch: magic, length of the header, header in JSON, payload.
pub fn binary_batch(raw_size: u64, codec: &str, payload: &[u8]) -> Vec<u8> {
    let header = json!({
        "batch_id": Uuid::now_v7(),
        "trace_id": Uuid::now_v7(),
        "flow_id": "binary",
        "client_id": "test",
        "sequence": 0,
        "dropped": 0,
        "codec": codec,
        "raw_size": raw_size,
    })
    .to_string();
    let length = u32::try_from(header.len()).unwrap_or(u32::MAX).to_le_bytes();
    [b"RFB2".as_slice(), &length, header.as_bytes(), payload].concat()
}

//! What sessions hold counts against the byte budget for as long as they hold it, whatever kind of frame it came in.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use reflow_tracing_bus::{AnswerStream, BusError, HistoryClient, Patience};
use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_protocol::wire::{BatchFrame, BatchHeader};
use reflow_tracing_session::SessionLimits;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::support::{Client, Fixture, event, large_event, record, recorded, start};

const HELD: &str = "reflow_session_budget_bytes";
const DECOMPRESSED: &str = "reflow_session_decompressed_bytes";
const GATHERS: &str = "reflow_session_gather_frames_count";
const NAME_BYTES: usize = 300_000;

/// History that keeps everybody waiting until it is let go, and then has nothing to say.
struct SlowHistory(watch::Receiver<bool>);

#[async_trait]
impl HistoryClient for SlowHistory {
    async fn ask(&self, _: Bytes, _: Patience) -> Result<AnswerStream, BusError> {
        let _ = self.0.clone().wait_for(|open| *open).await;
        Ok(stream::iter([Ok(Bytes::from_static(b"{}"))]).boxed())
    }
}

/// A v2 session whose questions wait.
async fn asking() -> (Fixture, watch::Sender<bool>, Client) {
    let (open, history) = watch::channel(false);
    let fixture = Fixture::with_history(SessionLimits::default(), Arc::new(SlowHistory(history))).await;
    let client = fixture.v2().await;
    (fixture, open, client)
}

/// Sends frames without waiting for answers; the sum of their lengths.
async fn send_all(client: &mut Client, frames: &[Value]) -> f64 {
    let mut bytes = 0;
    for frame in frames {
        let text = frame.to_string();
        bytes += text.len();
        client.0.send(Message::text(text)).await.unwrap();
    }
    bytes as f64
}

fn long() -> String {
    "n".repeat(NAME_BYTES)
}

#[tokio::test]
async fn starts_and_ends_count_until_they_are_durable_and_fill_a_gather_by_their_size() {
    let fixture = Fixture::new().await;
    fixture.gate.send(false).unwrap();
    let mut client = fixture.v1().await;
    let mut frames = vec![record(Uuid::new_v4(), &event("a").1)];
    for _ in 0..4 {
        let mut started = start("flow");
        started["StartTrace"]["version"]["git_hash"] = json!(long());
        let end = json!({"EndTrace": {"trace_id": Uuid::new_v4(), "status": {"Failed": {"error": long()}}}});
        frames.extend([started, end]);
    }
    let bytes = send_all(&mut client, &frames).await;
    fixture.becomes(HELD, bytes).await;
    fixture.gate.send(true).unwrap();
    for frame in &frames {
        let answer = client.receive().await;
        let started = frame["StartTrace"].is_object();
        assert!(if started { answer["TraceStarted"].is_object() } else { answer == recorded() }, "{answer}");
    }
    fixture.becomes(HELD, 0.0).await;
    // The event, which was published at once; and of the rest no more than about a mebibyte at a time.
    assert!(fixture.value(GATHERS) >= 3.0, "{} gathers", fixture.value(GATHERS));
}

#[tokio::test]
async fn a_question_counts_until_it_is_answered() {
    let (fixture, open, mut client) = asking().await;
    let question = json!({"GetFlowVersions": {"flow_id": long()}});
    let bytes = send_all(&mut client, &[question.clone(), question]).await;
    fixture.becomes(HELD, bytes).await;
    open.send(true).unwrap();
    for _ in 0..2 {
        assert_eq!(client.receive().await, json!({}));
    }
    fixture.becomes(HELD, 0.0).await;
}

#[tokio::test]
async fn a_subscription_counts_until_it_is_open_and_is_small_then() {
    let (fixture, open, mut client) = asking().await;
    let subscribe =
        |bytes| json!({"Subscribe": {"filters": {"flow_ids": ["n".repeat(bytes)]}, "since": "2026-01-01T00:00:00Z"}});
    let bytes = send_all(&mut client, &[subscribe(60_000)]).await;
    fixture.becomes(HELD, bytes).await;
    open.send(true).unwrap();
    assert!(client.receive().await["Subscribed"].is_object());
    fixture.becomes(HELD, 0.0).await;

    let mut client = fixture.v2().await;
    let refused = client.ask(&subscribe(70_000)).await;
    assert_eq!(refused["Error"]["code"], "LimitExceeded", "{refused}");
    assert!(refused["Error"]["message"].as_str().unwrap().contains("65536"), "{refused}");
    client.is_well().await;
}

fn compressed(request: &Value) -> (usize, Message) {
    let text = request.to_string();
    (text.len(), Message::binary(Codec::Zstd.compress(text.as_bytes(), 1).unwrap()))
}

/// What a small frame became counts for as long as it is held, and others wait for room to decompress theirs.
#[tokio::test]
async fn decompressed_events_count_until_they_are_durable_and_others_wait() {
    let limits = SessionLimits { max_decompressed_bytes: 1 << 20, ..Default::default() };
    let fixture = Fixture::with(limits, true).await;
    fixture.gate.send(false).unwrap();
    let (bytes, frame) = compressed(&record(Uuid::new_v4(), &large_event(1_000_000)));
    let mut clients = [fixture.v1().await, fixture.v1().await, fixture.v1().await];
    for (client, decompressed) in clients.iter_mut().zip([bytes, 2 * bytes, 2 << 20]) {
        client.0.send(frame.clone()).await.unwrap();
        fixture.becomes(DECOMPRESSED, decompressed as f64).await;
    }
    // Two are held as they are; the third as it came, and it is given what becomes free.
    fixture.becomes(HELD, frame.len() as f64).await;
    assert_eq!(fixture.value("reflow_session_frames_total{request=\"RecordEvent\"}"), 2.0);
    fixture.gate.send(true).unwrap();
    for client in &mut clients {
        assert_eq!(client.receive().await, recorded());
    }
    for series in [DECOMPRESSED, HELD] {
        fixture.becomes(series, 0.0).await;
    }
}

/// Its answer may wait for somebody who reads slowly. What others have to decompress does not.
#[tokio::test]
async fn a_compressed_question_keeps_no_room_from_others() {
    let (open, history) = watch::channel(false);
    let limits = SessionLimits { max_decompressed_bytes: 1 << 20, ..Default::default() };
    let fixture = Fixture::with_history(limits, Arc::new(SlowHistory(history))).await;
    let mut asking = Vec::new();
    // The last is small and expands beyond what is tried first.
    for name in ["n".repeat(800_000), "n".repeat(700_000), " ".repeat(900_000)] {
        let mut client = fixture.v1().await;
        let (bytes, frame) = compressed(&json!({"GetFlowVersions": {"flow_id": name}}));
        let held = fixture.value(HELD);
        client.0.send(frame).await.unwrap();
        fixture.becomes(HELD, held + bytes as f64).await;
        asking.push(client);
    }
    fixture.becomes(DECOMPRESSED, 0.0).await;

    let events = json!([event("a").1]).to_string();
    let header = BatchHeader {
        batch_id: Uuid::now_v7(),
        trace_id: Uuid::new_v4(),
        flow_id: None,
        flow_name: None,
        client_id: "c".into(),
        sequence: 0,
        dropped: 0,
        codec: Codec::Zstd,
        raw_size: events.len() as u32,
    };
    let payload = Codec::Zstd.compress(events.as_bytes(), 1).unwrap();
    let mut program = fixture.v2().await;
    program.0.send(Message::binary(BatchFrame { header, payload: &payload }.encode())).await.unwrap();
    assert_eq!(program.receive().await["BatchRecorded"]["accepted"], 1);
    open.send(true).unwrap();
    for client in &mut asking {
        assert_eq!(client.receive().await, json!({}));
    }
    fixture.becomes(HELD, 0.0).await;
}

#[tokio::test]
async fn a_compressed_question_of_over_a_mebibyte_is_refused() {
    let (fixture, _open, mut client) = asking().await;
    let (_, frame) = compressed(&json!({"GetFlowVersions": {"flow_id": "n".repeat(1 << 20)}}));
    client.0.send(frame).await.unwrap();
    let refused = client.receive().await;
    assert_eq!(refused["Error"]["code"], "LimitExceeded", "{refused}");
    for series in [DECOMPRESSED, HELD] {
        fixture.becomes(series, 0.0).await;
    }
    client.is_well().await;
}

#[tokio::test]
async fn a_small_max_decompressed_bytes_leaves_room_for_small_requests() {
    let limits = SessionLimits { max_decompressed_bytes: 1_024, ..Default::default() };
    let fixture = Fixture::with(limits, true).await;
    let mut client = fixture.v2().await;
    client.0.send(compressed(&json!("Ping")).1).await.unwrap();
    assert_eq!(client.receive().await, json!("Pong"));
}

/// A frame may wait for bytes that its own session holds: a drain sees both through.
#[tokio::test]
async fn a_drain_finishes_what_a_waiting_frame_waits_for() {
    let limits = SessionLimits { byte_budget: 10_000, ..Default::default() };
    let fixture = Fixture::with(limits, true).await;
    fixture.gate.send(false).unwrap();
    let mut client = fixture.v1().await;
    let mut started = start("flow");
    started["StartTrace"]["version"]["git_hash"] = json!("n".repeat(4_000));
    let frames = [record(Uuid::new_v4(), &event("a").1), started.clone(), started.clone(), started];
    let bytes = send_all(&mut client, &frames).await;
    fixture.becomes("reflow_session_received_bytes_total", bytes).await;
    assert!(fixture.value("reflow_session_frames_total{request=\"StartTrace\"}") < 3.0, "nothing waits");
    fixture.stop.cancel();
    fixture.gate.send(true).unwrap();
    assert_eq!(client.receive().await, recorded());
    for _ in 0..3 {
        assert!(client.receive().await["TraceStarted"].is_object());
    }
    assert!(matches!(client.message().await, Some(Message::Close(_))));
    assert_eq!(fixture.served.await.unwrap().sessions_cut, 0);
}

/// In fragments a message asks for room for the largest; once it is whole, for its own.
#[tokio::test]
async fn a_message_in_fragments_counts_as_large_as_it_is() {
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };
    let (fixture, open, mut client) = asking().await;
    let question = json!({"GetTrace": {"trace_id": Uuid::new_v4()}}).to_string();
    let (first, last) = question.split_at(20);
    for (part, data, is_last) in [(first, Data::Text, false), (last, Data::Continue, true)] {
        let frame = Frame::message(Bytes::copy_from_slice(part.as_bytes()), OpCode::Data(data), is_last);
        client.0.send(Message::Frame(frame)).await.unwrap();
    }
    fixture.becomes(HELD, question.len() as f64).await;
    open.send(true).unwrap();
    client.receive().await;
    fixture.becomes(HELD, 0.0).await;
}

#[tokio::test]
async fn ids_that_are_no_ids_are_refused_and_told_why() {
    let fixture = Fixture::new().await;
    let mut client = fixture.v2().await;
    let id = Uuid::new_v4();
    let mut started = start("flow");
    started["StartTrace"]["request_id"] = json!("n".repeat(511));
    for (request, field) in [
        (started, "request_id"),
        (json!({"EndTrace": {"trace_id": id, "status": "Completed", "request_id": [long()]}}), "request_id"),
        (json!({"GetTrace": {"trace_id": id, "request_id": long()}}), "request_id"),
        (json!({"QueryTraces": {"query": {}, "request_id": {"a": long()}}}), "request_id"),
        (json!({"GetFlowVersions": {"flow_id": "f", "request_id": long()}}), "request_id"),
        (json!({"Subscribe": {"filters": {}, "subscription_id": "n".repeat(513)}}), "subscription_id"),
        (json!({"Unsubscribe": {"subscription_id": long()}}), "subscription_id"),
    ] {
        let refused = client.ask(&request).await;
        let message = refused["Error"]["message"].as_str().unwrap();
        assert!(message.starts_with(field) && message.contains("at most 512"), "{message}");
        assert_eq!(refused["Error"]["code"], "InvalidRequest");
        assert!(refused["Error"]["request_id"].is_null(), "what is refused is not repeated");
    }
    assert_eq!(fixture.value("reflow_session_refused_total{reason=\"name\"}"), 7.0);
    // As long as they may be.
    let started = client.ask(&json!({"StartTrace": {"flow_id": "f", "request_id": "n".repeat(510)}})).await;
    assert_eq!(started["TraceStarted"]["request_id"], "n".repeat(510));
    client.is_well().await;
}

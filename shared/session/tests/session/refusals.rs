//! What a refusal says, and how long it is: the sender knows what it has sent.

use futures_util::SinkExt;
use reflow_tracing_protocol::SUBPROTOCOL_V2;
use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_protocol::wire::{BatchFrame, BatchHeader, MAX_BRIEF_BYTES};
use reflow_tracing_session::SessionLimits;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use uuid::Uuid;

use crate::support::{Client, Fixture, event, record};

/// A batch of the same event so many times.
fn batch(event: &str, count: usize) -> (Uuid, Message) {
    let raw = format!("[{}]", vec![event; count].join(","));
    let header = BatchHeader {
        batch_id: Uuid::now_v7(),
        trace_id: Uuid::new_v4(),
        flow_id: None,
        flow_name: None,
        client_id: "c".into(),
        sequence: 0,
        dropped: 0,
        codec: Codec::Zstd,
        raw_size: raw.len() as u32,
    };
    let payload = Codec::Zstd.compress(raw.as_bytes(), 1).unwrap();
    (header.batch_id, Message::binary(BatchFrame { header, payload: &payload }.encode()))
}

fn of_type(event_type: &str) -> Value {
    let mut event = event("a").1;
    event["event_type"] = json!(event_type);
    event
}

fn indices(recorded: &Value) -> Vec<u64> {
    recorded["rejected"].as_array().unwrap().iter().map(|event| event["index"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn of_ten_thousand_refused_events_each_is_told_and_of_the_first_why() {
    let fixture = Fixture::new().await;
    let mut client = fixture.v2().await;
    let (batch_id, frame) = batch(&of_type(&"B".repeat(2_000)).to_string(), 10_000);
    let mut answers = Vec::new();
    for _ in 0..2 {
        client.0.send(frame.clone()).await.unwrap();
        let answer = client.message().await.unwrap();
        assert!(answer.len() < 1 << 20, "{} bytes", answer.len());
        answers.push(serde_json::from_str::<Value>(answer.to_text().unwrap()).unwrap());
    }
    assert_eq!(answers[0], answers[1], "sent again it gets the same answer");
    let recorded = &answers[0]["BatchRecorded"];
    assert_eq!((&recorded["batch_id"], &recorded["accepted"]), (&json!(batch_id), &json!(0)));
    assert_eq!(indices(recorded), (0..10_000).collect::<Vec<_>>());
    let reason = recorded["rejected"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("unknown variant `BBB") && reason.contains("`NetworkEvent`"), "{reason}");
    assert!(reason.len() < 2 * MAX_BRIEF_BYTES, "{reason}");
    assert_eq!(fixture.value("reflow_session_events_total{result=\"refused\"}"), 20_000.0);
}

/// Published clients refuse frames over 16 MiB; ours come in pieces of one.
#[tokio::test]
async fn a_list_over_a_mebibyte_goes_out_in_fragments() {
    let limits = SessionLimits { max_batch_events: 100_000, ..Default::default() };
    let fixture = Fixture::with(limits, true).await;
    let mut request = format!("ws://{}/", fixture.address).into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", SUBPROTOCOL_V2.parse().unwrap());
    let config = WebSocketConfig::default().max_frame_size(Some(1 << 20));
    let connected = tokio_tungstenite::connect_async_with_config(request, Some(config), false).await;
    let mut client = Client(connected.unwrap().0);
    assert!(client.receive().await["Welcome"].is_object());
    let (_, frame) = batch("1", 100_000);
    client.0.send(frame).await.unwrap();
    let answer = client.message().await.unwrap();
    assert!(answer.len() > 2 << 20, "{} bytes", answer.len());
    let answer: Value = serde_json::from_str(answer.to_text().unwrap()).unwrap();
    assert_eq!(indices(&answer["BatchRecorded"]).len(), 100_000);
    client.is_well().await;
}

#[tokio::test]
async fn no_reason_repeats_a_long_request() {
    let fixture = Fixture::new().await;
    let long = "A".repeat(1 << 20);
    let batch = |sequence: Value, events: Value| {
        json!({"RecordBatch": {"batch_id": Uuid::now_v7(), "trace_id": Uuid::nil(), "client_id": "c", "sequence": sequence,
            "dropped": 0, "events": events}})
    };
    for frame in [
        record(Uuid::new_v4(), &of_type(&long)),
        json!({"StartTrace": {"trace_id": long, "flow_id": "f"}}),
        json!({"GetTrace": long}),
        batch(json!(long), json!([])),
        batch(json!(0), json!(long)),
        json!({"StoreTrace": {"trace": long}}),
    ] {
        for mut client in [fixture.v1().await, fixture.v2().await] {
            client.send(&frame).await;
            let answer = client.message().await.unwrap();
            assert!(answer.len() < 1_000, "{} bytes to {:.60}", answer.len(), frame.to_string());
            client.is_well().await;
        }
    }
}

#[tokio::test]
async fn a_frame_with_two_requests_is_none() {
    let fixture = Fixture::new().await;
    let mut client = fixture.v2().await;
    let (id, event) = (Uuid::new_v4(), event("a").1);
    let (record, get) = (record(id, &event)["RecordEvent"].take(), json!({"trace_id": id}));
    for frame in [
        format!(r#"{{"RecordEvent":{record},"GetTrace":{get}}}"#),
        format!(r#"{{"GetTrace":{get},"RecordEvent":{record}}}"#),
        format!(r#"{{"RecordEvent":{record},"RecordEvent":{record}}}"#),
    ] {
        client.0.send(Message::text(frame)).await.unwrap();
        assert_eq!(client.receive().await["Error"]["code"], "SerializationError");
    }
    assert!(fixture.stored.lock().await.is_empty());
}

#[tokio::test]
async fn an_event_or_an_end_that_is_refused_in_v2_has_a_code() {
    let fixture = Fixture::new().await;
    let end = json!({"EndTrace": {"trace_id": Uuid::nil(), "status": "Running", "request_id": 7}});
    let (mut v1, mut v2) = (fixture.v1().await, fixture.v2().await);
    for frame in [end, record(Uuid::new_v4(), &json!(17))] {
        let mut refused = v2.ask(&frame).await["EventRecorded"].take();
        assert_eq!((&refused["code"], &refused["retryable"]), (&json!("InvalidRequest"), &json!(false)), "{refused}");
        let fields = refused.as_object_mut().unwrap();
        fields.retain(|name, _| name != "code" && name != "retryable");
        assert_eq!(v1.ask(&frame).await, json!({"EventRecorded": fields}), "and in v1 none");
    }
}

#[tokio::test]
async fn a_stored_trace_is_given_up_after_as_many_bad_events_as_a_batch_may_hold() {
    let limits = SessionLimits { max_batch_events: 1_000, ..Default::default() };
    let fixture = Fixture::with(limits, true).await;
    let good = vec![event("a").1; 2_000];
    let mut client = fixture.v1().await;
    for (bad, stored) in [(1_000, true), (5_000, false)] {
        fixture.stored.lock().await.clear();
        let events: Vec<_> = good.iter().cloned().chain(vec![json!(1); bad]).collect();
        let trace = json!({
            "trace_id": Uuid::new_v4(), "flow_id": "f", "execution_id": Uuid::new_v4(), "start_time": "2026-01-01T00:00:00Z",
            "version": {"major": 1, "minor": 2, "patch": 3, "git_hash": null, "timestamp": "2026-01-01T00:00:00Z"},
            "end_time": null, "status": "Completed", "events": events,
            "metadata": {"user_id": null, "session_id": null, "environment": "", "hostname": "", "process_id": 1, "thread_id": "",
                         "tags": {}},
        });
        let refused = client.ask(&json!({"StoreTrace": {"trace": trace}})).await;
        let message = refused["Error"]["message"].as_str().unwrap();
        let said = if stored { "1000 of 3000 events were refused, the others are stored" } else { "nothing is stored" };
        assert!(message.contains(said), "{message}");
        let chunks = fixture.stored.lock().await;
        let kept: usize = chunks.iter().map(|chunk| chunk.header.event_count as usize).sum();
        assert_eq!(kept, if stored { 2_000 } else { 0 });
    }
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_told_and_ends_the_session() {
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
    use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
    let fixture = Fixture::new().await;
    let mut client = fixture.v2().await;
    let frame = Frame::message(vec![b'"', 0xff, b'"'], OpCode::Data(Data::Text), true);
    client.0.send(Message::Frame(frame)).await.unwrap();
    assert_eq!(client.receive().await["Error"]["code"], "SerializationError");
    let Some(Message::Close(Some(CloseFrame { code, .. }))) = client.message().await else { panic!("no goodbye") };
    assert_eq!(code, CloseCode::Size);
}

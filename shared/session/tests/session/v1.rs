//! Protocol v1 as the published client speaks it, and worse.

use std::time::Duration;

use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_session::SessionLimits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::support::{Fixture, PATIENCE, event, record, recorded, start};

#[tokio::test]
async fn random_ids_around_a_late_start_are_one_trace() {
    let fixture = Fixture::new().await;
    let mut client = fixture.v1().await;
    let mut sent = Vec::new();
    let first = Uuid::new_v4();
    for n in 0..50 {
        let (id, event) = event("a");
        sent.push(id);
        client.send(&record(if n == 0 { first } else { Uuid::new_v4() }, &event)).await;
    }
    client.send(&start("network_session_1763900000")).await;
    for _ in 0..50 {
        assert_eq!(client.receive().await, recorded());
    }
    let started = client.receive().await;
    assert_eq!(started["TraceStarted"]["trace_id"], json!(first));
    let (id, event) = event("a");
    sent.push(id);
    assert_eq!(client.ask(&record(Uuid::new_v4(), &event)).await, recorded());
    let traces = fixture.traces().await;
    assert_eq!(traces, [(first, sent)]);
    let stored = fixture.stored.lock().await;
    let last = &stored.last().unwrap().header;
    assert_eq!(last.flow_name.as_deref(), Some("network_session"));
    let ids: usize = stored.iter().map(|chunk| chunk.header.sent_uuids().count()).sum();
    assert_eq!(ids, 50, "every id but the trace's own is kept as sent");
}

#[tokio::test]
async fn answers_wait_for_durability_and_keep_their_order() {
    let fixture = Fixture::new().await;
    fixture.gate.send(false).unwrap();
    let mut client = fixture.v1().await;
    let trace = Uuid::new_v4();
    for _ in 0..3 {
        client.send(&record(trace, &event("a").1)).await;
    }
    client.send(&json!("Ping")).await;
    client.send(&record(trace, &event("b").1)).await;
    let early = tokio::time::timeout(Duration::from_millis(200), client.message()).await;
    assert!(early.is_err(), "answered before it was durable: {early:?}");
    fixture.gate.send(true).unwrap();
    for expected in [recorded(), recorded(), recorded(), json!("Pong"), recorded()] {
        assert_eq!(client.receive().await, expected);
    }
    let stored = fixture.stored.lock().await;
    assert!(stored.len() < 4, "frames were not gathered: {} chunks", stored.len());
}

#[tokio::test]
async fn bad_frames_get_a_reason_and_the_session_goes_on() {
    let fixture = Fixture::new().await;
    let mut client = fixture.v1().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (frame, wanted) in [
        ("not json".to_owned(), "not a request"),
        ("{}".to_owned(), "without a key"),
        (deep, "not a request"),
        ("{\"Nonsense\":{}}".to_owned(), "unknown request `Nonsense`"),
        ("{\"GetTrace\":{\"trace_id\":\"xyz\"}}".to_owned(), "GetTrace"),
        ("{\"RecordEvent\":{\"trace_id\":\"x\",\"event\":{}}}".to_owned(), "RecordEvent"),
        ("{\"Ping\":1,\"Pong\":2}".to_owned(), "more than one key"),
    ] {
        client.0.send_text(&frame).await;
        let answer = client.receive().await;
        let message = answer["Error"]["message"].as_str().unwrap();
        assert!(message.contains(wanted), "{frame:.60}: {message}");
        serde_json::from_value::<reflow_tracing_protocol::TracingResponse>(answer).unwrap();
    }
    let answer = client.ask(&record(Uuid::new_v4(), &json!({"no": "event"}))).await;
    assert_eq!(answer["EventRecorded"]["success"], json!(false));
    assert!(answer["EventRecorded"]["error"].as_str().unwrap().contains("not an event"));
    client.is_well().await;
}

trait SendText {
    async fn send_text(&mut self, text: &str);
}

impl<S: futures_util::Sink<Message> + Unpin> SendText for S
where
    S::Error: std::fmt::Debug,
{
    async fn send_text(&mut self, text: &str) {
        futures_util::SinkExt::send(self, Message::text(text.to_owned())).await.unwrap();
    }
}

#[tokio::test]
async fn compressed_requests_are_read_and_bombs_refused() {
    let limits = SessionLimits { max_decompressed_bytes: 1 << 20, request_codec: Codec::Brotli, ..Default::default() };
    let fixture = Fixture::with(limits, true).await;
    let mut client = fixture.v1().await;
    let frame = record(Uuid::new_v4(), &event("a").1).to_string();
    for codec in [Codec::Zstd, Codec::Gzip, Codec::Lz4, Codec::Brotli] {
        let bytes = codec.compress(frame.as_bytes(), 1).unwrap();
        futures_util::SinkExt::send(&mut client.0, Message::binary(bytes.clone())).await.unwrap();
        assert_eq!(client.receive().await, recorded(), "{codec:?}");
        let cut = bytes[..bytes.len() / 2].to_vec();
        futures_util::SinkExt::send(&mut client.0, Message::binary(cut)).await.unwrap();
        assert!(client.receive().await["Error"]["message"].is_string(), "{codec:?}");
        let bomb = codec.compress(&vec![b' '; 8 << 20], 1).unwrap();
        futures_util::SinkExt::send(&mut client.0, Message::binary(bomb)).await.unwrap();
        let refused = client.receive().await;
        assert!(refused["Error"]["message"].as_str().unwrap().contains("max_decompressed_bytes"), "{refused}");
    }
    client.is_well().await;
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_by_name_and_what_came_before_is_kept() {
    let limits = SessionLimits { max_frame_bytes: 100_000, ..Default::default() };
    let fixture = Fixture::with(limits, true).await;
    let mut client = fixture.v1().await;
    client.send(&record(Uuid::new_v4(), &event("a").1)).await;
    // The server hangs up in the middle of it.
    let _ = futures_util::SinkExt::send(&mut client.0, Message::text("x".repeat(200_000))).await;
    assert_eq!(client.receive().await, recorded());
    let refused = client.receive().await;
    assert!(refused["Error"]["message"].as_str().unwrap().contains("max_frame_bytes"), "{refused}");
    assert!(matches!(client.message().await, Some(Message::Close(_)) | None));
}

#[tokio::test]
async fn a_peer_that_goes_marks_its_traces_and_a_server_that_stops_does_not() {
    let fixture = Fixture::new().await;
    let trace = Uuid::new_v4();
    let mut client = fixture.v1().await;
    client.ask(&record(trace, &event("a").1)).await;
    drop(client);
    let marked = async {
        loop {
            if fixture.stored.lock().await.iter().any(|chunk| chunk.header.closed_us.is_some()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, marked).await.expect("no close mark");
    let mut other = fixture.v1().await;
    other.ask(&record(Uuid::new_v4(), &event("a").1)).await;
    fixture.stop.cancel();
    let close = other.message().await;
    assert!(matches!(&close, Some(Message::Close(Some(frame))) if u16::from(frame.code) == 1001), "{close:?}");
    assert_eq!(fixture.served.await.unwrap().sessions_cut, 0);
    let marks = fixture.stored.lock().await.iter().filter(|chunk| chunk.header.closed_us.is_some()).count();
    assert_eq!(marks, 1);
}

#[tokio::test]
async fn a_drain_answers_what_has_arrived() {
    let fixture = Fixture::new().await;
    fixture.gate.send(false).unwrap();
    let mut client = fixture.v1().await;
    client.is_well().await;
    for _ in 0..100 {
        client.send(&record(Uuid::new_v4(), &event("a").1)).await;
    }
    fixture.stop.cancel();
    fixture.gate.send(true).unwrap();
    let mut acked = 0;
    while let Some(Message::Text(text)) = client.message().await {
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), recorded());
        acked += 1;
    }
    let stored: usize = fixture.traces().await.iter().map(|(_, events)| events.len()).sum();
    assert_eq!(acked, stored);
    assert_eq!(acked, 100);
}

/// A whole trace as the older generation stores it, with a tag of so many bytes.
fn whole_trace(trace_id: Uuid, events: usize, tag_bytes: usize) -> serde_json::Value {
    let events: Vec<_> = (0..events).map(|_| event("a").1).collect();
    json!({
        "trace_id": trace_id, "flow_id": "f", "execution_id": Uuid::new_v4(), "start_time": "2026-01-01T00:00:00Z",
        "version": {"major": 1, "minor": 2, "patch": 3, "git_hash": null, "timestamp": "2026-01-01T00:00:00Z"},
        "end_time": null, "status": "Completed", "events": events,
        "metadata": {"user_id": null, "session_id": null, "environment": "e", "hostname": "h", "process_id": 1,
                     "thread_id": "t", "tags": {"tag": "x".repeat(tag_bytes)}},
    })
}

#[tokio::test]
async fn metadata_are_kept_once_and_too_large_ones_are_refused_by_name() {
    let fixture = Fixture::new().await;
    let mut client = fixture.v1().await;
    for events in [0, 1, 600] {
        let trace = whole_trace(Uuid::new_v4(), events, 1_500_000);
        let refused = client.ask(&json!({"StoreTrace": {"trace": trace}})).await;
        let message = refused["Error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("metadata") && message.contains("65536"), "{refused}");
    }
    assert_eq!(fixture.stored.lock().await.len(), 0);
    for (events, chunks) in [(0, 1), (1, 1), (1_200, 3)] {
        let trace_id = Uuid::new_v4();
        let trace = whole_trace(trace_id, events, 60_000);
        let answer = client.ask(&json!({"StoreTrace": {"trace": trace}})).await;
        assert_eq!(answer, json!({"TraceStored": {"trace_id": trace_id}}));
        let mut stored = fixture.stored.lock().await;
        assert_eq!(stored.len(), chunks, "{events} events");
        assert_eq!(stored.iter().filter(|chunk| chunk.header.metadata_json.is_some()).count(), 1, "{events} events");
        assert_eq!(stored.iter().map(|chunk| chunk.header.event_count as usize).sum::<usize>(), events);
        stored.clear();
    }
}

#[tokio::test]
async fn a_trace_whose_events_are_all_refused_is_never_begun() {
    let fixture = Fixture::new().await;
    let bad = json!({"event_id": "not a uuid"});
    let mut client = fixture.v1().await;
    let refused = client.ask(&record(Uuid::new_v4(), &bad)).await;
    assert_eq!(refused["EventRecorded"]["success"], json!(false), "{refused}");
    drop(client);
    let mut older = fixture.v1().await;
    let mut trace = whole_trace(Uuid::new_v4(), 0, 0);
    trace["events"] = json!([bad, bad]);
    let refused = older.ask(&json!({"StoreTrace": {"trace": trace}})).await;
    let message = refused["Error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("2 of 2") && message.contains("nothing is stored"), "{refused}");
    drop(older);
    // What is said of the traces of a session that has gone is said before it is counted.
    fixture.becomes(r#"reflow_session_ended_total{reason="peer"}"#, 2.0).await;
    assert_eq!(fixture.stored.lock().await.len(), 0);

    // Beside a good event a bad one changes nothing.
    let mut client = fixture.v1().await;
    let trace_id = Uuid::new_v4();
    client.ask(&record(trace_id, &bad)).await;
    assert_eq!(client.ask(&record(Uuid::new_v4(), &event("a").1)).await, recorded());
    client.ask(&record(Uuid::new_v4(), &bad)).await;
    drop(client);
    fixture.becomes(r#"reflow_session_ended_total{reason="peer"}"#, 3.0).await;
    let stored = fixture.stored.lock().await;
    let told: Vec<_> = stored
        .iter()
        .map(|chunk| (chunk.header.trace_uuid(), chunk.header.event_count, chunk.header.closed_us))
        .collect();
    assert!(
        matches!(told[..], [(one, 1, None), (other, 0, Some(_))] if one == trace_id && other == trace_id),
        "{told:?}"
    );
}

#[tokio::test]
async fn the_end_of_an_id_that_was_adopted_ends_the_trace_its_event_is_in() {
    let fixture = Fixture::new().await;
    let mut client = fixture.v1().await;
    let ids = [Uuid::new_v4(), Uuid::new_v4()];
    for id in ids {
        assert_eq!(client.ask(&record(id, &event("a").1)).await, recorded());
    }
    let end = json!({"EndTrace": {"trace_id": ids[1], "status": "Cancelled"}});
    assert_eq!(client.ask(&end).await, recorded());
    let stored = fixture.stored.lock().await;
    assert!(stored.iter().all(|chunk| chunk.header.trace_uuid() == ids[0]));
    assert_eq!(stored.iter().map(|chunk| chunk.header.ended.is_some()).collect::<Vec<_>>(), [false, false, true]);
}

#[tokio::test]
async fn both_older_requests_and_ends_are_answered() {
    let fixture = Fixture::new().await;
    let mut client = fixture.v1().await;
    assert_eq!(client.ask(&json!("GetMetrics")).await, json!({"Metrics": {"data": {"answer": 42}}}));
    let trace_id = Uuid::new_v4();
    let trace = whole_trace(trace_id, 600, 0);
    for _ in 0..2 {
        let answer = client.ask(&json!({"StoreTrace": {"trace": trace}})).await;
        assert_eq!(answer, json!({"TraceStored": {"trace_id": trace_id}}));
    }
    let stored = fixture.stored.lock().await;
    let ids: Vec<_> = stored.iter().map(|chunk| chunk.header.chunk_uuid()).collect();
    assert_eq!(ids.len(), 4);
    assert_eq!(ids[..2], ids[2..], "the same slices have the same ids");
    drop(stored);
    let end = json!({"EndTrace": {"trace_id": trace_id, "status": {"Failed": {"error": "x"}}}});
    assert_eq!(client.ask(&end).await, recorded());
    let refused = client.ask(&json!({"EndTrace": {"trace_id": trace_id, "status": "Running"}})).await;
    assert_eq!(refused["EventRecorded"]["success"], json!(false));
}

#[tokio::test]
async fn a_plain_get_shows_a_page_and_a_full_house_says_so() {
    let limits =
        SessionLimits { max_connections: 1, metrics_address: "http://m:9090/metrics".into(), ..Default::default() };
    let fixture = Fixture::with(limits, true).await;
    let page = get(&fixture.address, "/").await;
    for part in ["200 OK", "reflow-test", &format!("ws://{}/", fixture.address), "http://m:9090/metrics"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(get(&fixture.address, "/nothing").await.contains("404"));
    let client = fixture.v1().await;
    let refused = get(&fixture.address, "/").await;
    assert!(refused.contains("503") && refused.contains("max_connections"), "{refused}");
    drop(client);
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

#[tokio::test]
async fn a_service_without_ingest_says_who_takes_events() {
    let fixture = Fixture::with(SessionLimits::default(), false).await;
    let mut client = fixture.v1().await;
    let refused = client.ask(&record(Uuid::new_v4(), &event("a").1)).await;
    assert!(refused["EventRecorded"]["error"].as_str().unwrap().contains("reflow-collector"));
    let refused = client.ask(&start("f")).await;
    assert!(refused["Error"]["message"].as_str().unwrap().contains("reflow-collector"));
    let end = json!({"EndTrace": {"trace_id": Uuid::nil(), "status": "Completed", "request_id": "end"}});
    for (mut client, code) in [(client, Value::Null), (fixture.v2().await, json!("Unsupported"))] {
        let refused = client.ask(&end).await["EventRecorded"].take();
        assert_eq!((&refused["success"], &refused["request_id"]), (&json!(false), &json!("end")), "{refused}");
        assert_eq!(refused["code"], code, "{refused}");
    }
}

#[tokio::test]
async fn a_goodbye_is_answered() {
    let fixture = Fixture::new().await;
    for mut client in [fixture.v1().await, fixture.v2().await] {
        client.is_well().await;
        client.0.close(None).await.unwrap();
        assert_eq!(client.message().await, Some(Message::Close(None)));
        assert_eq!(client.message().await, None, "and the connection ends");
    }
}

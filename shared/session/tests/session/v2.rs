//! Protocol v2: batches, as text and as binary frames.

use futures_util::SinkExt;
use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_protocol::wire::{BatchFrame, BatchHeader};
use reflow_tracing_session::SessionLimits;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::support::{Client, Fixture, event};

fn header(trace_id: Uuid, raw: &str, codec: Codec) -> BatchHeader {
    BatchHeader {
        batch_id: Uuid::now_v7(),
        trace_id,
        flow_id: Some("orders_123456789".into()),
        flow_name: None,
        client_id: "c".into(),
        sequence: 0,
        dropped: 0,
        codec,
        raw_size: raw.len() as u32,
    }
}

async fn send_batch(client: &mut Client, header: &BatchHeader, payload: &[u8]) -> Value {
    let frame = BatchFrame { header: header.clone(), payload }.encode();
    client.0.send(Message::binary(frame)).await.unwrap();
    client.receive().await
}

fn array(count: usize) -> (Vec<Uuid>, String) {
    let (ids, events): (Vec<_>, Vec<_>) = (0..count).map(|_| event("a")).unzip();
    (ids, Value::Array(events).to_string())
}

#[tokio::test]
async fn the_clients_bytes_are_the_chunks_payload() {
    let fixture = Fixture::new().await;
    let mut client = fixture.v2().await;
    for codec in [Codec::Zstd, Codec::Gzip, Codec::Lz4, Codec::Brotli] {
        let (ids, raw) = array(20);
        let payload = codec.compress(raw.as_bytes(), 1).unwrap();
        let header = header(Uuid::new_v4(), &raw, codec);
        let answer = send_batch(&mut client, &header, &payload).await;
        let expected = json!({"BatchRecorded":
            {"batch_id": header.batch_id, "accepted": 20, "rejected": [], "durable": true}});
        assert_eq!(answer, expected);
        let stored = fixture.stored.lock().await;
        let chunk = stored.last().unwrap();
        assert_eq!(chunk.payload, payload);
        assert_eq!(chunk.header.chunk_uuid(), header.batch_id);
        assert_eq!(chunk.header.flow_name.as_deref(), Some("orders"));
        drop(stored);
        assert_eq!(fixture.traces().await.last().unwrap(), &(header.trace_id, ids));
    }
}

#[tokio::test]
async fn a_bad_event_never_costs_the_good_ones_beside_it() {
    let fixture = Fixture::new().await;
    let mut client = fixture.v2().await;
    let (good, one) = event("a");
    let (other, two) = event("b");
    let batch_id = Uuid::now_v7();
    let frame = json!({"RecordBatch": {"batch_id": batch_id, "trace_id": Uuid::new_v4(), "client_id": "c",
        "sequence": 0, "dropped": 0, "events": [one, {"bad": true}, two]}});
    for _ in 0..2 {
        let answer = client.ask(&frame).await;
        let recorded = &answer["BatchRecorded"];
        assert_eq!((&recorded["accepted"], &recorded["rejected"][0]["index"]), (&json!(2), &json!(1)));
        assert!(recorded["rejected"][0]["reason"].as_str().unwrap().contains("not an event"));
    }
    assert_eq!(fixture.traces().await[0].1, [good, other, good, other]);
    let stored = fixture.stored.lock().await;
    assert!(stored.iter().all(|chunk| chunk.header.chunk_uuid() == batch_id));
    assert_eq!(stored[0].header.client.as_ref().unwrap().rejected, 1);
}

#[tokio::test]
async fn limits_are_named_and_the_session_goes_on() {
    let limits = SessionLimits {
        max_batch_events: 10,
        max_chunk_bytes: 3_000,
        max_decompressed_bytes: 1 << 20,
        ..Default::default()
    };
    let fixture = Fixture::with(limits, true).await;
    let mut client = fixture.v2().await;
    let (_, raw) = array(11);
    let answer = send_batch(&mut client, &header(Uuid::new_v4(), &raw, Codec::None), raw.as_bytes()).await;
    assert!(answer["Error"]["message"].as_str().unwrap().contains("max_batch_events"), "{answer}");
    let (_, raw) = array(9);
    let header_9 = header(Uuid::new_v4(), &raw, Codec::Lz4);
    let payload = Codec::Lz4.compress(raw.as_bytes(), 0).unwrap();
    let large: Vec<u8> = payload.into_iter().chain(vec![0; 3_000]).collect();
    let answer = send_batch(&mut client, &header_9, &large).await;
    assert_eq!(answer, json!({"BatchTooLarge": {"batch_id": header_9.batch_id, "max": 3_000}}));
    let bomb = Codec::Zstd.compress(&vec![b' '; 900_000], 1).unwrap();
    let mut lying = header(Uuid::new_v4(), "", Codec::Zstd);
    lying.raw_size = 100;
    let answer = send_batch(&mut client, &lying, &bomb).await;
    assert_eq!(answer["Error"]["batch_id"], json!(lying.batch_id));
    assert!(answer["Error"]["message"].as_str().unwrap().contains("raw_size"), "{answer}");
    lying.raw_size = 2 << 20;
    let answer = send_batch(&mut client, &lying, &bomb).await;
    assert_eq!(answer["Error"]["code"], json!("LimitExceeded"), "{answer}");
    let mut garbage = b"RFB2".to_vec();
    garbage.extend([0xff; 20]);
    client.0.send(Message::binary(garbage)).await.unwrap();
    assert!(client.receive().await["Error"]["message"].as_str().unwrap().contains("batch frame"));
    client.is_well().await;
    assert!(fixture.stored.lock().await.is_empty());
}

#[tokio::test]
async fn many_batches_in_flight_are_answered_in_order() {
    let limits = SessionLimits { max_chunks_in_flight: 4, ..Default::default() };
    let fixture = Fixture::with(limits, true).await;
    let mut client = fixture.v2().await;
    let (_, raw) = array(5);
    let headers: Vec<_> = (0..40).map(|_| header(Uuid::new_v4(), &raw, Codec::None)).collect();
    for header in &headers {
        let frame = BatchFrame { header: header.clone(), payload: raw.as_bytes() }.encode();
        client.0.send(Message::binary(frame)).await.unwrap();
    }
    for header in &headers {
        assert_eq!(client.receive().await["BatchRecorded"]["batch_id"], json!(header.batch_id));
    }
}

#[tokio::test]
async fn a_client_may_say_what_its_flow_is_grouped_by() {
    let fixture = Fixture::new().await;
    let mut client = fixture.v2().await;
    let (_, raw) = array(1);
    let mut header = header(Uuid::new_v4(), &raw, Codec::None);
    header.flow_name = Some("shop".into());
    send_batch(&mut client, &header, raw.as_bytes()).await;
    let trace_id = Uuid::new_v4();
    let start =
        json!({"StartTrace": {"trace_id": trace_id, "flow_id": "network_session_1763900000", "flow_name": "shop"}});
    assert_eq!(client.ask(&start).await["TraceStarted"]["trace_id"], json!(trace_id));
    let stored = fixture.stored.lock().await;
    let flows: Vec<_> =
        stored.iter().map(|chunk| (chunk.header.flow_id.as_deref(), chunk.header.flow_name.as_deref())).collect();
    let expected = [(Some("orders_123456789"), Some("shop")), (Some("network_session_1763900000"), Some("shop"))];
    assert_eq!(flows, expected);
    drop(stored);
    header.flow_name = Some("x".repeat(600));
    let answer = send_batch(&mut client, &header, raw.as_bytes()).await;
    assert!(answer["Error"]["message"].as_str().unwrap().contains("flow_name"), "{answer}");
}

//! Properties of chunks: what goes in comes out, bad events cost nobody, merging is indifferent to order and repetition, and
//! no bytes whatever make a decoder panic.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use reflow_tracing_chunk::{
    Chunk, ChunkBuilder, EventKind, Header, KindSet, LeftOut, Origin, Rejected, V1Rewrite, decode_events, merge,
};
use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_protocol::{TraceEvent, TraceEventType};
use uuid::Uuid;

fn builder(trace: u128) -> ChunkBuilder {
    ChunkBuilder::new(Uuid::now_v7(), Uuid::from_u128(trace), "default", 1_000, Origin::V1Session)
}

fn json(event: &TraceEvent) -> String {
    serde_json::to_string(event).unwrap()
}

fn flow(n: usize) -> TraceEvent {
    let to = format!("to{}", n % 3);
    TraceEvent::data_flow("from".into(), "out".into(), to, "in".into(), "Text".into(), 10)
}

fn chunk_of(events: &[TraceEvent]) -> Chunk {
    let mut chunk = builder(7);
    events.iter().for_each(|event| chunk.push_event(&json(event)).unwrap());
    chunk.build(Codec::Zstd, 1).unwrap()
}

#[test]
fn header_tells_what_is_inside() {
    let mut failed = TraceEvent::actor_failed("bad".into(), "boom\0".into());
    failed.data.performance_metrics.execution_time_ns = 1_500;
    let events = [flow(0), flow(1), flow(0), failed, TraceEvent::actor_created("bad".into())];
    let header = chunk_of(&events).header;
    assert_eq!((header.event_count, header.failures), (5, 1));
    let kinds: Vec<_> = KindSet(header.event_types).iter().collect();
    assert_eq!(kinds, [EventKind::ActorCreated, EventKind::ActorFailed, EventKind::DataFlow]);
    assert_eq!(header.first_error.unwrap().message, "boom\u{2400}");
    let edges: Vec<_> = header.edges.iter().map(|edge| (edge.to_actor.as_str(), edge.count, edge.bytes)).collect();
    assert_eq!(edges, [("to0", 2, 20), ("to1", 1, 10)]);
    let bad = &header.actors[0];
    assert_eq!((bad.actor.as_str(), bad.events, bad.failures), ("bad", 2, 1));
    assert_eq!(bad.time.as_ref().map(|time| (time.count, time.max_ns)), Some((1, 1_500)), "zeros are not measurements");
}

#[test]
fn sampled_events_say_what_was_left_out_beside_them() {
    let sampled = |mut event: TraceEvent, rate: serde_json::Value| {
        event.data.performance_metrics.execution_time_ns = 500;
        event.data.custom_attributes.insert("sample_rate".into(), rate);
        event
    };
    let sent = || TraceEvent::message_sent("from".into(), "out".into(), "Text".into(), 40);
    let header = chunk_of(&[
        sampled(flow(0), 0.1.into()),
        sampled(flow(0), 0.25.into()),
        flow(0),
        sampled(sent(), 0.5.into()),
        // None of these is a chance.
        sampled(flow(1), 1.into()),
        sampled(flow(1), "0.1".into()),
    ])
    .header;
    let told = |left_out: Option<LeftOut>| left_out.map(|told| (told.events_milli, told.bytes, told.time_ns));
    let edges: Vec<_> = header.edges.iter().map(|edge| (edge.count, edge.bytes, told(edge.left_out))).collect();
    assert_eq!(edges, [(3, 30, Some((12_000, 90 + 30, 4_500 + 1_500))), (2, 20, None)]);
    let [actor] = &header.actors[..] else { panic!("one actor") };
    assert_eq!((actor.events, actor.bytes), (6, 40), "counts say what is there");
    assert_eq!(told(actor.left_out), Some((13_000, 40, 6_500)), "bytes of flows are the edge's");
    assert_eq!((header.event_count, header.left_out().events()), (6, 13));
}

#[test]
fn figures_of_the_published_client_are_not_measurements() {
    let event = TraceEvent::data_flow("a".into(), "o".into(), "b".into(), "i".into(), "Discriminant(5)".into(), 40);
    let header = chunk_of(&[event]).header;
    assert_eq!(header.edges[0].bytes, 0);
    assert_eq!(header.edges[0].time, None);
    assert_eq!(header.actors[0].time, None);
}

#[test]
fn a_bad_event_costs_nobody() {
    let good = [json(&flow(0)), json(&flow(1))];
    let long = json(&TraceEvent::actor_created("x".repeat(600)));
    let array = format!("[{},{{\"no\":1}},{},{}]", good[0], long, good[1]);
    let mut builder = builder(1);
    let rejected = builder.push_array(&array, 10).unwrap();
    assert_eq!(rejected.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2]);
    assert!(matches!(rejected[1].1, Rejected::Name { field: "actor_id", bytes: 600 }));
    let chunk = builder.build(Codec::Zstd, 1).unwrap();
    let events = decode_events(&chunk.header, &chunk.payload).unwrap();
    assert_eq!(events.iter().map(|(_, raw)| raw.to_owned()).collect::<Vec<_>>(), good);
}

#[test]
fn the_same_array_sent_again_gives_the_same_answer() {
    let array = format!("[{},17]", json(&flow(0)));
    let answers: Vec<_> = (0..2).map(|_| format!("{:?}", builder(1).push_array(&array, 10).unwrap())).collect();
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn events_with_nulls_are_rewritten_for_a_v1_reader_alone() {
    let raw = json(&flow(0)).replace("\"execution_time_ns\":0", "\"execution_time_ns\":null");
    let mut builder = builder(1);
    builder.push_event(&raw).unwrap();
    let chunk = builder.build(Codec::Lz4, 0).unwrap();
    assert!(chunk.header.needs_v1_rewrite);
    let events = decode_events(&chunk.header, &chunk.payload).unwrap();
    let (_, stored) = events.iter().next().unwrap();
    assert_eq!(stored, raw);
    let v1 = V1Rewrite::of(&chunk.header).apply(stored).unwrap();
    let event: TraceEvent = serde_json::from_str(&v1).unwrap();
    assert_eq!(event.data.performance_metrics.execution_time_ns, 0);
    assert!(matches!(event.event_type, TraceEventType::DataFlow { .. }));
}

#[test]
fn stored_events_are_found_however_they_are_written() {
    let usual = json(&flow(0));
    let id = Uuid::new_v4();
    // As no client writes it, and what only a build with other rules would have taken.
    let unusual = format!(r#"{{ "timestamp": "2026-11-23T14:52:45+01:00", "more": [1], "event_id": "{id}" }}"#);
    let text = format!("[{usual},\n {unusual} ]");
    let mut builder = builder(1);
    builder.push_event(&usual).unwrap();
    let plain = builder.build(Codec::None, 0).unwrap().header;
    let header = Header { event_count: 2, raw_size: text.len() as u32, ..plain };
    let events = decode_events(&header, &Bytes::from(text)).unwrap();
    assert_eq!(events.iter().map(|(_, raw)| raw).collect::<Vec<_>>(), [&usual, &unusual]);
    assert_eq!((events.index()[1].event_id, events.index()[1].at_us), (id, 1_795_441_965_000_000));
}

#[test]
fn a_header_of_a_newer_version_is_refused_and_unknown_fields_are_skipped() {
    let chunk = chunk_of(&[flow(0)]);
    let mut newer = chunk.clone();
    newer.header.version += 1;
    assert!(Chunk::decode(newer.encode()).is_err());
    let mut bytes = chunk.header.to_bytes();
    // Field 2047, a varint: nothing this version knows.
    bytes.extend([0xf8, 0x7f, 0x05]);
    assert_eq!(Header::from_bytes(&bytes).unwrap(), chunk.header);
}

fn ids(chunks: &[Chunk]) -> BTreeSet<Uuid> {
    let events = chunks.iter().map(|chunk| decode_events(&chunk.header, &chunk.payload).unwrap());
    events.flat_map(|events| events.index().iter().map(|event| event.event_id).collect::<Vec<_>>()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn merging_is_indifferent_to_order_and_repetition(
        sizes in prop::collection::vec(1_usize..6, 1..6),
        repeats in prop::collection::vec(0_usize..5, 0..5),
        seed: u64,
    ) {
        let mut chunks: Vec<Chunk> =
            sizes.iter().map(|size| chunk_of(&(0..*size).map(flow).collect::<Vec<_>>())).collect();
        let all = ids(&chunks);
        let distinct = chunks.len();
        for repeat in repeats {
            chunks.push(chunks[repeat % distinct].clone());
        }
        let straight = merge(&chunks, 3_000).unwrap();
        let turn = seed as usize % chunks.len();
        chunks.rotate_left(turn);
        let turned = merge(&chunks, 3_000).unwrap();
        for merged in [&straight, &turned] {
            prop_assert_eq!(ids(&merged.chunks), all.clone());
            prop_assert_eq!(merged.events as usize, all.len());
            let count: u32 = merged.chunks.iter().map(|chunk| chunk.header.event_count).sum();
            prop_assert_eq!(count as usize, all.len());
        }
    }

    #[test]
    fn what_was_encoded_is_decoded(count in 0_usize..20) {
        let chunk = chunk_of(&(0..count).map(flow).collect::<Vec<_>>());
        let message = chunk.encode();
        prop_assert_eq!(message.len(), chunk.encoded_len());
        prop_assert_eq!(Chunk::decode(message).unwrap(), chunk);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, length: u8) {
        let _ = Chunk::decode(Bytes::from(bytes.clone()));
        let framed = [&b"RFC1"[..], &u32::from(length).to_le_bytes(), &bytes].concat();
        if let Ok(chunk) = Chunk::decode(Bytes::from(framed)) {
            let _ = decode_events(&chunk.header, &chunk.payload);
        }
    }

    #[test]
    fn a_damaged_chunk_never_panics(at: prop::sample::Index, bit in 0_u8..8) {
        let mut bytes = chunk_of(&[flow(0), flow(1)]).encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(chunk) = Chunk::decode(Bytes::from(bytes)) {
            let _ = decode_events(&chunk.header, &chunk.payload);
        }
    }

    #[test]
    fn arbitrary_text_is_never_taken_for_an_event_by_mistake(text: String) {
        let taken = builder(1).push_event(&text).is_ok();
        prop_assert_eq!(taken, serde_json::from_str::<TraceEvent>(&text).is_ok());
    }
}

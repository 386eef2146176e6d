//! What sampling left out, beside what is counted.

use reflow_tracing_chunk::{Chunk, ChunkBuilder, Origin};
use reflow_tracing_protocol::TraceEvent;
use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_store::{RollupKind, RollupQuery, RollupRow, Store};
use serde_json::json;

use crate::support::*;

const FLOW: &str = "sampled";

fn sent() -> TraceEvent {
    TraceEvent::message_sent("a".into(), "out".into(), "Text".into(), 100)
}

fn flowed() -> TraceEvent {
    TraceEvent::data_flow("a".into(), "out".into(), "b".into(), "in".into(), "Text".into(), 10)
}

fn recorded(chunk: u128, origin: Origin, events: &[TraceEvent]) -> Chunk {
    let mut builder = ChunkBuilder::new(id(chunk), id(1), TENANT, T0, origin);
    for event in events {
        builder.push_event(&serde_json::to_string(event).expect("serialises")).expect("a valid event");
    }
    builder.build(Codec::Zstd, 1).expect("a chunk").flow(FLOW, FLOW)
}

fn times(count: usize, rate: f64, event: fn() -> TraceEvent) -> Vec<TraceEvent> {
    let sampled = || {
        let mut event = event();
        event.data.custom_attributes.insert("sample_rate".into(), json!(rate));
        event
    };
    (0..count).map(|_| sampled()).collect()
}

/// Count and estimate of what was left out: events and bytes.
fn told(row: &RollupRow) -> [u64; 4] {
    [row.count, row.left_out.events(), row.bytes, row.left_out.bytes]
}

async fn ask(store: &dyn Store, kind: RollupKind) -> Vec<RollupRow> {
    let (tenant, to_us) = (TENANT.to_owned(), T0 + HOUR);
    store
        .rollups(&RollupQuery { tenant, kind, flow_name: None, from_us: T0, to_us, by_minute: false })
        .await
        .expect("answers")
}

/// A tenth of the messages was recorded, three tenths of what flowed, and a failure whole.
pub async fn what_was_left_out_stands_beside_what_is_counted(db: &impl Fixture) {
    let store = db.open().await;
    let messages = recorded(11, Origin::V2Batch, &times(30, 0.1, sent));
    let mut others = times(30, 0.3, flowed);
    others.push(TraceEvent::actor_failed("a".into(), "boom".into()));
    let others = recorded(12, Origin::V2Batch, &others);
    for call in [vec![others.clone(), messages.clone()], vec![messages, others]] {
        commit(&*store, &call, T0).await;
    }

    let trace = summary(&*store, 1, T0).await;
    assert_eq!((trace.event_count, trace.stored_events, trace.left_out), (61, 61, 270 + 70));
    // 24 of a message of 10 bytes that stands for 3.333 would be 23.33: measures are rounded one by one.
    assert_eq!(ask(&*store, RollupKind::Edge).await.iter().map(told).collect::<Vec<_>>(), [[30, 70, 300, 690]]);
    for kind in [RollupKind::Flow, RollupKind::Actor] {
        let rows = ask(&*store, kind).await;
        assert_eq!(rows.iter().map(told).collect::<Vec<_>>(), [[61, 340, 3_000, 27_000]], "{kind:?}");
    }
    let actors = store.trace_actors(TENANT, id(1)).await.expect("answers");
    assert_eq!((actors.len(), actors[0].events, actors[0].left_out.events()), (1, 61, 340));
}

pub async fn doubles_stand_for_nothing_more_once_they_are_found(db: &impl Fixture) {
    let store = db.open().await;
    let events = times(20, 0.25, sent);
    let chunks = [recorded(11, Origin::V1Session, &events), recorded(12, Origin::V1Session, &events[..5])];
    commit(&*store, &chunks, T0).await;
    let trace = summary(&*store, 1, T0).await;
    assert_eq!((trace.event_count, trace.left_out), (25, 75));
    let later = T0 + HOUR;
    assert_eq!(store.compact(&compact_policy(later), later).await.expect("compacts").duplicate_events, 5);
    let trace = summary(&*store, 1, later).await;
    assert_eq!((trace.event_count, trace.left_out, trace.exact), (20, 60, true));
    let [chunk] = &all_chunks(&*store, 1, 1 << 20).await[..] else { panic!("one chunk") };
    assert_eq!(chunk.header.left_out().events(), 60);
}

//! Counts that stay true, and memory that stays bounded.

use super::*;
use crate::client::batch::Body;
use crate::codec::Codec;
use crate::wire::BatchFrame;

const MAKING: Making<'_> = Making { client_id: "c", codec: Codec::None, level: 0 };

fn traces() -> Traces {
    Traces::new(Arc::default())
}

fn push(traces: &mut Traces, trace_id: Uuid) {
    traces.push(trace_id, &TraceEvent::actor_created("a".into())).unwrap();
}

/// Whose batch it is, and what it tells of the events before it.
fn seal(traces: &mut Traces, trace_id: Uuid) -> (String, u64, u64) {
    let Body::Frame(frame) = traces.seal(trace_id, &MAKING, 0).body else { panic!("no batch") };
    let header = BatchFrame::decode(&frame).unwrap().header;
    (header.client_id, header.sequence, header.dropped)
}

#[test]
fn the_last_batch_tells_what_was_recorded_and_dropped() {
    let mut traces = traces();
    let id = Uuid::now_v7();
    let sealed = |traces: &mut Traces, events: usize| {
        (0..events).for_each(|_| push(traces, id));
        let (_, sequence, dropped) = seal(traces, id);
        (sequence, dropped)
    };
    assert_eq!(sealed(&mut traces, 10), (0, 0));
    traces.book(HashMap::from([(id, Drops { events: 5, batched: 10 })]));
    assert_eq!(traces.unreported(), [id]);
    assert_eq!(sealed(&mut traces, 3), (15, 15));
    assert!(traces.unreported().is_empty());
    assert_eq!(sealed(&mut traces, 0), (18, 15));
}

#[test]
fn a_trace_with_a_failure_ends_as_failed() {
    let mut traces = traces();
    let id = Uuid::now_v7();
    traces.get(id).own = true;
    assert!(traces.open().is_empty());
    traces.get(id).started = true;
    assert_eq!(traces.open(), [(id, ExecutionStatus::Completed)]);
    traces.push(id, &TraceEvent::actor_failed("a".into(), "first".into())).unwrap();
    traces.push(id, &TraceEvent::actor_failed("a".into(), "second".into())).unwrap();
    assert_eq!(traces.open(), [(id, ExecutionStatus::Failed { error: "first".into() })]);
    traces.get(id).ended = true;
    assert!(traces.open().is_empty());
}

#[test]
fn whatever_traces_there_are_they_are_bounded_and_open_ones_are_kept_longest() {
    let mut traces = traces();
    let (open, growing) = (Uuid::now_v7(), Uuid::now_v7());
    traces.get(open).own = true;
    push(&mut traces, growing);
    for _ in 0..3 * MAX_TRACES {
        let ended = Uuid::new_v4();
        let trace = traces.get(ended);
        (trace.own, trace.ended) = (true, true);
    }
    assert!(traces.known.len() <= MAX_TRACES && traces.known.contains_key(&open));
    for _ in 0..3 * MAX_TRACES {
        traces.get(Uuid::new_v4()).own = true;
    }
    assert!(traces.known.len() <= MAX_TRACES && !traces.known.contains_key(&open));
    assert_eq!(traces.growing_ids(), [growing]);
    assert_eq!(traces.abandon().len(), 1);
}

#[test]
fn a_trace_in_use_is_not_forgotten_for_idle_ones() {
    let mut traces = traces();
    let id = Uuid::now_v7();
    for _ in 0..3 * MAX_TRACES {
        push(&mut traces, id);
        seal(&mut traces, id);
        traces.get(Uuid::new_v4());
    }
    assert_eq!(seal(&mut traces, id), ("c".to_owned(), 3 * MAX_TRACES as u64, 0));
}

#[test]
fn an_event_that_comes_late_to_a_forgotten_trace_is_counted_apart() {
    let generations = Arc::<AtomicU64>::default();
    let mut traces = Traces::new(Arc::clone(&generations));
    let id = Uuid::now_v7();
    push(&mut traces, id);
    assert_eq!(seal(&mut traces, id), ("c".to_owned(), 0, 0));
    (0..MAX_TRACES).for_each(|_| {
        traces.get(Uuid::new_v4());
    });
    push(&mut traces, id);
    assert_eq!(seal(&mut traces, id), ("c.1".to_owned(), 0, 0));
    push(&mut traces, id);
    assert_eq!(seal(&mut traces, id), ("c.1".to_owned(), 1, 0));
    // So is one that comes to another background of the same client.
    let mut next = Traces::new(generations);
    push(&mut next, id);
    assert_eq!(seal(&mut next, id), ("c.2".to_owned(), 0, 0));
}

#[test]
fn a_trace_keeps_no_memory_of_the_batches_it_has_made() {
    let mut traces = traces();
    for _ in 0..100 {
        let id = Uuid::new_v4();
        (0..1_000).for_each(|_| push(&mut traces, id));
        seal(&mut traces, id);
    }
    let kept: usize = traces.known.values().map(|trace| trace.builder.capacity()).sum();
    assert!(kept == 0 && (1..=MAX_SPARE_BYTES).contains(&traces.spare.capacity()), "{kept}");
}

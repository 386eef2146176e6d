//! Compaction: fewer rows, exact counts, nothing else changed.

use bytes::Bytes;
use reflow_tracing_chunk::{Chunk, EndStatus, Origin, decode_events};
use reflow_tracing_store::{CompactOutcome, CompactPolicy, RollupKind, RollupQuery, Store};

use crate::support::*;

const LATER: i64 = T0 + HOUR;

async fn compact(store: &dyn Store, now_us: i64) -> CompactOutcome {
    store.compact(&compact_policy(now_us), now_us).await.expect("compacts")
}

async fn event_ids(store: &dyn Store, trace: u128) -> Vec<u128> {
    let chunks = all_chunks(store, trace, usize::MAX).await;
    let mut ids = Vec::new();
    for chunk in &chunks {
        let events = decode_events(&chunk.header, &chunk.payload).expect("readable");
        assert_eq!(events.index().len(), chunk.header.event_count as usize);
        ids.extend(events.index().iter().map(|event| event.event_id.as_u128()));
    }
    ids
}

async fn flow_count(store: &dyn Store) -> u64 {
    let (tenant, kind) = (TENANT.to_owned(), RollupKind::Flow);
    let query = RollupQuery { tenant, kind, flow_name: None, from_us: 0, to_us: i64::MAX / 2, by_minute: false };
    store.rollups(&query).await.expect("answers").iter().map(|row| row.count).sum()
}

/// Three chunks with events 1 to 7, of which 3 and 5 were sent twice; 5 failed.
fn session() -> Vec<Chunk> {
    vec![
        real_chunk(1, 11, T0, Origin::V1Session, &[(1, false), (2, false), (3, false)]).sent_as(&[901, 902]),
        real_chunk(1, 12, T0 + 1, Origin::V1Session, &[(3, false), (4, false), (5, true)]).sent_as(&[903]),
        real_chunk(1, 13, T0 + 2, Origin::V1Session, &[(5, true), (6, false), (7, false)]).closed(T0 + 3),
    ]
}

pub async fn small_chunks_become_few_and_counts_exact(db: &impl Fixture) {
    let store = db.open().await;
    commit(&*store, &session(), T0).await;
    let before = summary(&*store, 1, LATER).await;
    assert_eq!((before.event_count, before.failures, before.exact), (9, 2, false));
    let counted = flow_count(&*store).await;

    let outcome = compact(&*store, LATER).await;
    assert_eq!((outcome.traces, outcome.chunks_removed, outcome.chunks_written), (1, 3, 1));
    assert_eq!((outcome.duplicate_events, outcome.failed, outcome.more), (2, 0, false));
    let after = summary(&*store, 1, LATER).await;
    assert_eq!((after.event_count, after.stored_events, after.failures, after.exact), (7, 7, 1, true));
    assert_eq!((after.start_us, after.end_us, &after.status), (before.start_us, before.end_us, &before.status));
    assert_eq!(after.closed_us, Some(T0 + 3));
    assert_eq!(event_ids(&*store, 1).await, (1..=7).collect::<Vec<_>>());
    assert_eq!(rows(&*store, "chunks").await, 1);
    assert_eq!(flow_count(&*store).await, counted, "rollups are left alone");
    for sent in [901, 902, 903] {
        assert_eq!(summary(&*store, sent, LATER).await.trace_id, id(1));
    }
    assert!(rows(&*store, "trace_aliases").await <= 1);
    assert_eq!(compact(&*store, LATER).await, CompactOutcome::default(), "nothing is left to do");
}

pub async fn a_chunk_that_comes_again_after_compaction_counts_once(db: &impl Fixture) {
    let store = db.open().await;
    let chunks = session();
    commit(&*store, &chunks, T0).await;
    compact(&*store, LATER).await;
    let before = summary(&*store, 1, LATER).await;
    let mut again = chunks.clone();
    again.push(chunks[0].clone());
    let outcome = commit(&*store, &again, LATER).await;
    assert_eq!((outcome.stored, outcome.duplicates, outcome.rows), (0, 4, 0));
    // With others that are new, of this trace and of another.
    let new = [chunks[1].clone(), real_chunk(1, 14, LATER, Origin::V2Batch, &[(8, false)]), chunk(2, 21, LATER, 1)];
    let outcome = commit(&*store, &new, LATER).await;
    assert_eq!((outcome.stored, outcome.duplicates, outcome.events), (2, 1, 2));
    assert_eq!(summary(&*store, 1, LATER).await.event_count, before.event_count + 1);
    assert_eq!(event_ids(&*store, 1).await, (1..=8).collect::<Vec<_>>());
}

pub async fn late_chunks_merge_after_compaction(db: &impl Fixture) {
    let store = db.open().await;
    commit(&*store, &session(), T0).await;
    compact(&*store, LATER).await;
    let late = [
        real_chunk(1, 15, LATER, Origin::V1Session, &[(0, false), (2, false)]),
        real_chunk(1, 16, LATER, Origin::V1Session, &[(9, true)]),
    ];
    commit(&*store, &late, LATER).await;
    let trace = summary(&*store, 1, LATER).await;
    assert_eq!((trace.event_count, trace.failures, trace.exact), (10, 2, false));
    assert_eq!(trace.start_us, T0);
    let outcome = compact(&*store, LATER + HOUR).await;
    assert_eq!((outcome.traces, outcome.chunks_written, outcome.duplicate_events), (1, 1, 1));
    let trace = summary(&*store, 1, LATER).await;
    assert_eq!((trace.event_count, trace.stored_events, trace.failures, trace.exact), (9, 9, 2, true));
    assert_eq!(event_ids(&*store, 1).await, [0, 1, 2, 3, 4, 5, 6, 7, 9]);
    let again = commit(&*store, &[&session()[..], &late[..]].concat(), LATER).await;
    assert_eq!(again.stored, 0);
}

pub async fn running_traces_are_left_alone(db: &impl Fixture) {
    let store = db.open().await;
    let chunks: Vec<_> = session().into_iter().map(|chunk| chunk.with(|header| header.closed_us = None)).collect();
    commit(&*store, &chunks, T0).await;
    let now_us = T0 + IDLE_US - MINUTE;
    assert_eq!(store.compact(&compact_policy(now_us), now_us).await.expect("compacts").traces, 0, "it still runs");
    commit(&*store, &[chunk(1, 14, now_us, 0).ended(now_us, EndStatus::Completed, "")], now_us).await;
    let policy = CompactPolicy { idle_before_us: T0, ..compact_policy(now_us) };
    assert_eq!(store.compact(&policy, now_us).await.expect("compacts").traces, 0, "not idle for long enough");
    let policy = CompactPolicy { max_traces: 0, ..compact_policy(now_us) };
    let outcome = store.compact(&policy, now_us).await.expect("compacts");
    assert_eq!((outcome.traces, outcome.more), (0, true));
    assert_eq!(store.compact(&compact_policy(now_us), now_us).await.expect("compacts").traces, 1);
    assert_eq!(event_ids(&*store, 1).await, (1..=7).collect::<Vec<_>>());
}

pub async fn days_are_not_merged_with_each_other(db: &impl Fixture) {
    let store = db.open().await;
    let mut chunks = session();
    let tomorrow = real_chunk(1, 14, T0 + DAY, Origin::V1Session, &[(100, false), (101, false)]);
    commit(&*store, &chunks, T0).await;
    commit(&*store, &[tomorrow.clone(), real_chunk(1, 15, T0 + DAY, Origin::V1Session, &[(102, false)])], T0 + DAY)
        .await;
    let outcome = compact(&*store, T0 + DAY + HOUR).await;
    assert_eq!((outcome.chunks_removed, outcome.chunks_written), (5, 2));
    let trace = summary(&*store, 1, T0 + DAY + HOUR).await;
    assert_eq!(trace.event_count, 10);
    assert_eq!(compact(&*store, T0 + DAY + HOUR).await.traces, 0, "once is enough");
    // Retention takes the first day's part alone.
    store.retain(&keep(Some(HOUR), None), T0 + DAY + 2 * HOUR).await.expect("retains");
    let trace = summary(&*store, 1, T0 + DAY + HOUR).await;
    assert_eq!((trace.event_count, trace.stored_events), (10, 3));
    chunks.push(tomorrow);
    assert_eq!(commit(&*store, &chunks, T0 + DAY).await.stored, 0);
}

pub async fn a_single_chunk_is_looked_through_for_doubles(db: &impl Fixture) {
    let store = db.open().await;
    let doubled = real_chunk(1, 11, T0, Origin::V1Session, &[(1, false), (1, false), (2, false)]).closed(T0);
    let clean = real_chunk(2, 12, T0, Origin::V1Session, &[(1, false), (2, false)]).closed(T0);
    let batch = real_chunk(3, 13, T0, Origin::V2Batch, &[(1, false), (2, false)]).closed(T0);
    commit(&*store, &[doubled, clean, batch], T0).await;
    let outcome = compact(&*store, LATER).await;
    assert_eq!((outcome.traces, outcome.chunks_removed, outcome.duplicate_events), (2, 1, 1));
    for trace in 1..=3 {
        let trace = summary(&*store, trace, LATER).await;
        assert_eq!((trace.event_count, trace.exact), (2, true));
    }
}

/// A session that sends one event a second makes a chunk of each: rows must not stay in proportion to events.
pub async fn sessions_of_single_events_end_in_few_rows(db: &impl Fixture) {
    let store = db.open().await;
    let (sessions, events) = (10_u128, 200_u128);
    let mut chunks = Vec::new();
    for second in 0..events {
        for session in 0..sessions {
            let number = session * events + second;
            let received_us = T0 + second as i64 * SECOND;
            chunks.push(
                real_chunk(session, 10_000 + number, received_us, Origin::V1Session, &[(number, false)])
                    .flow("f", "f")
                    .sent_as(&[50_000 + number]),
            );
        }
    }
    for call in chunks.chunks(100) {
        commit(&*store, call, T0).await;
    }
    let total = (sessions * events) as u64;
    let all = async || store.stats().await.expect("answers").rows.iter().map(|(_, rows)| rows).sum::<u64>();
    assert!(all().await <= 4 * total);
    let outcome = compact(&*store, LATER).await;
    assert_eq!((outcome.traces, outcome.duplicate_events), (sessions as usize, 0));
    assert!(store.durable() <= (all().await <= total / 10), "{} rows", all().await);
    assert_eq!(store.stats().await.expect("answers").events, total);
    let again = commit(&*store, &chunks, LATER).await;
    assert_eq!((again.stored, again.duplicates), (0, total as usize));
    assert_eq!(summary(&*store, 50_000 + 777, LATER).await.trace_id, id(777 / events));
}

pub async fn a_trace_that_cannot_be_read_is_passed_over(db: &impl Fixture) {
    let store = db.open().await;
    let mut broken = real_chunk(1, 31, T0, Origin::V2Batch, &[(1, false)]).closed(T0);
    broken.payload = Bytes::from_static(b"not zstd");
    commit(&*store, &[broken, real_chunk(1, 32, T0, Origin::V2Batch, &[(2, false)])], T0).await;
    let good = [
        real_chunk(2, 33, T0, Origin::V2Batch, &[(1, false)]).closed(T0),
        real_chunk(2, 34, T0, Origin::V2Batch, &[(2, false)]),
    ];
    commit(&*store, &good, T0).await;
    let outcome = compact(&*store, LATER).await;
    assert_eq!((outcome.failed, outcome.traces), (1, 1));
    assert_eq!(all_chunks(&*store, 1, usize::MAX).await.len(), 2, "it stays as it is");
    assert_eq!(all_chunks(&*store, 2, usize::MAX).await.len(), 1);
}

//! Compaction and retention beside commits and each other.

use std::sync::Arc;

use reflow_tracing_chunk::Chunk;
use reflow_tracing_store::StoreWriter;

use super::{beside, commit_again, count, run, until_waiting, writer};
use crate::support::*;

/// Retention by size beside a compaction that has begun before it and moves the events of the oldest hour into a later one.
#[tokio::test]
async fn retention_counts_what_it_removes_and_not_what_it_has_seen() {
    let db = Postgres::new().await;
    let store = Arc::new(writer(&db).await);
    for hour in [0, 1] {
        commit(&*store, &[chunk(1, 11 + hour, T0, 10)], T0 + hour as i64 * HOUR).await;
    }
    let mut compaction = beside(&db).await;
    run(&mut compaction, "BEGIN; SELECT FROM traces FOR UPDATE; UPDATE chunks SET hour = 1").await;
    run(&mut compaction, "UPDATE chunk_hours SET (chunks, events, bytes) = (2 * hour, 20 * hour, 200 * hour)").await;
    let retention = tokio::spawn({
        let store = store.clone();
        async move { store.retain(&keep(None, Some(100)), T0 + 2 * HOUR).await.expect("retains") }
    });
    until_waiting(&db, 1).await;
    run(&mut compaction, "COMMIT").await;
    assert_eq!(retention.await.expect("no panic").chunks, 0, "the hour was empty by then");
    let trace = summary(&*store, 1, T0).await;
    assert_eq!((trace.event_count, trace.stored_events), (20, 20));
    assert_eq!(rows(&*store, "chunks").await, 2);
    let outcome = store.retain(&keep(None, Some(100)), T0 + 2 * HOUR).await.expect("retains");
    assert_eq!((outcome.chunks, outcome.traces, outcome.bytes), (2, 1, 200));
}

/// Two writers compact a trace. The second has listed what the first is over, and the same event comes once more before its turn.
#[tokio::test]
async fn a_compaction_that_was_overtaken_leaves_what_came_since_to_the_next() {
    let db = Postgres::new().await;
    let store = Arc::new(writer(&db).await);
    commit(&*store, &[real_chunk(1, 11, T0, reflow_tracing_chunk::Origin::V1Session, &[(1, false)])], T0).await;
    let mut first = beside(&db).await;
    run(&mut first, "BEGIN; SELECT FROM traces FOR UPDATE").await;
    let second = tokio::spawn({
        let store = store.clone();
        async move { store.compact(&compact_policy(T0 + HOUR), T0 + HOUR).await.expect("compacts") }
    });
    until_waiting(&db, 1).await;
    let mut watch = beside(&db).await;
    // The first has marked one chunk, and one has come.
    run(
        &mut first,
        "INSERT INTO chunks (day, hour, trace, first_us, events, raw_bytes, chunk_id, header, payload) \
         SELECT day, hour, trace, first_us, events, raw_bytes, gen_random_uuid(), header, payload FROM chunks; \
         UPDATE traces SET event_count = 2, stored_events = 2, exact = 0, loose_chunks = 1; COMMIT",
    )
    .await;
    second.await.expect("no panic");
    assert_eq!(count(&mut watch, "SELECT count(*) FROM traces WHERE is_loose = 1 AND exact = 0").await, 1);
    let outcome = store.compact(&compact_policy(T0 + HOUR), T0 + HOUR).await.expect("compacts");
    assert_eq!((outcome.chunks_removed, outcome.chunks_written, outcome.duplicate_events), (2, 1, 1));
    let trace = summary(&*store, 1, T0 + HOUR).await;
    assert_eq!((trace.event_count, trace.stored_events, trace.exact), (1, 1, true));
}

#[tokio::test]
async fn compaction_and_commits_of_the_same_chunks_at_once_count_once() {
    let db = Postgres::new().await;
    let store = Arc::new(writer(&db).await);
    let other = Arc::new(writer(&db).await);
    let of = |trace: u128| -> Vec<Chunk> {
        (0..20)
            .map(|n| {
                let number = trace * 100 + n;
                real_chunk(trace, number, T0, reflow_tracing_chunk::Origin::V1Session, &[(number, false)])
            })
            .collect()
    };
    for round in 0..10 {
        let chunks = of(round);
        commit(&*store, &chunks, T0).await;
        let again = tokio::spawn({
            let (other, chunks) = (other.clone(), chunks.clone());
            async move {
                for call in chunks.chunks(3) {
                    assert_eq!(commit_again(&other, call).await.stored, 0);
                }
            }
        });
        let policy = compact_policy(T0 + HOUR);
        store.compact(&policy, T0 + HOUR).await.expect("compacts");
        again.await.expect("no panic");
        let trace = summary(&*store, round, T0 + HOUR).await;
        assert_eq!((trace.event_count, trace.stored_events, trace.exact), (20, 20, true));
    }
    assert_eq!(rows(&*store, "chunks").await, 10);
}

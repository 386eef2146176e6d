//! Retention of whole days: beside commits, and beside readers that hold on to them.

use std::sync::Arc;
use std::time::Duration;

use reflow_tracing_chunk::Chunk;
use reflow_tracing_store::{PostgresStore, RetentionOutcome, RetentionPolicy, StoreWriter};
use tokio::time::timeout;

use super::{beside, count, run, until_waiting, writer};
use crate::support::*;

#[tokio::test]
async fn retention_goes_on_where_a_crash_left_it() {
    let db = Postgres::new().await;
    let store = writer(&db).await;
    commit(&store, &[chunk(1, 11, T0, 4), chunk(2, 12, T0, 5)], T0).await;
    commit(&store, &[chunk(1, 13, T0 + DAY, 6)], T0 + DAY).await;
    // As after the first of its two steps.
    let mut connection = beside(&db).await;
    run(&mut connection, "ALTER TABLE chunks DETACH PARTITION chunks_20241004").await;
    run(&mut connection, "ALTER TABLE chunks_20241004 RENAME TO retired_chunks_20241004").await;
    let outcome = store.retain(&keep(Some(HOUR), None), T0 + DAY + 2 * HOUR).await.expect("retains");
    assert_eq!((outcome.chunks, outcome.traces, outcome.bytes), (2, 1, 90));
    let trace = summary(&store, 1, T0).await;
    assert_eq!((trace.event_count, trace.stored_events), (10, 6));
    assert!(find(&store, 2, T0).await.is_none());
    assert_eq!(rows(&store, "chunks").await, 1);
    let retired = "SELECT count(*) FROM pg_class WHERE relname LIKE 'retired%'";
    assert_eq!(count(&mut connection, retired).await, 0);
}

/// Retention on the third day, with a chunk there, while a writer whose clock is two days behind commits 5 events of trace 2 in the
/// last hour of its day. They are not counted yet when retention looks, and its chunk is in when retention wants the partition.
async fn retain_beside_a_late_commit(db: &Postgres, stored: &[Chunk], policy: RetentionPolicy) -> RetentionOutcome {
    let late = writer(db).await;
    let store = Arc::new(writer(db).await);
    commit(&late, stored, T0 + DAY).await;
    commit(&*store, &[chunk(9, 19, T0, 3)], T0 + 3 * DAY).await;
    let mut hold = beside(db).await;
    run(&mut hold, "BEGIN; LOCK TABLE rollups IN EXCLUSIVE MODE").await;
    let committing =
        tokio::spawn(async move { commit(&late, &[chunk(2, 12, T0 + DAY, 5)], T0 + DAY + 23 * HOUR).await });
    until_waiting(db, 1).await;
    let retention = tokio::spawn({
        let store = store.clone();
        async move { store.retain(&policy, T0 + 3 * DAY).await.expect("retains") }
    });
    until_waiting(db, 2).await;
    run(&mut hold, "COMMIT").await;
    assert_eq!(committing.await.expect("no panic").stored, 1);
    let outcome = retention.await.expect("no panic");
    assert_eq!(summary(&*store, 2, T0 + DAY).await.stored_events, 5);
    assert_eq!(all_chunks(&*store, 2, usize::MAX).await.len(), 1);
    outcome
}

#[tokio::test]
async fn a_day_that_seemed_unused_stays_when_a_commit_puts_a_chunk_there() {
    let db = Postgres::new().await;
    let outcome = retain_beside_a_late_commit(&db, &[], keep(None, None)).await;
    assert_eq!(outcome, RetentionOutcome::default());
}

#[tokio::test]
async fn a_day_whose_hours_are_to_go_stays_when_a_commit_puts_a_chunk_into_another() {
    let db = Postgres::new().await;
    let outcome = retain_beside_a_late_commit(&db, &[chunk(1, 11, T0 + DAY, 3)], keep(None, Some(30))).await;
    assert_eq!(outcome.chunks, 0, "the whole day is left to the next run");
    let store = writer(&db).await;
    let outcome = store.retain(&keep(None, Some(80)), T0 + 3 * DAY).await.expect("retains");
    assert_eq!((outcome.chunks, outcome.traces), (1, 1), "of which it takes the oldest hour");
}

async fn retain_soon(store: &PostgresStore) -> RetentionOutcome {
    let policy = keep(Some(HOUR), None);
    let run = store.retain(&policy, T0 + DAY + 2 * HOUR);
    timeout(Duration::from_secs(20), run).await.expect("does not wait for the reader").expect("retains")
}

/// A reader such as pg_dump holds every table until it is done.
#[tokio::test]
async fn a_retired_day_that_is_being_read_is_left_to_the_next_run() {
    let db = Postgres::new().await;
    let store = Arc::new(writer(&db).await);
    commit(&*store, &[chunk(1, 11, T0, 4), chunk(2, 12, T0, 5)], T0).await;
    commit(&*store, &[chunk(1, 13, T0 + DAY, 6)], T0 + DAY).await;
    let mut reader = beside(&db).await;
    run(&mut reader, "ALTER TABLE chunks DETACH PARTITION chunks_20241004").await;
    run(&mut reader, "ALTER TABLE chunks_20241004 RENAME TO retired_chunks_20241004").await;
    run(&mut reader, "BEGIN; LOCK TABLE retired_chunks_20241004 IN ACCESS SHARE MODE").await;
    let retention = tokio::spawn({
        let store = store.clone();
        async move { retain_soon(&store).await }
    });
    until_waiting(&db, 1).await;
    // Meanwhile neither a writer that does not know the day nor the traces of the table are held up; and its day comes again.
    let other = writer(&db).await;
    let late = [chunk(1, 14, T0, 2)];
    timeout(Duration::from_secs(10), commit(&other, &late, T0)).await.expect("does not wait for retention");
    assert_eq!(retention.await.expect("no panic"), RetentionOutcome::default());
    assert_eq!(retain_soon(&store).await, RetentionOutcome::default(), "two tables of one day have one name");
    assert_eq!(summary(&*store, 1, T0).await.stored_events, 12);
    run(&mut reader, "COMMIT").await;
    let outcome = retain_soon(&store).await;
    assert_eq!((outcome.chunks, outcome.traces), (3, 1));
    assert_eq!(summary(&*store, 1, T0).await.stored_events, 6);
}

//! Retention: what goes, what stays, and what is remembered.

use reflow_tracing_store::{RetentionOutcome, RetentionPolicy, RollupKind, RollupQuery, TraceFilter};

use crate::support::*;

pub async fn whole_days_go_by_age(db: &impl Fixture) {
    let store = db.open().await;
    // Clients' clocks are ten years off: only the day of insertion counts.
    let old =
        chunk(1, 11, T0, 10).flow("f", "f").versioned(1, None).sent_as(&[901]).client("c", 0, 0, 0).with(|header| {
            header.first_event_us = Some(T0 + 3650 * DAY);
            header.last_event_us = Some(T0 + 3650 * DAY);
        });
    let marks = chunk(9, 19, T0, 0).started(T0);
    commit(&*store, &[old, marks], T0 + 23 * HOUR).await;
    commit(&*store, &[chunk(2, 12, T0 + DAY, 10).flow("f", "f").versioned(2, None)], T0 + DAY).await;

    let at = T0 + DAY + 12 * HOUR;
    assert_eq!(store.retain(&keep(Some(13 * HOUR), None), at).await.expect("retains"), RetentionOutcome::default());
    let outcome = store.retain(&keep(Some(12 * HOUR), None), at).await.expect("retains");
    assert_eq!((outcome.chunks, outcome.traces, outcome.bytes, outcome.seen), (2, 2, 100, 0));
    assert!(find(&*store, 1, at).await.is_none());
    assert!(find(&*store, 9, at).await.is_none());
    assert!(find(&*store, 901, at).await.is_none());
    assert_eq!(summary(&*store, 2, at).await.stored_events, 10);
    assert_eq!(rows(&*store, "chunks").await, 1);
    let by_actor = TraceFilter { actor: Some("source".into()), ..filter() };
    assert_eq!(store.query(&by_actor, &first(0), at).await.expect("answers").total, 1);
    let versions = store.flow_versions(TENANT, "f").await.expect("answers");
    assert_eq!(versions.iter().map(|row| row.version.major).collect::<Vec<_>>(), [2]);
    let (tenant, kind) = (TENANT.to_owned(), RollupKind::Flow);
    let query = RollupQuery { tenant, kind, flow_name: None, from_us: 0, to_us: at, by_minute: true };
    let minutes: Vec<_> = store.rollups(&query).await.expect("answers").iter().map(|row| row.minute_us).collect();
    assert_eq!(minutes, [T0 + DAY]);
    assert_eq!(store.retain(&keep(Some(12 * HOUR), None), at).await.expect("retains"), RetentionOutcome::default());
}

pub async fn oldest_hours_go_by_size_but_never_the_open_one(db: &impl Fixture) {
    let store = db.open().await;
    // Yesterday's two hours, and three of today: 100 bytes each.
    for (number, hour) in [(1, -2), (2, -1), (3, 0), (4, 1), (5, 2)] {
        commit(&*store, &[chunk(number, number, T0, 10)], T0 + hour * HOUR).await;
    }
    let now_us = T0 + 2 * HOUR + 5;
    let retain = async |max_bytes: u64| store.retain(&keep(None, Some(max_bytes)), now_us).await.expect("retains");
    assert_eq!(retain(500).await, RetentionOutcome::default());
    let outcome = retain(499).await;
    assert_eq!((outcome.chunks, outcome.traces, outcome.bytes), (1, 1, 100));
    assert!(find(&*store, 1, now_us).await.is_none());
    let outcome = retain(200).await;
    assert_eq!((outcome.chunks, outcome.traces), (2, 2));
    let outcome = retain(0).await;
    assert_eq!((outcome.chunks, outcome.traces), (1, 1));
    assert_eq!(store.query(&filter(), &first(0), now_us).await.expect("answers").total, 1);
    assert_eq!(summary(&*store, 5, now_us).await.stored_events, 10);
    assert_eq!(retain(0).await, RetentionOutcome::default());
}

pub async fn a_partly_gone_trace_says_how_many_are_left(db: &impl Fixture) {
    let store = db.open().await;
    commit(&*store, &[chunk(1, 11, T0, 7).failed(T0, "boom")], T0).await;
    commit(&*store, &[chunk(1, 12, T0 + DAY, 2), chunk(2, 22, T0 + DAY, 1)], T0 + DAY).await;
    let outcome = store.retain(&keep(Some(HOUR), None), T0 + DAY + 2 * HOUR).await.expect("retains");
    assert_eq!((outcome.chunks, outcome.traces), (1, 0));
    let trace = summary(&*store, 1, T0).await;
    assert_eq!((trace.event_count, trace.stored_events, trace.failures), (9, 2, 1));
    assert_eq!(trace.start_us, T0 - 5);
    assert_eq!(all_chunks(&*store, 1, usize::MAX).await.len(), 1);
    let actors = store.trace_actors(TENANT, id(1)).await.expect("answers");
    assert_eq!(actors[0].events, 2, "of the events that are left");
}

pub async fn redelivery_after_retention_changes_nothing(db: &impl Fixture) {
    let store = db.open().await;
    let chunks = [chunk(1, 11, T0, 7), chunk(1, 12, T0, 7)];
    commit(&*store, &chunks, T0).await;
    store.retain(&keep(Some(HOUR), None), T0 + 2 * DAY).await.expect("retains");
    assert_eq!(commit(&*store, &chunks, T0 + 2 * DAY).await.stored, 0);
    assert!(find(&*store, 1, T0).await.is_none());
    assert_eq!(rows(&*store, "chunks").await, 0);
}

pub async fn seen_is_forgotten_after_the_horizon(db: &impl Fixture) {
    let store = db.open().await;
    let policy = |horizon| RetentionPolicy { max_age_us: None, max_bytes: None, dedupe_horizon_us: horizon };
    let small = |number: u128| {
        real_chunk(9, number, T0, reflow_tracing_chunk::Origin::V1Session, &[(number, false)]).closed(T0)
    };
    let compacted: Vec<_> = (500..520).map(small).collect();
    commit(&*store, &compacted, T0).await;
    store.compact(&compact_policy(T0 + HOUR), T0 + HOUR).await.expect("compacts");
    let old: Vec<_> = (0..300_u128).map(|n| chunk(1, 1000 + n, T0, 1)).collect();
    let new: Vec<_> = (0..300_u128).map(|n| chunk(1, 2000 + n * 2, T0, 1)).collect();
    commit(&*store, &old, T0).await;
    commit(&*store, &new, T0 + 2 * DAY).await;
    assert_eq!(store.retain(&policy(8 * DAY), T0 + 8 * DAY).await.expect("retains").seen, 0);
    let outcome = store.retain(&policy(7 * DAY), T0 + 8 * DAY).await.expect("retains");
    assert_eq!((outcome.seen, outcome.chunks), (320, 0));
    assert_eq!(commit(&*store, &new, T0 + 8 * DAY).await.stored, 0);
    assert_eq!(commit(&*store, &old[..1], T0 + 8 * DAY).await.stored, 1, "beyond the horizon nothing is promised");
}

pub async fn a_trace_can_come_back_after_it_was_removed(db: &impl Fixture) {
    let store = db.open().await;
    commit(&*store, &[chunk(1, 11, T0, 7).sent_as(&[901])], T0).await;
    // A mark of a later day is all that is left of the trace, and goes with it.
    commit(&*store, &[chunk(1, 12, T0 + DAY, 0).closed(T0 + DAY)], T0 + DAY).await;
    let outcome = store.retain(&keep(Some(HOUR), None), T0 + DAY + 2 * HOUR).await.expect("retains");
    assert_eq!(outcome.traces, 1);
    assert_eq!(rows(&*store, "chunks").await, 0);
    commit(&*store, &[chunk(2, 21, T0 + DAY, 3), chunk(1, 13, T0 + DAY, 2)], T0 + DAY).await;
    let trace = summary(&*store, 1, T0 + DAY).await;
    assert_eq!((trace.event_count, trace.stored_events, trace.closed_us), (2, 2, None));
    assert_eq!(all_chunks(&*store, 1, usize::MAX).await.len(), 1);
    assert!(find(&*store, 901, T0 + DAY).await.is_none());
    // The days that went may come again too, on a writer whose clock is behind.
    commit(&*store, &[chunk(3, 31, T0, 3)], T0).await;
    assert_eq!(summary(&*store, 3, T0).await.stored_events, 3);
    assert_eq!(store.retain(&keep(Some(HOUR), None), T0 + DAY + 2 * HOUR).await.expect("retains").traces, 1);
}

//! Totals that are kept, not counted, against walks over what matches.

use reflow_tracing_chunk::{Chunk, EndStatus, Origin};
use reflow_tracing_protocol::ExecutionStatus;
use reflow_tracing_store::{Page, Store, TraceFilter};

use crate::support::*;

/// Every total that is kept, beside a page that holds all that match.
async fn agree(store: &dyn Store, now_us: i64, when: &str) {
    let failed = ExecutionStatus::Failed { error: String::new() };
    let statuses = [ExecutionStatus::Running, ExecutionStatus::Completed, ExecutionStatus::Cancelled, failed];
    let mut sum = 0;
    for status in statuses.into_iter().map(Some).chain([None]) {
        for flow in [None, Some(""), Some("one"), Some("two"), Some("two_123456789")] {
            let filter = TraceFilter { status: status.clone(), flow: flow.map(str::to_owned), ..filter() };
            let walked = store.query(&filter, &first(10_000), now_us).await.expect("answers");
            let counted = store.query(&filter, &first(0), now_us).await.expect("answers").total;
            assert_eq!(counted, walked.traces.len() as u64, "{when}: {filter:?}");
            let beyond = Page { limit: 1, offset: 9_999, after: None };
            assert_eq!(store.query(&filter, &beyond, now_us).await.expect("answers").total, counted, "{when}");
            sum += if flow.is_none() && status.is_some() { counted } else { 0 };
        }
    }
    let all = store.query(&filter(), &first(0), now_us).await.expect("answers").total;
    assert_eq!(sum, all, "{when}: every trace has one status");
}

fn traces() -> Vec<Chunk> {
    (0..60_u128)
        .map(|n| {
            let one = real_chunk(n, 1_000 + n, T0, Origin::V1Session, &[(10 * n, n % 7 == 0), (10 * n, n % 7 == 0)]);
            let one = match n % 4 {
                0 => one,
                1 => one.flow("one", "one"),
                2 => one.flow("two_123456789", "two"),
                _ => one.flow("", ""),
            };
            match n % 5 {
                0 => one,
                1 => one.closed(T0 + 1),
                2 => one.ended(T0, EndStatus::Completed, ""),
                3 => one.ended(T0, EndStatus::Cancelled, ""),
                _ => one.ended(T0, EndStatus::Failed, "boom"),
            }
        })
        .collect()
}

pub async fn totals_stay_true_whatever_happens_to_traces(db: &impl Fixture) {
    let store = db.open().await;
    let now_us = T0 + 5 * MINUTE;
    agree(&*store, now_us, "empty").await;
    let traces = traces();
    commit(&*store, &traces, T0).await;
    agree(&*store, now_us, "committed").await;
    commit(&*store, &traces, T0).await;
    agree(&*store, now_us, "again").await;

    // Flows become known or turn out to be others, closed traces go on, ended ones end otherwise, open ones are closed.
    let changes: Vec<_> = (0..60_u128)
        .map(|n| {
            let late = chunk(n, 2_000 + n, T0 + MINUTE, 1);
            match n % 3 {
                0 => late.flow("one", "one").started(T0 - 1),
                1 => late.ended(T0 + MINUTE, EndStatus::Failed, "late"),
                _ => late,
            }
        })
        .collect();
    for some in changes.chunks(7) {
        commit(&*store, some, T0).await;
    }
    agree(&*store, now_us, "changed").await;
    let marks: Vec<_> = (0..60_u128).map(|n| chunk(n, 3_000 + n, T0 + MINUTE, 0).closed(T0 + 2 * MINUTE)).collect();
    commit(&*store, &marks, T0).await;
    agree(&*store, now_us, "closed").await;
    agree(&*store, T0 + DAY, "idle").await;
}

pub async fn totals_stay_true_through_compaction_and_retention(db: &impl Fixture) {
    let store = db.open().await;
    // The only failure of a trace is a double for some: compaction takes failures away, never the last.
    commit(&*store, &traces(), T0).await;
    let marks: Vec<_> = (0..30_u128).map(|n| chunk(n, 3_000 + n, T0 + 1, 0).closed(T0 + 2)).collect();
    commit(&*store, &marks, T0).await;
    let later = T0 + HOUR;
    assert!(store.compact(&compact_policy(later), later).await.expect("compacts").traces > 0);
    agree(&*store, later, "compacted").await;

    let others: Vec<_> = (50..80_u128).map(|n| chunk(n, 4_000 + n, T0 + DAY, 1).flow("one", "one")).collect();
    commit(&*store, &others, T0 + DAY).await;
    let next_day = T0 + DAY + 12 * HOUR;
    agree(&*store, next_day, "next day").await;
    let gone = store.retain(&keep(Some(HOUR), None), next_day).await.expect("retains");
    assert_eq!(gone.traces, 50);
    agree(&*store, next_day, "half gone").await;
    store.retain(&keep(Some(HOUR), None), T0 + 3 * DAY).await.expect("retains");
    agree(&*store, T0 + 3 * DAY, "all gone").await;
    store.retain(&keep(Some(HOUR), None), T0 + 3 * DAY).await.expect("retains");
    assert_eq!(rows(&*store, "trace_counts").await, 0, "what counts nothing is not kept");
}

pub async fn an_error_is_found_however_long_it_is(db: &impl Fixture) {
    let store = db.open().await;
    let long = "ä".repeat(1_000);
    let other = format!("{}!", &long[..1_998]);
    let edge = "e".repeat(64);
    let chunks = [
        chunk(1, 11, T0, 1).ended(T0, EndStatus::Failed, &long),
        chunk(2, 12, T0, 1).failed(T0, &long).closed(T0),
        chunk(3, 13, T0, 1).ended(T0, EndStatus::Failed, &other),
        chunk(4, 14, T0, 1).ended(T0, EndStatus::Failed, &edge),
        chunk(5, 15, T0, 1).failed(T0, &format!("{edge}f")).closed(T0),
        chunk(6, 16, T0, 1).failed(T0, &long),
    ];
    commit(&*store, &chunks, T0).await;
    let with = async |error: &str, now_us: i64| {
        let filter = TraceFilter { status: Some(ExecutionStatus::Failed { error: error.into() }), ..filter() };
        let page = store.query(&filter, &first(10), now_us).await.expect("answers");
        let counted = store.query(&filter, &first(0), now_us).await.expect("answers").total;
        assert_eq!(counted, page.traces.len() as u64);
        page.traces.iter().map(|trace| trace.trace_id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(with(&long, T0).await, [2, 1]);
    assert_eq!(with(&long, T0 + HOUR).await, [6, 2, 1], "idle for too long");
    assert_eq!(with(&other, T0).await, [3]);
    assert_eq!(with(&edge, T0).await, [4]);
    assert_eq!(with(&long[..64], T0).await, [0_u128; 0]);
}

pub async fn executions_combine_with_every_other_filter(db: &impl Fixture) {
    let store = db.open().await;
    let run = |one: Chunk| one.with(|header| header.execution_id = Some(id(77).as_bytes().to_vec()));
    let chunks = [
        run(chunk(1, 11, T0, 1).flow("one", "one").ended(T0, EndStatus::Completed, "")),
        run(chunk(2, 12, T0 + SECOND, 1).flow("two_123456789", "two").actors(vec![actor("rare", 1)])),
        // Its own id is the execution of others.
        chunk(77, 13, T0 + 2 * SECOND, 1).flow("one", "one").ended(T0, EndStatus::Failed, "boom"),
        chunk(3, 14, T0, 1),
    ];
    commit(&*store, &chunks, T0).await;
    let find = async |change: &dyn Fn(&mut TraceFilter)| {
        let mut filter = TraceFilter { execution_id: Some(id(77)), ..filter() };
        change(&mut filter);
        let page = store.query(&filter, &first(10), T0 + MINUTE).await.expect("answers");
        let counted = store.query(&filter, &first(0), T0 + MINUTE).await.expect("answers").total;
        assert_eq!(counted, page.traces.len() as u64, "{filter:?}");
        page.traces.iter().map(|trace| trace.trace_id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(find(&|_| {}).await, [77, 2, 1]);
    assert_eq!(find(&|f| f.tenant = "nobody".into()).await, [0_u128; 0]);
    assert_eq!(find(&|f| f.flow = Some("one".into())).await, [77, 1]);
    assert_eq!(find(&|f| f.flow = Some("two".into())).await, [2]);
    assert_eq!(find(&|f| f.flow = Some("two_123456789".into())).await, [2]);
    assert_eq!(find(&|f| f.actor = Some("rare".into())).await, [2]);
    assert_eq!(find(&|f| f.actor = Some("source".into())).await, [77, 1]);
    assert_eq!(find(&|f| f.status = Some(ExecutionStatus::Running)).await, [2]);
    assert_eq!(find(&|f| f.status = Some(ExecutionStatus::Completed)).await, [1]);
    assert_eq!(find(&|f| f.status = Some(ExecutionStatus::Failed { error: "boom".into() })).await, [77]);
    assert_eq!(find(&|f| f.start_us = Some((T0, T0 + HOUR))).await, [77, 2]);
    assert_eq!(find(&|f| f.active_since_us = Some(T0 + 2 * SECOND)).await, [77]);
}

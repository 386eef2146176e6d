//! Questions over all traces.

use reflow_tracing_chunk::{Chunk, EndStatus};
use reflow_tracing_protocol::ExecutionStatus;
use reflow_tracing_store::{Page, Store, TraceFilter, status_of};

use crate::support::*;

/// 120 traces that differ in everything a filter can tell apart.
fn variety() -> Vec<Chunk> {
    (0..120_u128)
        .map(|n| {
            let start_us = T0 + (n as i64 * 37 % 120) * MINUTE;
            let mut one = chunk(n, 1000 + n, start_us, 1)
                .actors(vec![actor(&format!("actor-{}", n % 5), 1), actor(if n % 2 == 0 { "even" } else { "odd" }, 1)]);
            one = match n % 4 {
                0 => one,
                1 => one.flow("plain", "plain"),
                2 => one.flow(&format!("tailed_{}", 100_000_000 + n % 8), "tailed"),
                _ => one.flow("tailed", "tailed"),
            };
            one = match n % 6 {
                0 => one.ended(start_us, EndStatus::Completed, ""),
                1 => one.ended(start_us, EndStatus::Cancelled, ""),
                2 => one.ended(start_us, EndStatus::Failed, if n % 4 == 0 { "boom" } else { "" }),
                3 => one.failed(start_us, "boom"),
                4 => one.closed(start_us + 1),
                _ => one,
            };
            if n % 9 == 0 {
                one = one.with(|header| header.execution_id = Some(id(7000 + n).as_bytes().to_vec()));
            }
            one
        })
        .collect()
}

async fn ids(store: &dyn Store, filter: &TraceFilter, page: &Page, now_us: i64) -> (Vec<u128>, u64) {
    let page = store.query(filter, page, now_us).await.expect("answers");
    (page.traces.iter().map(|trace| trace.trace_id.as_u128()).collect(), page.total)
}

pub async fn pages_are_newest_first_with_true_totals(db: &impl Fixture) {
    let store = db.open().await;
    // Two traces each of every start, to see ties broken by id.
    let chunks: Vec<_> = (0..40_u128).map(|n| chunk(n, 100 + n, T0 + (n as i64 / 2) * SECOND, 1)).collect();
    commit(&*store, &chunks, T0).await;
    let expected: Vec<u128> = (0..40).rev().collect();
    let (all, total) = ids(&*store, &filter(), &first(100), T0).await;
    assert_eq!((all, total), (expected.clone(), 40));

    let (mut by_offset, mut by_key, mut after) = (Vec::new(), Vec::new(), None);
    for step in 0..6 {
        let page = Page { limit: 7, offset: step * 7, after: None };
        let (found, total) = ids(&*store, &filter(), &page, T0).await;
        assert_eq!(total, 40);
        by_offset.extend(found);
        let page = store.query(&filter(), &Page { limit: 7, offset: 0, after }, T0).await.expect("answers");
        assert_eq!(page.total, 40, "the total is over all pages");
        after = page.traces.last().map(|trace| (trace.start_us, trace.trace_id)).or(after);
        by_key.extend(page.traces.iter().map(|trace| trace.trace_id.as_u128()));
    }
    assert_eq!(by_offset, expected);
    assert_eq!(by_key, expected);
    let (none, total) = ids(&*store, &filter(), &first(0), T0).await;
    assert_eq!((none.len(), total), (0, 40), "limit 0 only counts");
}

pub async fn offset_beyond_the_end_is_an_empty_page(db: &impl Fixture) {
    let store = db.open().await;
    commit(&*store, &[chunk(1, 11, T0, 1), chunk(2, 12, T0, 1)], T0).await;
    for offset in [2, 3, 1_000_000, usize::MAX] {
        let page = Page { limit: 10, offset, after: None };
        assert_eq!(ids(&*store, &filter(), &page, T0).await, (Vec::new(), 2));
    }
    let page = Page { limit: usize::MAX, offset: 1, after: None };
    assert_eq!(ids(&*store, &filter(), &page, T0).await, (vec![1], 2));
}

pub async fn every_filter_narrows(db: &impl Fixture) {
    let store = db.open().await;
    commit(&*store, &variety(), T0).await;
    let now_us = T0 + 200 * MINUTE;
    let count = async |change: &dyn Fn(&mut TraceFilter)| {
        let mut filter = filter();
        change(&mut filter);
        ids(&*store, &filter, &first(0), now_us).await.1
    };
    assert_eq!(count(&|_| {}).await, 120);
    assert_eq!(count(&|f| f.tenant = "nobody".into()).await, 0);
    assert_eq!(count(&|f| f.flow = Some("plain".into())).await, 30);
    assert_eq!(count(&|f| f.flow = Some("tailed".into())).await, 60, "by name, whatever the tail");
    assert_eq!(count(&|f| f.flow = Some("tailed_100000002".into())).await, 15, "by the exact id");
    assert_eq!(count(&|f| f.flow = Some("none".into())).await, 0);
    assert_eq!(count(&|f| f.actor = Some("even".into())).await, 60);
    assert_eq!(count(&|f| f.actor = Some("actor-3".into())).await, 24);
    assert_eq!(count(&|f| f.actor = Some("actor".into())).await, 0);
    assert_eq!(count(&|f| f.execution_id = Some(id(7009))).await, 1);
    assert_eq!(count(&|f| f.execution_id = Some(id(9))).await, 0, "it was told another");
    assert_eq!(count(&|f| f.execution_id = Some(id(10))).await, 1, "its trace id stands for it");
    let from = T0 + 10 * MINUTE - 5;
    assert_eq!(count(&|f| f.start_us = Some((from, from))).await, 1, "both ends included");
    assert_eq!(count(&|f| f.start_us = Some((from, from + 9 * MINUTE))).await, 10);
    assert_eq!(count(&|f| f.start_us = Some((from + 1, from))).await, 0);
    assert_eq!(count(&|f| f.status = Some(ExecutionStatus::Cancelled)).await, 20);
    assert_eq!(count(&|f| f.status = Some(ExecutionStatus::Completed)).await, 60);
    assert_eq!(count(&|f| f.status = Some(ExecutionStatus::Failed { error: String::new() })).await, 40);
    assert_eq!(count(&|f| f.status = Some(ExecutionStatus::Pending)).await, 0);
    assert_eq!(count(&|f| f.status = Some(ExecutionStatus::Running)).await, 0);
    let all = store.query(&filter(), &first(1_000), now_us).await.expect("answers").traces;
    for since_us in all.iter().step_by(13).flat_map(|trace| [trace.last_received_us, trace.last_received_us + 1]) {
        let expected = all.iter().filter(|trace| trace.last_received_us >= since_us).count() as u64;
        assert_eq!(count(&|f| f.active_since_us = Some(since_us)).await, expected, "active since {since_us}");
    }
}

pub async fn statuses_are_filtered_at_the_edge_of_idleness(db: &impl Fixture) {
    let store = db.open().await;
    // Spread over three steps of five minutes around the moment at which idle time runs out.
    let chunks: Vec<_> = (0..90_u128)
        .map(|n| {
            let one = chunk(n, n, T0 + n as i64 * 10 * SECOND, 1);
            if n % 3 == 0 { one.failed(T0, "boom") } else { one }
        })
        .collect();
    commit(&*store, &chunks, T0).await;
    let count = async |status: ExecutionStatus, now_us: i64| {
        let filter = TraceFilter { status: Some(status), ..filter() };
        let (found, total) = ids(&*store, &filter, &first(1000), now_us).await;
        assert_eq!(found.len() as u64, total);
        assert!(found.is_sorted_by(|a, b| a > b), "newest first");
        total
    };
    for idle in [0, 1, 29, 30, 31, 45, 89, 90] {
        // Traces before `idle` have been idle for too long, and the one at `idle` for exactly the time allowed.
        let now_us = T0 + idle * 10 * SECOND + IDLE_US;
        let failed = (idle as u64).div_ceil(3);
        assert_eq!(count(ExecutionStatus::Running, now_us).await, 90 - idle as u64);
        assert_eq!(count(ExecutionStatus::Completed, now_us).await, idle as u64 - failed);
        assert_eq!(count(ExecutionStatus::Failed { error: String::new() }, now_us).await, failed);
        assert_eq!(count(ExecutionStatus::Failed { error: "boom".into() }, now_us).await, failed);
    }
}

pub async fn failures_are_filtered_by_error(db: &impl Fixture) {
    let store = db.open().await;
    let chunks = [
        chunk(1, 11, T0, 1).failed(T0, "boom").closed(T0),
        chunk(2, 12, T0, 1).failed(T0, "bang").closed(T0),
        chunk(3, 13, T0, 1).failed(T0, "boom").ended(T0, EndStatus::Failed, "told"),
        chunk(4, 14, T0, 1).failed(T0, "boom").ended(T0, EndStatus::Completed, ""),
        chunk(5, 15, T0, 1).ended(T0, EndStatus::Failed, "boom"),
        chunk(6, 16, T0, 1).failed(T0, "").closed(T0),
        // Counted, but no message told.
        chunk(7, 17, T0, 1).closed(T0).with(|header| header.failures = 1),
    ];
    commit(&*store, &chunks, T0).await;
    let with = async |error: &str| {
        let filter = TraceFilter { status: Some(ExecutionStatus::Failed { error: error.into() }), ..filter() };
        ids(&*store, &filter, &first(10), T0).await.0
    };
    assert_eq!(with("boom").await, [5, 1]);
    assert_eq!(with("told").await, [3]);
    assert_eq!(with("boo").await, [0_u128; 0]);
    assert_eq!(with("").await, [7, 6, 5, 3, 2, 1]);
}

/// Every combination of some filters against a walk over all summaries.
pub async fn filters_combine_like_a_walk_over_all_traces(db: &impl Fixture) {
    let store = db.open().await;
    let chunks = variety();
    commit(&*store, &chunks, T0).await;
    let now_us = T0 + 100 * MINUTE + 17;
    let all = store.query(&filter(), &first(1000), now_us).await.expect("answers").traces;
    assert_eq!(all.len(), 120);
    let failed = |error: &str| ExecutionStatus::Failed { error: error.to_owned() };
    let statuses = [
        None,
        Some(ExecutionStatus::Running),
        Some(ExecutionStatus::Completed),
        Some(failed("")),
        Some(failed("boom")),
    ];
    for status in statuses {
        for flow in [None, Some("tailed"), Some("tailed_100000002")] {
            for actor in [None, Some("even"), Some("actor-2")] {
                for start_us in [None, Some((T0 + 20 * MINUTE, T0 + 90 * MINUTE))] {
                    let filter = TraceFilter {
                        status: status.clone(),
                        flow: flow.map(str::to_owned),
                        actor: actor.map(str::to_owned),
                        start_us,
                        ..filter()
                    };
                    let matches = |trace: &&reflow_tracing_store::TraceSummary| {
                        let header = &chunks[trace.trace_id.as_u128() as usize].header;
                        let found = status_of(trace, now_us, IDLE_US).status;
                        let same = |wanted: &ExecutionStatus| match (wanted, &found) {
                            (ExecutionStatus::Failed { error }, ExecutionStatus::Failed { .. }) if error.is_empty() => {
                                true
                            }
                            (wanted, found) => wanted == found,
                        };
                        status.as_ref().is_none_or(same)
                            && flow.is_none_or(|flow| {
                                header.flow_id.as_deref() == Some(flow) || header.flow_name.as_deref() == Some(flow)
                            })
                            && actor.is_none_or(|actor| header.actors.iter().any(|stats| stats.actor == actor))
                            && start_us.is_none_or(|(from, to)| (from..=to).contains(&trace.start_us))
                    };
                    let expected: Vec<u128> =
                        all.iter().filter(matches).map(|trace| trace.trace_id.as_u128()).collect();
                    let (found, total) = ids(&*store, &filter, &first(1000), now_us).await;
                    assert_eq!(found, expected, "{filter:?}");
                    assert_eq!(total, expected.len() as u64, "{filter:?}");
                    let (counted, total) =
                        ids(&*store, &filter, &Page { limit: 2, offset: 1, after: None }, now_us).await;
                    assert_eq!(total, expected.len() as u64, "{filter:?}");
                    assert!(expected.iter().skip(1).take(2).eq(&counted), "{filter:?}");
                }
            }
        }
    }
}

/// More of them than are looked up one by one.
pub async fn popular_actors_and_many_running_traces(db: &impl Fixture) {
    let store = db.open().await;
    let chunks: Vec<_> = (0..1500_u128)
        .map(|n| {
            let one = chunk(n, 10_000 + n, T0 + (n as i64 * 7919 % 1500) * SECOND, 1).actors(vec![actor("popular", 1)]);
            if n % 10 == 0 { one.failed(T0, "boom") } else { one }
        })
        .collect();
    commit(&*store, &chunks, T0).await;
    // Traces heard of before second 200 are idle for too long.
    let now_us = T0 + 200 * SECOND + IDLE_US;
    let failed = ExecutionStatus::Failed { error: String::new() };
    let cases = [
        (None, Some("popular"), 1500),
        (Some(ExecutionStatus::Running), None, 1300),
        (Some(ExecutionStatus::Running), Some("popular"), 1300),
        (Some(failed.clone()), Some("popular"), 20),
        (Some(failed), Some("nobody"), 0),
    ];
    for (status, actor, expected) in cases {
        let filter = TraceFilter { status, actor: actor.map(str::to_owned), ..filter() };
        let (counted, total) = ids(&*store, &filter, &first(0), now_us).await;
        assert_eq!((counted.len(), total), (0, expected), "{filter:?}");
        let page = store.query(&filter, &first(20), now_us).await.expect("answers");
        assert_eq!((page.total, page.traces.len()), (expected, 20.min(expected as usize)), "{filter:?}");
        assert!(page.traces.is_sorted_by(|a, b| a.start_us > b.start_us));
        let whole = store.query(&filter, &first(2000), now_us).await.expect("answers").traces;
        assert_eq!(whole.len() as u64, expected);
        assert!(whole.starts_with(&page.traces));
    }
}

pub async fn chunk_pages_cover_the_trace(db: &impl Fixture) {
    let store = db.open().await;
    // Same first event time for pairs: the chunk id breaks the tie. 10 bytes an event.
    let chunks: Vec<_> = (0..30_u128)
        .map(|n| chunk(1, 100 + n, T0, 1 + n as u32 % 4).with(|header| header.first_event_us = Some(T0 - n as i64 / 2)))
        .collect();
    commit(&*store, &chunks, T0).await;
    let mut expected: Vec<_> = chunks.iter().map(|c| (c.header.first_event_us, c.header.chunk_uuid())).collect();
    expected.sort_unstable();
    for max_bytes in [0, 1, 10, 35, 100, 1 << 30] {
        let read = all_chunks(&*store, 1, max_bytes).await;
        let found: Vec<_> = read.iter().map(|c| (c.header.first_event_us, c.header.chunk_uuid())).collect();
        assert_eq!(found, expected, "{max_bytes} bytes");
        let page = store.trace_chunks(TENANT, id(1), None, max_bytes).await.expect("answers");
        let before_last: usize = page.chunks.iter().rev().skip(1).map(|chunk| chunk.payload.len()).sum();
        assert!(!page.chunks.is_empty() && (before_last < max_bytes || page.chunks.len() == 1));
    }
}

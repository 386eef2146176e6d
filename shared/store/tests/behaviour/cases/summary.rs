//! What a summary says.

use reflow_tracing_chunk::EndStatus;
use reflow_tracing_protocol::ExecutionStatus;
use reflow_tracing_store::{ClientRow, TraceHead, TraceStatus};

use crate::support::*;

pub async fn the_flow_of_the_earliest_start_wins(db: &impl Fixture) {
    let store = db.open().await;
    commit(&*store, &[chunk(1, 11, T0, 1).flow("a-guess", "a-guess")], T0).await;
    assert_eq!(summary(&*store, 1, T0).await.flow_id.as_deref(), Some("a-guess"));
    commit(&*store, &[chunk(1, 12, T0, 1).flow("z", "z").started(T0 + 9)], T0).await;
    assert_eq!(summary(&*store, 1, T0).await.flow_id.as_deref(), Some("z"), "a start mark beats none");
    commit(&*store, &[chunk(1, 13, T0, 1).flow("y_123456789", "y").started(T0 + 5)], T0).await;
    commit(&*store, &[chunk(1, 14, T0, 1).flow("x", "x").started(T0 + 7)], T0).await;
    let trace = summary(&*store, 1, T0).await;
    assert_eq!((trace.flow_id.as_deref(), trace.flow_name.as_deref()), (Some("y_123456789"), Some("y")));
    commit(&*store, &[chunk(1, 15, T0, 1).flow("b", "b").started(T0 + 5)], T0).await;
    assert_eq!(summary(&*store, 1, T0).await.flow_id.as_deref(), Some("b"), "the least on a tie");
    commit(&*store, &[chunk(1, 16, T0, 1)], T0).await;
    assert_eq!(summary(&*store, 1, T0).await.flow_id.as_deref(), Some("b"));
}

pub async fn a_close_mark_is_no_activity(db: &impl Fixture) {
    let store = db.open().await;
    let closed = chunk(1, 12, T0 + 9 * SECOND, 0).closed(T0 + 9 * SECOND);
    commit(&*store, &[chunk(1, 11, T0, 1), closed], T0).await;
    let trace = summary(&*store, 1, T0 + 10 * SECOND).await;
    assert_eq!((trace.last_received_us, trace.closed_us), (T0, Some(T0 + 9 * SECOND)));
    assert_eq!(trace.status.status, ExecutionStatus::Completed);
    // Nothing but a close mark: it was last heard of when it was first heard of.
    commit(&*store, &[chunk(2, 21, T0, 0).closed(T0)], T0).await;
    let trace = summary(&*store, 2, T0 + SECOND).await;
    assert_eq!((trace.last_received_us, trace.start_us, trace.end_us, trace.event_count), (T0, T0, None, 0));
    assert_eq!(trace.status.status, ExecutionStatus::Completed);
}

pub async fn status_is_told_or_inferred(db: &impl Fixture) {
    let store = db.open().await;
    let status = async |number: u128, now_us: i64| {
        let status = summary(&*store, number, now_us).await.status;
        (status.status, status.inferred)
    };
    let failed = |error: &str| ExecutionStatus::Failed { error: error.to_owned() };
    commit(&*store, &[chunk(1, 11, T0, 1)], T0).await;
    assert_eq!(status(1, T0 + IDLE_US).await, (ExecutionStatus::Running, false));
    assert_eq!(status(1, T0 + IDLE_US + 1).await, (ExecutionStatus::Completed, true));
    commit(&*store, &[chunk(1, 12, T0, 1).failed(T0 + 4, "late"), chunk(1, 13, T0, 1).failed(T0 + 2, "early")], T0)
        .await;
    assert_eq!(status(1, T0 + IDLE_US + 1).await, (failed("early"), true));
    commit(&*store, &[chunk(1, 14, T0 + 5, 0).closed(T0 + 5)], T0).await;
    assert_eq!(status(1, T0 + 6).await, (failed("early"), false));
    commit(&*store, &[chunk(1, 15, T0 + 7, 1)], T0).await;
    assert_eq!(status(1, T0 + 8).await, (ExecutionStatus::Running, false), "it went on after the close");
    commit(&*store, &[chunk(1, 16, T0 + 9, 0).ended(T0 + 9, EndStatus::Failed, "told")], T0).await;
    commit(&*store, &[chunk(1, 17, T0 + 9, 0).ended(T0 + 8, EndStatus::Cancelled, "")], T0).await;
    assert_eq!(status(1, T0 + 10).await, (failed("told"), false), "the latest end");
    commit(&*store, &[chunk(1, 18, T0 + 20, 0).ended(T0 + 20, EndStatus::Completed, "")], T0).await;
    assert_eq!(status(1, T0 + 21).await, (ExecutionStatus::Completed, false), "even with failures");
    let trace = summary(&*store, 1, T0).await;
    assert_eq!((trace.failures, trace.first_error.map(|error| error.at_us)), (2, Some(T0 + 2)));
}

pub async fn a_trace_is_found_by_the_ids_it_was_sent_under(db: &impl Fixture) {
    let store = db.open().await;
    let sent: Vec<u128> = (5000..5100).collect();
    commit(&*store, &[chunk(1, 11, T0, 1).sent_as(&sent[..50]), chunk(2, 21, T0, 1).sent_as(&[6000])], T0).await;
    commit(&*store, &[chunk(1, 12, T0, 1).sent_as(&sent[50..])], T0).await;
    for number in [5000, 5049, 5050, 5099] {
        assert_eq!(summary(&*store, number, T0).await.trace_id, id(1));
    }
    assert_eq!(summary(&*store, 6000, T0).await.trace_id, id(2));
    assert!(find(&*store, 5100, T0).await.is_none());
    // Across two neighbours: the last 8 bytes of one and the first 8 of the next.
    let across = u128::from_be_bytes({
        let both = [*id(5000).as_bytes(), *id(5001).as_bytes()].concat();
        both[8..24].try_into().expect("16 bytes")
    });
    assert!(find(&*store, across, T0).await.is_none());
    let read = all_chunks(&*store, 1, usize::MAX).await;
    assert!(read.iter().all(|chunk| chunk.header.sent_ids.is_empty()), "kept once, not twice");
}

pub async fn clients_say_what_they_recorded(db: &impl Fixture) {
    let store = db.open().await;
    let first = chunk(1, 11, T0, 10).client("b", 0, 0, 1);
    let third = chunk(1, 13, T0, 5).client("b", 30, 4, 0);
    commit(&*store, &[third, chunk(1, 12, T0, 3).client("a", 0, 0, 0)], T0).await;
    commit(&*store, std::slice::from_ref(&first), T0).await;
    commit(&*store, &[first], T0).await;
    let clients = summary(&*store, 1, T0).await.clients;
    let row = |client_id: &str, recorded, stored, dropped, rejected| ClientRow {
        client_id: client_id.to_owned(),
        recorded,
        stored,
        dropped,
        rejected,
    };
    assert_eq!(clients, [row("a", 3, 3, 0, 0), row("b", 35, 15, 4, 1)]);
    let page = store.query(&filter(), &crate::support::first(5), T0).await.expect("answers");
    assert_eq!(page.traces[0].clients, clients);
}

pub async fn versions_are_listed_by_name_and_by_id(db: &impl Fixture) {
    let store = db.open().await;
    let of = |number: u128, received_us: i64| chunk(number, 100 + number, received_us, 1);
    let chunks = [
        of(1, T0 + 5).flow("f_100000001", "f").versioned(1, None),
        of(2, T0 + 1).flow("f_100000002", "f").versioned(1, None),
        of(3, T0 + 3).flow("f_100000003", "f").versioned(2, Some("abc")),
        of(4, T0 + 4).flow("f_100000003", "f").versioned(2, Some("")),
        of(5, T0).flow("g", "g").versioned(7, None),
        of(6, T0).versioned(8, None),
    ];
    for chunk in &chunks {
        commit(&*store, std::slice::from_ref(chunk), T0).await;
    }
    let by_name = store.flow_versions(TENANT, "f").await.expect("answers");
    let seen: Vec<_> = by_name
        .iter()
        .map(|row| (row.version.major, row.version.git_hash.as_deref(), row.first_us - T0, row.last_us - T0))
        .collect();
    assert_eq!(seen, [(2, Some(""), 4, 4), (2, Some("abc"), 3, 3), (1, None, 1, 5)]);
    assert_eq!(by_name[2].version.timestamp_us, T0 + 1);
    assert_eq!(store.flow_versions(TENANT, "f_100000002").await.expect("answers"), by_name);
    assert_eq!(store.flow_versions(TENANT, "g").await.expect("answers").len(), 1);
    assert!(store.flow_versions(TENANT, "h").await.expect("answers").is_empty());
}

pub async fn metadata_and_version_come_with_the_earliest_start(db: &impl Fixture) {
    let store = db.open().await;
    let told = |chunk_id: u128, start_us: i64, metadata: &str, major: u32| {
        let metadata = metadata.to_owned();
        chunk(1, chunk_id, T0, 1).started(start_us).versioned(major, None).with(|header| {
            header.metadata_json = Some(metadata);
            header.execution_id = Some(id(900 + chunk_id).as_bytes().to_vec());
        })
    };
    commit(&*store, &[told(12, T0 + 2, "{\"b\":1}", 2), told(11, T0 + 1, "{\"z\":1}", 1)], T0).await;
    commit(&*store, &[told(13, T0 + 3, "{\"a\":1}", 3), chunk(1, 14, T0, 1).versioned(0, None)], T0).await;
    let trace = summary(&*store, 1, T0).await;
    assert_eq!(trace.metadata_json.as_deref(), Some("{\"z\":1}"));
    assert_eq!(trace.version.expect("told").major, 1);
    assert_eq!(trace.execution_id, Some(id(911)));
}

pub async fn actors_are_summed_over_chunks(db: &impl Fixture) {
    let store = db.open().await;
    commit(&*store, &[chunk(1, 11, T0, 3).actors(vec![actor("a", 2), actor("b", 1)])], T0).await;
    commit(&*store, &[chunk(1, 12, T0, 4).actors(vec![actor("b", 4)]), chunk(2, 21, T0, 9)], T0).await;
    let actors = store.trace_actors(TENANT, id(1)).await.expect("answers");
    let seen: Vec<_> = actors.iter().map(|row| (row.actor.as_str(), row.events, row.bytes, row.time.count)).collect();
    assert_eq!(seen, [("a", 2, 20, 1), ("b", 5, 50, 2)]);
    assert!(store.trace_actors(TENANT, id(3)).await.expect("answers").is_empty());
}

pub async fn heads_of_many_traces(db: &impl Fixture) {
    let store = db.open().await;
    let chunks: Vec<_> = (0..700_u128)
        .map(|n| {
            let one = chunk(n, n, T0, 1);
            if n % 2 == 0 { one.ended(T0, EndStatus::Cancelled, "").flow(&format!("f_{n}"), "f") } else { one }
        })
        .collect();
    commit(&*store, &chunks, T0).await;
    let ids: Vec<_> = (0..1400).map(id).collect();
    let mut heads = store.heads(TENANT, &ids, T0 + 1).await.expect("answers");
    heads.sort_by_key(|head| head.trace_id);
    assert_eq!(heads.len(), 700);
    for (number, head) in heads.into_iter().enumerate() {
        let even = number % 2 == 0;
        let status = if even { ExecutionStatus::Cancelled } else { ExecutionStatus::Running };
        let expected = TraceHead {
            trace_id: id(number as u128),
            status: TraceStatus { status, inferred: false },
            flow_id: even.then(|| format!("f_{number}")),
            flow_name: even.then(|| "f".to_owned()),
        };
        assert_eq!(head, expected);
    }
}

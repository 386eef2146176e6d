//! Names without end: clients of a trace, versions of a flow.

use reflow_tracing_store::{ClientRow, Limits};

use crate::support::*;

pub async fn clients_over_the_limit_are_counted_under_other(db: &impl Fixture) {
    let store = db.open_with(Limits { clients_per_trace: 3, ..Limits::default() }).await;
    let of = |number: u128, client: &str, sequence: u64, rejected: u32| {
        chunk(1, number, T0, 10).client(client, sequence, u64::from(rejected), rejected)
    };
    // Two fit, one of three more does.
    commit(&*store, &[of(11, "a", 0, 0), of(12, "b", 5, 1)], T0).await;
    commit(&*store, &[of(13, "c", 0, 0), of(14, "d", 7, 2), of(15, "e", 0, 0)], T0).await;
    // Those that are known go on, others go on as one; and nothing counts twice.
    for _ in 0..2 {
        commit(&*store, &[of(16, "a", 10, 0), of(17, "d", 19, 1), of(18, "f", 0, 0)], T0).await;
    }
    commit(&*store, &[chunk(2, 21, T0, 10).client("d", 0, 0, 0)], T0).await;
    let row = |client_id: &str, recorded, stored, dropped, rejected| ClientRow {
        client_id: client_id.to_owned(),
        recorded,
        stored,
        dropped,
        rejected,
    };
    let told = summary(&*store, 1, T0).await;
    // What is missing of the others cannot be told: they have recorded what came of them.
    let expected = [row("a", 20, 20, 0, 0), row("b", 16, 10, 1, 1), row("c", 10, 10, 0, 0), row("other", 43, 40, 2, 3)];
    assert_eq!(told.clients, expected);
    assert_eq!(told.event_count, 80, "events count, whoever sent them");
    assert_eq!(summary(&*store, 2, T0).await.clients, [row("d", 10, 10, 0, 0)]);
    assert_eq!(rows(&*store, "trace_clients").await, 5);
}

pub async fn empty_batches_of_ever_new_clients_leave_few_rows(db: &impl Fixture) {
    let store = db.open_with(Limits { clients_per_trace: 2, ..Limits::default() }).await;
    for number in 0..10 {
        commit(&*store, &[chunk(1, number, T0, 0).client(&format!("c{number}"), 0, 4, 0)], T0).await;
    }
    let many: Vec<_> = (10..30).map(|n| chunk(2, n, T0, 0).client(&format!("c{n}"), 0, 4, 0)).collect();
    commit(&*store, &many, T0).await;
    assert_eq!(rows(&*store, "trace_clients").await, 6);
}

pub async fn the_versions_seen_last_are_kept(db: &impl Fixture) {
    let store = db.open_with(Limits { versions_per_flow: 3, ..Limits::default() }).await;
    let start = |number: u128, flow: &str, major: u32| {
        chunk(number, number, T0 + number as i64, 1).flow(flow, flow).versioned(major, Some("hash"))
    };
    let majors = async |flow: &str| {
        let mut rows = store.flow_versions(TENANT, flow).await.expect("answers");
        rows.sort_by_key(|row| row.last_us);
        rows.iter().map(|row| row.version.major).collect::<Vec<_>>()
    };
    for major in 1..=3 {
        commit(&*store, &[start(u128::from(major), "f", major)], T0).await;
    }
    commit(&*store, &[start(10, "f", 1), start(11, "g", 9)], T0).await;
    assert_eq!(majors("f").await, [2, 3, 1]);
    commit(&*store, &[start(12, "f", 4)], T0).await;
    assert_eq!(majors("f").await, [3, 1, 4], "the second had not been seen for the longest");
    let many: Vec<_> = (20..40).map(|n| start(n, "f", n as u32)).collect();
    commit(&*store, &many, T0).await;
    assert_eq!(majors("f").await, [37, 38, 39]);
    assert_eq!(majors("g").await, [9], "another flow's stay");
    assert_eq!(rows(&*store, "flow_versions").await, 4);
}

//! Per-minute rollups and cardinality limits.

use reflow_tracing_chunk::Chunk;
use reflow_tracing_store::{Limits, RollupKind, RollupQuery, RollupRow, Store, TraceFilter};

use crate::support::*;

fn question(kind: RollupKind) -> RollupQuery {
    RollupQuery { tenant: TENANT.to_owned(), kind, flow_name: None, from_us: T0, to_us: T0 + HOUR, by_minute: false }
}

async fn ask(store: &dyn Store, query: &RollupQuery) -> Vec<RollupRow> {
    store.rollups(query).await.expect("answers")
}

fn flowing(number: u128, received_us: i64, flow: &str, actors: &[&str]) -> Chunk {
    let events = actors.len() as u32;
    chunk(number, number, received_us, events)
        .flow(flow, flow)
        .actors(actors.iter().map(|name| actor(name, 1)).collect())
        .with(|header| header.edges = actors.windows(2).map(|pair| edge(pair[0], pair[1], 3)).collect())
}

pub async fn minutes_sum_what_was_received(db: &impl Fixture) {
    let store = db.open().await;
    let chunks = [
        flowing(1, T0, "f", &["a", "b"]),
        flowing(2, T0 + MINUTE - 1, "f", &["a", "b"]).failed(T0, "boom"),
        flowing(3, T0 + MINUTE, "f", &["a"]),
        flowing(4, T0, "g", &["a"]),
        chunk(5, 5, T0, 2),
        flowing(6, T0 + HOUR, "f", &["a"]),
        chunk(7, 7, T0, 0).closed(T0),
    ];
    for call in chunks.chunks(2) {
        commit(&*store, call, T0 + HOUR).await;
    }
    let flows = ask(&*store, &question(RollupKind::Flow)).await;
    let seen: Vec<_> = flows.iter().map(|row| (row.flow_name.as_str(), row.count, row.failures, row.bytes)).collect();
    assert_eq!(seen, [("_", 2, 0, 20), ("f", 5, 1, 50), ("g", 1, 0, 10)]);
    assert!(flows.iter().all(|row| row.minute_us == T0 && row.time.count > 0));

    let of_f = RollupQuery { flow_name: Some("f".into()), by_minute: true, ..question(RollupKind::Actor) };
    let seen: Vec<_> = ask(&*store, &of_f)
        .await
        .into_iter()
        .map(|row| ((row.minute_us - T0) / MINUTE, row.actor, row.count, row.time.count))
        .collect();
    assert_eq!(seen, [(0, "a".into(), 2, 2), (0, "b".into(), 2, 2), (1, "a".into(), 1, 1)]);

    let edges = ask(&*store, &question(RollupKind::Edge)).await;
    assert_eq!(edges.len(), 1);
    let row = &edges[0];
    let names = [&*row.flow_name, &*row.actor, &*row.from_port, &*row.to_actor, &*row.to_port];
    assert_eq!(names, ["f", "a", "out", "b", "in"]);
    assert_eq!((row.count, row.bytes), (6, 144));

    let later = RollupQuery { from_us: T0 + HOUR, to_us: T0 + HOUR + 1, ..question(RollupKind::Flow) };
    assert_eq!(ask(&*store, &later).await.len(), 1, "the end is exclusive, but a minute begun counts whole");
    let none = RollupQuery { from_us: T0 + 2 * HOUR, to_us: T0 + 3 * HOUR, ..question(RollupKind::Flow) };
    assert!(ask(&*store, &none).await.is_empty());
}

pub async fn what_is_over_a_limit_is_counted_under_other(db: &impl Fixture) {
    let store = db.open_with(Limits { actors_per_flow: 2, edges_per_flow: 1, ..Limits::default() }).await;
    for (number, actors) in [["a", "b", "c"], ["d", "a", "b"], ["e", "c", "d"]].iter().enumerate() {
        commit(&*store, &[flowing(number as u128, T0, "f", actors)], T0).await;
    }
    let actors = ask(&*store, &question(RollupKind::Actor)).await;
    let seen: Vec<_> = actors.iter().map(|row| (row.actor.as_str(), row.count)).collect();
    assert_eq!(seen, [("a", 2), ("b", 2), ("other", 5)]);
    assert_eq!(actors.iter().map(|row| row.time.count).sum::<u64>(), 9);
    let edges = ask(&*store, &question(RollupKind::Edge)).await;
    assert_eq!(edges.iter().map(|row| row.count).sum::<u64>(), 18);
    assert!(edges.len() <= 2 && edges.iter().any(|row| row.actor == "other"));
}

pub async fn too_many_flows_go_to_other(db: &impl Fixture) {
    let store = db.open_with(Limits { flows_per_minute: 3, ..Limits::default() }).await;
    let chunks: Vec<_> = (0..12_u128).map(|n| flowing(n, T0, &format!("f{}", n % 6), &["a"])).collect();
    commit(&*store, &chunks[..2], T0).await;
    commit(&*store, &chunks[2..6], T0).await;
    commit(&*store, &chunks[6..], T0).await;
    commit(&*store, &[chunk(50, 50, T0, 1), flowing(51, T0 + MINUTE, "f5", &["a"])], T0).await;
    let rows = ask(&*store, &question(RollupKind::Flow)).await;
    let seen: Vec<_> = rows.iter().map(|row| (row.flow_name.as_str(), row.count)).collect();
    assert_eq!(seen, [("_", 1), ("f0", 2), ("f1", 2), ("f2", 2), ("f5", 1), ("other", 6)]);
}

pub async fn too_many_actors_of_a_trace_are_found_as_other(db: &impl Fixture) {
    let store = db.open_with(Limits { actors_per_trace: 10, ..Limits::default() }).await;
    let names: Vec<String> = (0..40).map(|n| format!("actor-{n:02}")).collect();
    for (number, names) in names.chunks(8).enumerate() {
        let actors = names.iter().map(|name| actor(name, 1)).collect();
        commit(&*store, &[chunk(1, 10 + number as u128, T0, 8).actors(actors)], T0).await;
    }
    let count = async |name: &str| {
        let filter = TraceFilter { actor: Some(name.to_owned()), ..filter() };
        store.query(&filter, &first(0), T0).await.expect("answers").total
    };
    assert_eq!(count("actor-00").await, 1);
    assert_eq!(count("actor-39").await, 0);
    assert_eq!(count("other").await, 1);
    let actors = store.trace_actors(TENANT, id(1)).await.expect("answers");
    assert_eq!(actors.len(), 11);
    assert_eq!(actors.iter().map(|row| row.events).sum::<u64>(), 40);
}

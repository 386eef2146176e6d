//! Several writers at one database.

use std::sync::Arc;

use reflow_tracing_chunk::EndStatus;
use reflow_tracing_store::{
    PostgresOptions, PostgresStore, RollupKind, RollupQuery, StoreErrorKind, StoreReader, StoreWriter,
};

use super::{beside, count, hot, run, writer};
use crate::support::*;

async fn flow_events(store: &PostgresStore) -> u64 {
    let (tenant, kind) = (TENANT.to_owned(), RollupKind::Flow);
    let query = RollupQuery { tenant, kind, flow_name: None, from_us: T0, to_us: T0 + HOUR, by_minute: false };
    store.rollups(&query).await.expect("answers").iter().map(|row| row.count).sum()
}

#[tokio::test]
async fn writers_on_a_hot_flow_add_up_without_waiting_in_a_circle() {
    let db = Postgres::new().await;
    let writers = [Arc::new(writer(&db).await), Arc::new(writer(&db).await), Arc::new(writer(&db).await)];
    let mut tasks = Vec::new();
    for (index, store) in writers.iter().cloned().enumerate() {
        tasks.push(tokio::spawn(async move {
            // Each writer has two thirds of all chunks, so that every chunk comes to two of them.
            for call in 0..20_u128 {
                let numbers = (0..30).map(|n| call * 30 + n).filter(|n| n % 3 != index as u128);
                let mut chunks: Vec<_> = numbers.map(hot).collect();
                chunks.rotate_left(index * 5);
                store.commit(&chunks, T0).await.expect("commits");
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let stats = writers[0].stats().await.expect("answers");
    assert_eq!((stats.traces, stats.events), (5, 1800));
    assert_eq!(flow_events(&writers[0]).await, 1800);
    let mut connection = beside(&db).await;
    assert_eq!(count(&mut connection, "SELECT count(DISTINCT slot) FROM rollups").await, 3);
    assert_eq!(writers[1].flow_versions(TENANT, "hot").await.expect("answers").len(), 1);
}

#[tokio::test]
async fn writers_that_share_a_slot_still_add_up() {
    let db = Postgres::new().await;
    let first = Arc::new(writer(&db).await);
    let mut connection = beside(&db).await;
    // The server forgets that slot 0 is taken.
    let forget = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 0 \
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    run(&mut connection, forget).await;
    let taken = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 0 \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while count(&mut connection, taken).await > 0 {
        tokio::task::yield_now().await;
    }
    let second = Arc::new(writer(&db).await);
    let mut tasks = Vec::new();
    for (index, store) in [first.clone(), second.clone()].into_iter().enumerate() {
        tasks.push(tokio::spawn(async move {
            for call in 0..40 {
                let chunks: Vec<_> = (0..10).map(|n| hot(index as u128 * 400 + call * 10 + n)).collect();
                store.commit(&chunks, T0).await.expect("commits");
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(count(&mut connection, "SELECT count(DISTINCT slot) FROM rollups").await, 1);
    assert_eq!(flow_events(&first).await, 2400);
    let chunks = count(&mut connection, "SELECT sum(chunks)::bigint FROM chunk_hours").await;
    assert_eq!(chunks, 800);
    // Maintenance sorts it out: the first one finds its slot taken and takes another.
    first.retain(&keep(None, None), T0).await.expect("retains");
    first.commit(&[hot(5000)], T0).await.expect("commits");
    assert_eq!(count(&mut connection, "SELECT count(DISTINCT slot) FROM rollups").await, 2);
}

#[tokio::test]
async fn writers_count_traces_without_waiting_for_each_other() {
    let db = Postgres::new().await;
    let writers = [writer(&db).await, writer(&db).await];
    // A transaction that has counted and stays open, as a long commit of the first writer would.
    commit(&writers[0], &[chunk(1, 11, T0, 1).flow("hot", "hot")], T0).await;
    let mut open = beside(&db).await;
    run(&mut open, "BEGIN").await;
    run(&mut open, "SELECT * FROM trace_counts FOR UPDATE").await;
    commit(&writers[1], &[chunk(2, 12, T0, 1).flow("hot", "hot")], T0).await;
    run(&mut open, "COMMIT").await;
    assert_eq!(count(&mut open, "SELECT count(DISTINCT slot) FROM trace_counts").await, 2);
    // What one has begun, the other ends: neither row is zero, and their sum is.
    let ended = [1, 2].map(|trace| chunk(trace, 20 + trace, T0, 1).ended(T0, EndStatus::Completed, ""));
    commit(&writers[1], &ended[..1], T0).await;
    commit(&writers[0], &ended[1..], T0).await;
    writers[0].retain(&keep(None, None), T0).await.expect("retains");
    assert_eq!(count(&mut open, "SELECT count(*) FROM trace_counts WHERE state = 0").await, 0);
    let total = writers[0].query(&filter(), &first(0), T0).await.expect("answers").total;
    assert_eq!(total, 2);
}

#[tokio::test]
async fn every_connection_of_a_writer_knows_its_slot() {
    let db = Postgres::new().await;
    let _first = writer(&db).await;
    let options = PostgresOptions { min_connections: 4, ..db.options() };
    let second = PostgresStore::connect_writer(&options).await.expect("connects");
    // They take turns.
    for trace in 0..8 {
        commit(&second, &[chunk(trace, 10 + trace, T0, 1).flow("hot", "hot")], T0).await;
    }
    let mut connection = beside(&db).await;
    let slots = "SELECT array_agg(DISTINCT slot / 2) = ARRAY[1] FROM trace_counts";
    let told: bool = sqlx::query_scalar(slots).fetch_one(&mut connection).await.expect("answers");
    assert!(told, "rows of the first writer's slot were written by the second");
}

#[tokio::test]
async fn several_may_migrate_at_once() {
    let db = Postgres::new().await;
    let error = PostgresStore::connect_reader(&db.options()).await.expect_err("no schema yet");
    assert_eq!(error.kind, StoreErrorKind::Schema);
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let options = db.options();
        tasks.push(tokio::spawn(async move { PostgresStore::migrate(&options).await.expect("migrates").applied }));
    }
    let mut applied = Vec::new();
    for task in tasks {
        applied.extend(task.await.expect("no panic"));
    }
    applied.sort_unstable();
    let newest = PostgresStore::migrate(&db.options()).await.expect("migrates").build;
    assert_eq!(applied, (1..=newest).collect::<Vec<_>>(), "each step once");
}

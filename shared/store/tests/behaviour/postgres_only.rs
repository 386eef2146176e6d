//! What only a server can do: have several writers, go away, refuse.

use std::sync::Arc;
use std::time::Duration;

use reflow_tracing_chunk::{Chunk, EndStatus};
use reflow_tracing_store::{
    CommitOutcome, PostgresOptions, PostgresStore, RollupKind, RollupQuery, StoreError, StoreErrorKind, StoreReader,
    StoreWriter,
};
use sqlx::{Connection, Executor, PgConnection};

use crate::support::*;

async fn writer(db: &Postgres) -> PostgresStore {
    PostgresStore::connect_writer(&db.options()).await.expect("connects")
}

/// A connection beside the store's.
async fn beside(db: &Postgres) -> PgConnection {
    PgConnection::connect(&db.options().connection_url).await.expect("connects")
}

async fn run(connection: &mut PgConnection, sql: &'static str) {
    connection.execute(sql).await.expect("runs");
}

async fn count(connection: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(connection).await.expect("counts")
}

/// Commits as a writer does: again while the error is one that passes.
async fn commit_again(store: &PostgresStore, chunks: &[Chunk]) -> CommitOutcome {
    for _ in 0..100 {
        match store.commit(chunks, T0).await {
            Ok(outcome) => return outcome,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    panic!("never committed");
}

async fn flow_events(store: &PostgresStore) -> u64 {
    let (tenant, kind) = (TENANT.to_owned(), RollupKind::Flow);
    let query = RollupQuery { tenant, kind, flow_name: None, from_us: T0, to_us: T0 + HOUR, by_minute: false };
    store.rollups(&query).await.expect("answers").iter().map(|row| row.count).sum()
}

fn hot(number: u128) -> Chunk {
    chunk(number % 5, 1000 + number, T0, 3).flow("hot", "hot").versioned(1, None).client("c", 0, 0, 0)
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

/// Bytes that the schema of a newer build refuses are not given up: a build that knows it stores them.
#[tokio::test]
async fn a_refusal_by_a_schema_that_was_contracted_meanwhile_is_no_fault_of_the_chunks() {
    let db = Postgres::new().await;
    let store = writer(&db).await;
    commit(&store, &[hot(1)], T0).await;
    db.sql(db.expand()).await;
    db.sql("ALTER TABLE traces ADD CONSTRAINT next_told CHECK (next_note IS NOT NULL) NOT VALID").await;
    let error = store.commit(&[hot(2)], T0).await.expect_err("refused");
    assert_eq!(error.kind, StoreErrorKind::Rejected, "as far as anybody says, this build may write it");
    db.sql("UPDATE schema_compatibility SET writable_from = (SELECT max(version) FROM schema_migrations)").await;
    let error = store.commit(&[hot(2)], T0).await.expect_err("refused");
    assert_eq!(error.kind, StoreErrorKind::Schema, "{error}");
}

#[tokio::test]
async fn a_lost_connection_passes() {
    let db = Postgres::new().await;
    let store = writer(&db).await;
    commit_again(&store, &[hot(1)]).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    run(&mut beside(&db).await, cut).await;
    commit_again(&store, &[hot(1), hot(2)]).await;
    assert_eq!(summary(&store, 1, T0).await.event_count + summary(&store, 2, T0).await.event_count, 6);
    store.retain(&keep(None, None), T0).await.expect("takes its slot again");
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable_and_the_password_stays_secret() {
    let options = PostgresOptions {
        acquire_timeout: Duration::from_millis(300),
        ..PostgresOptions::new("postgres://someone:hunter2@127.0.0.1:1/nowhere")
    };
    let error = PostgresStore::connect_writer(&options).await.expect_err("nobody is there");
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(error.is_retryable());
    let bad = PostgresOptions::new("postgres//someone:hunter2@host:notaport/x");
    let refused: StoreError = PostgresStore::connect_reader(&bad).await.expect_err("no url");
    let printed = format!("{options:?} {error} {error:?} {bad:?} {refused} {refused:?}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[tokio::test]
async fn a_deadlock_is_tried_again_and_a_data_error_is_not() {
    let db = Postgres::new().await;
    let store = writer(&db).await;
    let mut connection = beside(&db).await;
    run(
        &mut connection,
        "CREATE SEQUENCE tries; \
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.events = 555 AND nextval('tries') < 4 THEN RAISE EXCEPTION 'as if' USING ERRCODE = '40P01'; END IF; \
         IF NEW.events = 666 THEN RAISE EXCEPTION 'never' USING ERRCODE = '22023'; END IF; \
         IF NEW.events = 777 THEN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END IF; \
         RETURN NEW; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON rollups FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    .await;
    assert_eq!(store.commit(&[chunk(1, 11, T0, 555)], T0).await.expect("in the end").stored, 1);
    assert_eq!(count(&mut connection, "SELECT last_value FROM tries").await, 4);
    let bad = chunk(2, 12, T0, 666).flow("bad", "bad");
    let error = store.commit(&[chunk(3, 13, T0, 1), bad], T0).await.expect_err("refused");
    assert_eq!(error.kind, StoreErrorKind::Rejected);
    let full = chunk(4, 14, T0, 777).flow("full", "full");
    let error = store.commit(&[full], T0).await.expect_err("refused");
    assert_eq!((error.kind, error.is_retryable()), (StoreErrorKind::Full, true));
    assert_eq!(store.stats().await.expect("answers").traces, 1, "all or nothing");
}

#[tokio::test]
async fn a_commit_that_takes_too_long_is_given_up_and_counts_once() {
    let db = Postgres::new().await;
    let options = PostgresOptions { commit_timeout: Duration::from_millis(200), ..db.options() };
    let store = PostgresStore::connect_writer(&options).await.expect("connects");
    commit(&store, &[hot(1)], T0).await;
    let mut connection = beside(&db).await;
    run(&mut connection, "BEGIN; LOCK TABLE trace_actors IN EXCLUSIVE MODE").await;
    let error = store.commit(&[hot(2)], T0).await.expect_err("held up");
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    run(&mut connection, "COMMIT").await;
    commit_again(&store, &[hot(2)]).await;
    assert_eq!(summary(&store, 2, T0).await.event_count, 3);
}

#[tokio::test]
async fn partitions_are_made_ahead_and_made_again() {
    let db = Postgres::new().await;
    let store = writer(&db).await;
    commit(&store, &[hot(1)], T0).await;
    let mut connection = beside(&db).await;
    let partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'chunks'::regclass";
    assert_eq!(count(&mut connection, partitions).await, 4);
    run(&mut connection, "DROP TABLE chunks_20241004").await;
    commit(&store, &[hot(2)], T0).await;
    assert_eq!(count(&mut connection, partitions).await, 4);
    store.retain(&keep(None, None), T0 + 2 * DAY).await.expect("retains");
    assert_eq!(count(&mut connection, partitions).await, 5, "2 days on and 3 ahead; the unused day between is gone");
    let stored = count(&mut connection, "SELECT count(*) FROM pg_attribute WHERE attname = 'payload' AND attstorage = 'e' AND attrelid = 'chunks_20241004'::regclass").await;
    assert_eq!(stored, 1, "payloads are not compressed again");
}

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
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut watch = beside(&db).await;
    while count(&mut watch, waiting).await == 0 {
        tokio::task::yield_now().await;
    }
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
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut watch = beside(&db).await;
    while count(&mut watch, waiting).await == 0 {
        tokio::task::yield_now().await;
    }
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

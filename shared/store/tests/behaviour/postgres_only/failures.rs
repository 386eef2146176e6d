//! A server that is away, cut off, or refuses.

use std::time::Duration;

use reflow_tracing_store::{PostgresOptions, PostgresStore, StoreError, StoreErrorKind, StoreReader, StoreWriter};
use tokio::time::timeout;

use super::{beside, commit_again, count, hot, run, writer};
use crate::support::*;

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

/// Nothing tells of such a cut but silence. Each question that found that out for one connection after the other would be an outage.
#[tokio::test]
async fn connections_that_fell_silent_are_given_up_at_once() {
    let db = Postgres::new().await;
    let (start, server) =
        db.options().connection_url.split_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a url");
    let (server, name) = server.split_once('/').expect("a database");
    let way = Way::to(server.to_owned()).await;
    let connection_url = format!("{start}@127.0.0.1:{}/{name}", way.port());
    let options = PostgresOptions { min_connections: 4, connection_url, ..db.options() };
    let store = PostgresStore::connect_writer(&options).await.expect("connects");
    commit(&store, &[hot(1)], T0).await;
    // A connection that was used a moment ago is not asked whether it lives.
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                AND application_name = 'reflow-tracing-writer' AND state_change < clock_timestamp() - interval '1.1 s'";
    let mut watch = beside(&db).await;
    while count(&mut watch, idle).await < 5 {
        tokio::task::yield_now().await;
    }
    way.cut();
    let patience = Duration::from_secs(20);
    let found = timeout(patience, store.find_trace(TENANT, id(1), T0)).await.expect("finds a connection");
    assert_eq!(found.expect("answers").map(|trace| trace.event_count), Some(3));
    let policy = keep(None, None);
    let retention = timeout(patience, store.retain(&policy, T0)).await.expect("finds a connection");
    retention.expect("takes a slot again");
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_name_is_refused() {
    let db = Postgres::made_with("ENCODING 'LATIN1' LOCALE 'C'").await;
    let errors = [
        PostgresStore::connect_writer(&db.options()).await.expect_err("refused"),
        PostgresStore::connect_reader(&db.options()).await.expect_err("refused"),
        PostgresStore::migrate(&db.options()).await.expect_err("refused"),
    ];
    for error in errors {
        assert_eq!(error.kind, StoreErrorKind::Schema);
        assert!(error.reason.contains("LATIN1") && error.reason.contains("ENCODING 'UTF8'"), "{error}");
    }
    let mut connection = beside(&db).await;
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(count(&mut connection, tables).await, 0, "and left alone");
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

//! Partitions: made when they are missing.

use std::time::Duration;

use reflow_tracing_store::{PostgresOptions, PostgresStore, StoreWriter};
use tokio::time::timeout;

use super::{beside, count, hot, run, writer};
use crate::support::*;

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
    store.retain(&keep(None, None), T0 + 3 * DAY).await.expect("retains");
    let left = "3 days on and 3 ahead; the unused day between is gone, except for yesterday";
    assert_eq!(count(&mut connection, partitions).await, 6, "{left}");
    let stored = count(&mut connection, "SELECT count(*) FROM pg_attribute WHERE attname = 'payload' AND attstorage = 'e' AND attrelid = 'chunks_20241004'::regclass").await;
    assert_eq!(stored, 1, "payloads are not compressed again");
}

/// Nobody's questions or commits wait for midnight because pg_dump is running.
#[tokio::test]
async fn a_day_begins_beside_a_reader_that_takes_long() {
    let db = Postgres::new().await;
    let options = PostgresOptions { commit_timeout: Duration::from_secs(20), ..db.options() };
    let store = PostgresStore::connect_writer(&options).await.expect("connects");
    commit(&store, &[hot(1)], T0).await;
    let mut reader = beside(&db).await;
    run(&mut reader, "BEGIN; LOCK TABLE chunks IN ACCESS SHARE MODE").await;
    let chunks = [hot(2)];
    let next = timeout(Duration::from_secs(20), store.commit(&chunks, T0 + 10 * DAY)).await;
    assert_eq!(next.expect("does not wait for the reader").expect("commits").stored, 1);
}

/// Something that no partition can be made beside, such as an ANALYZE or an index that is built on the side.
#[tokio::test]
async fn days_ahead_are_left_to_the_next_time() {
    let db = Postgres::new().await;
    let store = writer(&db).await;
    commit(&store, &[hot(1)], T0).await;
    let mut other = beside(&db).await;
    let partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'chunks'::regclass";
    run(&mut other, "BEGIN; LOCK TABLE chunks IN SHARE UPDATE EXCLUSIVE MODE").await;
    let chunks = [hot(2)];
    let next = timeout(Duration::from_secs(20), store.commit(&chunks, T0 + DAY)).await;
    assert_eq!(next.expect("does not wait for a day that is far").expect("commits").stored, 1);
    run(&mut other, "COMMIT").await;
    assert_eq!(count(&mut other, partitions).await, 4);
    store.retain(&keep(None, None), T0 + DAY).await.expect("retains");
    assert_eq!(count(&mut other, partitions).await, 5);
}

/// A table that is made like another and then attached has all that PostgreSQL would have given a partition, whatever later versions of
/// the schema add to the parent.
#[tokio::test]
async fn partitions_are_as_postgres_makes_them() {
    let db = Postgres::new().await;
    let store = writer(&db).await;
    commit(&store, &[hot(1)], T0).await;
    let mut connection = beside(&db).await;
    run(
        &mut connection,
        "ALTER TABLE chunks ADD COLUMN told bigint NOT NULL DEFAULT 7, \
         ADD COLUMN twice bigint GENERATED ALWAYS AS (events * 2) STORED, ADD CONSTRAINT some_or_none CHECK (events >= 0); \
         CREATE INDEX chunks_by_twice ON chunks (twice) WHERE told > 0; \
         CREATE TABLE model PARTITION OF chunks FOR VALUES FROM (50000) TO (50001)",
    )
    .await;
    commit(&store, &[hot(2)], T0 + 10 * DAY).await;
    for of_table in [
        "SELECT string_agg(concat_ws(' ', attnum, attname, format_type(atttypid, atttypmod), attnotnull, attstorage, attgenerated, \
         attislocal, attinhcount, pg_get_expr(adbin, adrelid)), ', ' ORDER BY attnum) FROM pg_attribute \
         LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attnum > 0 AND attrelid = $1::regclass",
        "SELECT string_agg(concat_ws(' ', p.relname, am.amname, i.indkey, pg_get_expr(i.indpred, i.indrelid)), ', ' ORDER BY p.relname) \
         FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indexrelid JOIN pg_class p ON p.oid = h.inhparent \
         JOIN pg_am am ON am.oid = p.relam WHERE i.indrelid = $1::regclass",
        "SELECT count(*)::text FROM pg_index WHERE indrelid = $1::regclass",
        "SELECT string_agg(concat_ws(' ', conname, pg_get_constraintdef(oid)), ', ' ORDER BY conname) FROM pg_constraint \
         WHERE conrelid = $1::regclass AND contype = 'c'",
    ] {
        let mut shape = async |table: &str| -> String {
            sqlx::query_scalar(of_table).bind(table).fetch_one(&mut connection).await.expect("answers")
        };
        let made = shape("chunks_20241014").await;
        assert_eq!(made, shape("model").await);
    }
    let stored = "SELECT twice FROM chunks_20241014 WHERE told = 7";
    assert_eq!(count(&mut connection, stored).await, 6);
}

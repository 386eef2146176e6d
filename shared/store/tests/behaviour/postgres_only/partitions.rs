//! Partitions: made when they are missing.

use reflow_tracing_store::StoreWriter;

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

//! What only a server can do: have several writers, go away, refuse.

mod failures;
mod partitions;
mod retention;
mod upkeep;
mod writers;

use reflow_tracing_chunk::Chunk;
use reflow_tracing_store::{CommitOutcome, PostgresStore, StoreWriter};
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

/// Ends when so many statements wait for a lock.
async fn until_waiting(db: &Postgres, statements: i64) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut watch = beside(db).await;
    while count(&mut watch, waiting).await < statements {
        tokio::task::yield_now().await;
    }
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

fn hot(number: u128) -> Chunk {
    chunk(number % 5, 1000 + number, T0, 3).flow("hot", "hot").versioned(1, None).client("c", 0, 0, 0)
}

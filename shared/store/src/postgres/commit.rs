//! A commit: one transaction, again as a whole after a deadlock, given up after a time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use reflow_tracing_chunk::Chunk;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use uuid::Uuid;

use super::PostgresStore;
use super::error::{is_conflict, is_missing_partition, store_error};
use super::partition::make_partitions;
use super::schema::check_writer;
use super::steps::{Steps, add_to_hour};
use crate::merge::{Hour, unique_ids};
use crate::sql::commit;
use crate::{CommitOutcome, StoreError, StoreErrorKind};

const CONTEXT: &str = "committing chunks";

/// Transactions tried before the caller hears of it. Key order makes deadlocks rare; what is left are meetings with compaction and retention.
pub(super) const ATTEMPTS: u32 = 8;

impl PostgresStore {
    pub(super) async fn commit_chunks(&self, chunks: &[Chunk], now_us: i64) -> Result<CommitOutcome, StoreError> {
        if chunks.is_empty() {
            return Ok(CommitOutcome::default());
        }
        let ids = unique_ids(chunks);
        let mut attempt = 0;
        loop {
            attempt += 1;
            self.know_partition(Hour::of(now_us)).await.map_err(|error| store_error(CONTEXT, error))?;
            let error = match self.try_commit(&ids, chunks, now_us).await? {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            let again = is_conflict(&error) || is_missing_partition(&error);
            if !again || attempt == ATTEMPTS {
                return Err(self.believed(store_error(CONTEXT, error)).await);
            }
            if is_missing_partition(&error) {
                // Somebody dropped it behind our back.
                self.known_day.store(i64::MIN, Ordering::Relaxed);
            }
            tracing::debug!(attempt, %error, "commit is tried again");
            pause(attempt).await;
        }
    }

    /// The outer error is final, the inner one may pass.
    async fn try_commit(
        &self,
        ids: &[Uuid],
        chunks: &[Chunk],
        now_us: i64,
    ) -> Result<Result<CommitOutcome, sqlx::Error>, StoreError> {
        let mut connection = self.reader.pool.acquire().await.map_err(|error| store_error(CONTEXT, error))?;
        let run = self.transaction(&mut connection, ids, chunks, now_us);
        match tokio::time::timeout(self.commit_timeout, run).await {
            Ok(done) => Ok(done),
            Err(_) => {
                // Nobody knows what this connection is in the middle of: it must not go back to the pool.
                drop(connection.detach());
                let reason = format!("no answer within {} s", self.commit_timeout.as_secs());
                Err(StoreError::new(StoreErrorKind::Unavailable, CONTEXT, reason))
            }
        }
    }

    /// Adds nothing to the current hour.
    pub(super) async fn touch_hour(&self, now_us: i64) -> Result<(), StoreError> {
        let run = async {
            let mut connection = self.reader.pool.acquire().await?;
            add_to_hour(&mut connection, self.slot.number(), Hour::of(now_us), [0; 3]).await
        };
        run.await.map_err(|error| store_error("probing the database", error))
    }

    /// A refusal of these bytes for ever is believed only while this build may write the schema: another may have been made under a
    /// running writer, and what it refuses is not the chunks' fault.
    async fn believed(&self, error: StoreError) -> StoreError {
        if error.kind != StoreErrorKind::Rejected {
            return error;
        }
        match self.reader.pool.acquire().await {
            Ok(mut connection) => check_writer(&mut connection).await.err().unwrap_or(error),
            Err(away) => store_error(CONTEXT, away),
        }
    }

    async fn transaction(
        &self,
        connection: &mut PgConnection,
        ids: &[Uuid],
        chunks: &[Chunk],
        now_us: i64,
    ) -> Result<CommitOutcome, sqlx::Error> {
        let limit_ms = self.statement_limit().as_millis().max(1);
        let begin = format!("BEGIN; SET LOCAL statement_timeout = {limit_ms}");
        let mut transaction = connection.begin_with(AssertSqlSafe(begin)).await?;
        let mut steps = Steps { connection: &mut transaction, slot: self.slot.number() };
        let outcome = commit::run(&mut steps, ids, chunks, now_us, &self.limits).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    /// The server gives up a statement before our patience ends: it would go on without us, and keep its locks.
    pub(super) fn statement_limit(&self) -> Duration {
        self.commit_timeout * 3 / 4
    }

    /// Makes today's partition, and those of the next days, unless this writer has done so before.
    async fn know_partition(&self, at: Hour) -> Result<(), sqlx::Error> {
        if self.known_day.load(Ordering::Relaxed) == at.day {
            return Ok(());
        }
        make_partitions(&self.reader.pool, at, self.statement_limit()).await?;
        self.known_day.store(at.day, Ordering::Relaxed);
        Ok(())
    }
}

/// Some milliseconds, more each time, never the same for two writers.
pub(super) async fn pause(attempt: u32) {
    let most_ms = 4_u64 << attempt.min(7);
    tokio::time::sleep(Duration::from_millis(rand::random_range(1..=most_ms))).await;
}

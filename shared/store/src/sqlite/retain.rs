//! Retention: removes hours of chunks in short transactions, so that commits get their turn in between.
//!
//! Freed pages stay in the file and are used again: it stops growing, it does not shrink.

use std::sync::atomic::Ordering;

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::commit::add_to_hour;
use super::error::store_error;
use super::multi::Multi;
use super::writer::Writer;
use crate::merge::retention::{DAY_US, first_day_kept, first_day_seen, hours_to_remove};
use crate::merge::{Hour, minute_of};
use crate::sql::statement::Columns;
use crate::{RetentionOutcome, RetentionPolicy, StoreError};

/// Chunks removed in one transaction, and `seen` entries looked at in one: some tens of milliseconds.
const CHUNKS_A_STEP: i64 = 1_000;
const SEEN_A_STEP: i64 = 20_000;

static DELETE_TRACES: Multi =
    Multi::new("WITH k (seq) AS (VALUES ", 1, ") DELETE FROM traces WHERE seq IN (SELECT seq FROM k)");
static DELETE_ACTORS: Multi =
    Multi::new("WITH k (seq) AS (VALUES ", 1, ") DELETE FROM trace_actors WHERE trace IN (SELECT seq FROM k)");
static DELETE_CLIENTS: Multi =
    Multi::new("WITH k (seq) AS (VALUES ", 1, ") DELETE FROM trace_clients WHERE trace IN (SELECT seq FROM k)");
static DELETE_ALIASES: Multi =
    Multi::new("WITH k (seq) AS (VALUES ", 1, ") DELETE FROM trace_aliases WHERE trace IN (SELECT seq FROM k)");
/// What is left of a trace without events: chunks of lifecycle marks.
static DELETE_MARKS: Multi = Multi::new(
    "WITH k (seq) AS (VALUES ",
    1,
    ") DELETE FROM chunks WHERE trace IN (SELECT seq FROM k) RETURNING day, hour, octet_length(payload)",
);

impl Writer {
    pub async fn retain(&self, policy: &RetentionPolicy, now_us: i64) -> Result<RetentionOutcome, StoreError> {
        let run = async {
            let mut outcome = RetentionOutcome::default();
            for hour in hours_to_remove(&self.hours().await?, policy, now_us) {
                while self.remove_some(hour, &mut outcome).await? {}
            }
            if let Some(day) = first_day_kept(policy, now_us) {
                self.remove_rollups(day).await?;
            }
            outcome.seen = self.prune_seen(first_day_seen(policy, now_us)).await?;
            Ok(outcome)
        };
        run.await.map_err(|error| store_error("removing what is too old", error))
    }

    async fn hours(&self) -> Result<Vec<(Hour, u64)>, sqlx::Error> {
        let mut transaction = self.begin().await?;
        let rows = sqlx::query("SELECT day, hour, bytes FROM chunk_hours ORDER BY day, hour")
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        rows.iter().map(|row| Ok((Hour { day: row.int(0)?, hour: row.int(1)? }, row.count(2)?))).collect()
    }

    /// Removes some chunks of an hour; `false` when none are left.
    async fn remove_some(&self, at: Hour, outcome: &mut RetentionOutcome) -> Result<bool, sqlx::Error> {
        let mut transaction = self.begin().await?;
        let connection = &mut *transaction;
        let rows = sqlx::query(
            "SELECT max(id), count(*), sum(events), sum(octet_length(payload)) FROM (\
             SELECT id, events, payload FROM chunks WHERE day = ? AND hour = ? ORDER BY id LIMIT ?)",
        )
        .bind(at.day)
        .bind(at.hour)
        .bind(CHUNKS_A_STEP)
        .fetch_one(&mut *connection)
        .await?;
        let Some(last_id) = rows.int_opt(0)? else {
            sqlx::query("DELETE FROM chunk_hours WHERE day = ? AND hour = ?")
                .bind(at.day)
                .bind(at.hour)
                .execute(&mut *connection)
                .await?;
            transaction.commit().await?;
            return Ok(false);
        };
        let (chunks, events, bytes) = (rows.int(1)?, rows.int(2)?, rows.int(3)?);
        let emptied = sqlx::query(
            "UPDATE traces SET stored_events = max(stored_events - gone.events, 0) FROM (\
             SELECT trace, sum(events) AS events FROM chunks WHERE day = ?1 AND hour = ?2 AND id <= ?3 GROUP BY trace) AS gone \
             WHERE traces.seq = gone.trace RETURNING seq, stored_events",
        )
        .bind(at.day)
        .bind(at.hour)
        .bind(last_id)
        .fetch_all(&mut *connection)
        .await?;
        sqlx::query("DELETE FROM chunks WHERE day = ? AND hour = ? AND id <= ?")
            .bind(at.day)
            .bind(at.hour)
            .bind(last_id)
            .execute(&mut *connection)
            .await?;
        add_to_hour(connection, at, -chunks, -events, -bytes).await?;

        let emptied: Vec<i64> =
            emptied.iter().filter(|row| row.get::<i64, _>(1) == 0).map(|row| row.get::<i64, _>(0)).collect();
        remove_traces(connection, &emptied).await?;
        transaction.commit().await?;
        outcome.chunks += u64::try_from(chunks).unwrap_or(0);
        outcome.bytes += u64::try_from(bytes).unwrap_or(0);
        outcome.traces += emptied.len() as u64;
        Ok(true)
    }

    /// Rollups and versions go by age alone: they are what dashboards still have when size has taken the events.
    async fn remove_rollups(&self, first_day: i64) -> Result<(), sqlx::Error> {
        let first_us = first_day.saturating_mul(DAY_US);
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM rollups WHERE minute < ?")
            .bind(minute_of(first_us))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM flow_versions WHERE last_us < ?").bind(first_us).execute(&mut *transaction).await?;
        transaction.commit().await
    }

    /// Walks `seen` once for each day by which the horizon moves.
    async fn prune_seen(&self, first_day: i64) -> Result<u64, sqlx::Error> {
        if self.pruned_day.load(Ordering::Relaxed) >= first_day {
            return Ok(0);
        }
        let mut transaction = self.begin().await?;
        let packed =
            sqlx::query_scalar::<_, i64>("DELETE FROM seen_packed WHERE day < ? RETURNING octet_length(ids) / 16")
                .bind(first_day)
                .fetch_all(&mut *transaction)
                .await?;
        transaction.commit().await?;
        let mut removed: u64 = packed.iter().map(|ids| u64::try_from(*ids).unwrap_or(0)).sum();
        let mut after: Vec<u8> = Vec::new();
        loop {
            let mut transaction = self.begin().await?;
            let last: Option<Vec<u8>> = sqlx::query_scalar(
                "SELECT max(chunk_id) FROM (SELECT chunk_id FROM seen WHERE chunk_id > ? ORDER BY chunk_id LIMIT ?)",
            )
            .bind(&after)
            .bind(SEEN_A_STEP)
            .fetch_one(&mut *transaction)
            .await?;
            let Some(last) = last else {
                transaction.commit().await?;
                break;
            };
            removed += sqlx::query("DELETE FROM seen WHERE chunk_id > ? AND chunk_id <= ? AND day < ?")
                .bind(&after)
                .bind(&last)
                .bind(first_day)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            transaction.commit().await?;
            after = last;
        }
        self.pruned_day.store(first_day, Ordering::Relaxed);
        Ok(removed)
    }
}

async fn remove_traces(connection: &mut SqliteConnection, seqs: &[i64]) -> Result<(), sqlx::Error> {
    for table in [&DELETE_TRACES, &DELETE_ACTORS, &DELETE_CLIENTS, &DELETE_ALIASES] {
        table.execute(connection, seqs, |seq, row| row.add(*seq)).await?;
    }
    let marks = DELETE_MARKS.fetch(connection, seqs, |seq, row| row.add(*seq)).await?;
    for row in marks {
        let at = Hour { day: row.int(0)?, hour: row.int(1)? };
        add_to_hour(connection, at, -1, 0, -row.int(2)?).await?;
    }
    Ok(())
}

//! Replaces the chunks of a window, under the trace's row lock.

use std::sync::atomic::AtomicI64;

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::error::{is_conflict, is_missing_partition, store_error};
use super::steps::add_to_hour;
use super::{PostgresReader, PostgresStore};
use crate::StoreError;
use crate::merge::compaction::{ChunkRef, Finish, Replacement, hour_sums, join_ids, pack};
use crate::merge::stored_header;
use crate::sql::compact::Compacting;
use crate::sql::statement::Columns;

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[async_trait]
impl Compacting for PostgresStore {
    type Reader = PostgresReader;

    fn reader(&self) -> &PostgresReader {
        &self.reader
    }

    fn cursor(&self) -> &AtomicI64 {
        &self.compact_cursor
    }

    async fn replace(
        &self,
        trace: (i64, Uuid),
        window: &[ChunkRef],
        replacement: &Replacement,
        finish: Option<Finish>,
    ) -> Result<bool, StoreError> {
        let slot = self.slot.number();
        let run = async {
            let mut connection = self.reader.pool.acquire().await?;
            let mut transaction = connection.begin().await?;
            // The order of commits: summaries first, chunks after.
            let there = sqlx::query("SELECT seq FROM traces WHERE seq = $1 FOR UPDATE").bind(trace.0);
            if there.fetch_optional(&mut *transaction).await?.is_none() {
                return Ok(false);
            }
            if !replacement.chunks.is_empty() && !swap(&mut transaction, slot, trace, window, replacement).await? {
                return Ok(false);
            }
            if let Some(finish) = finish {
                mark(&mut transaction, trace.0, finish).await?;
            }
            transaction.commit().await?;
            Ok(true)
        };
        match run.await {
            // The trace comes round again.
            Err(error) if is_conflict(&error) || is_missing_partition(&error) => Ok(false),
            done => done.map_err(|error| store_error("replacing chunks", error)),
        }
    }
}

async fn swap(
    connection: &mut PgConnection,
    slot: i64,
    (seq, trace_id): (i64, Uuid),
    window: &[ChunkRef],
    replacement: &Replacement,
) -> Result<bool, sqlx::Error> {
    let ids: Vec<Uuid> = window.iter().map(|chunk| chunk.chunk_id).collect();
    let deleted = sqlx::query("DELETE FROM chunks WHERE trace = $1 AND day = $2 AND chunk_id = ANY($3)")
        .bind(seq)
        .bind(replacement.at.day)
        .bind(&ids)
        .execute(&mut *connection)
        .await?;
    if deleted.rows_affected() != window.len() as u64 {
        return Ok(false);
    }
    for chunk in &replacement.chunks {
        let header = &chunk.header;
        sqlx::query(
            "INSERT INTO chunks (day, hour, trace, first_us, events, raw_bytes, chunk_id, header, payload) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(replacement.at.day)
        .bind(replacement.at.hour)
        .bind(seq)
        .bind(header.first_event_us)
        .bind(i64::from(header.event_count))
        .bind(i64::from(header.raw_size))
        .bind(header.chunk_uuid())
        .bind(stored_header(header).to_bytes())
        .bind(&chunk.payload[..])
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query(
        "UPDATE traces SET event_count = event_count - $2, stored_events = stored_events - $2, failures = failures - $3, \
         left_out_milli = GREATEST(left_out_milli - $4, 0) WHERE seq = $1",
    )
    .bind(seq)
    .bind(signed(replacement.duplicates))
    .bind(signed(replacement.failures))
    .bind(signed(replacement.left_out_milli))
    .execute(&mut *connection)
    .await?;

    // Ids of chunks that were merged before are packed already: only those found in `seen` move.
    let rows = sqlx::query("DELETE FROM seen WHERE chunk_id = ANY($1) RETURNING chunk_id, day")
        .bind(&ids)
        .fetch_all(&mut *connection)
        .await?;
    let moved =
        rows.iter().map(|row: &PgRow| Ok((row.id(0)?, row.int(1)?))).collect::<Result<Vec<_>, sqlx::Error>>()?;
    let day = moved.iter().map(|(_, day)| *day).max().unwrap_or(replacement.at.day);
    for ids in pack(moved.into_iter().map(|(id, _)| id).collect()) {
        sqlx::query(
            "INSERT INTO seen_packed (trace_id, first_id, day, ids) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (trace_id, first_id) DO NOTHING",
        )
        .bind(trace_id)
        .bind(Uuid::from_slice(&ids[..16]).unwrap_or_default())
        .bind(day)
        .bind(ids)
        .execute(&mut *connection)
        .await?;
    }
    for (at, numbers) in hour_sums(window, replacement) {
        add_to_hour(connection, slot, at, numbers).await?;
    }
    Ok(true)
}

/// Counts are exact when no chunk came since they were listed. Another writer may have been over the same chunks meanwhile, and others may
/// have come after that: then as many chunks are loose as before, but more are there, and the mark is left to the next round.
async fn mark(connection: &mut PgConnection, seq: i64, finish: Finish) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE traces SET exact = CASE WHEN $3 AND loose_chunks = $2 THEN 1 ELSE exact END, \
         loose_chunks = GREATEST(loose_chunks - $2, 0) \
         WHERE seq = $1 AND (SELECT count(*) FROM chunks WHERE trace = $1) - $4 = loose_chunks - $2",
    )
    .bind(seq)
    .bind(signed(finish.loose_chunks))
    .bind(finish.exact)
    .bind(signed(finish.chunks))
    .execute(&mut *connection)
    .await?;
    let aliases =
        sqlx::query("SELECT ids FROM trace_aliases WHERE trace = $1").bind(seq).fetch_all(&mut *connection).await?;
    if aliases.len() > 1 {
        let ids = aliases.iter().map(|row| row.bytes(0)).collect::<Result<Vec<_>, _>>()?;
        // Under the trace's lock nobody else adds or joins them.
        sqlx::query("DELETE FROM trace_aliases WHERE trace = $1").bind(seq).execute(&mut *connection).await?;
        for ids in join_ids(&ids) {
            sqlx::query("INSERT INTO trace_aliases (trace, ids) VALUES ($1, $2)")
                .bind(seq)
                .bind(ids)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

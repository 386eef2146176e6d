//! Replaces the chunks of a window.

use std::sync::atomic::AtomicI64;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::commit::{DROP_SEEN, add_to_hour};
use super::error::store_error;
use super::multi::Multi;
use super::{SqliteReader, SqliteStore};
use crate::StoreError;
use crate::merge::compaction::{ChunkRef, Finish, Replacement, hour_sums, join_ids, pack};
use crate::merge::stored_header;
use crate::sql::compact::Compacting;
use crate::sql::statement::Columns;

/// A row id may have been given away again: the chunk id says whether it is still this chunk.
static DELETE_CHUNKS: Multi = Multi::new(
    "WITH k (trace, first_us, chunk_id) AS (VALUES ",
    3,
    ") DELETE FROM chunks WHERE id IN (SELECT c.id FROM k CROSS JOIN chunks c \
     ON c.trace = k.trace AND c.first_us IS k.first_us AND c.chunk_id = k.chunk_id)",
);
static INSERT_PACKED: Multi = Multi::new(
    "INSERT INTO seen_packed (trace_id, first_id, day, ids) VALUES ",
    4,
    " ON CONFLICT (trace_id, first_id) DO NOTHING",
);

#[async_trait]
impl Compacting for SqliteStore {
    type Reader = SqliteReader;

    fn reader(&self) -> &SqliteReader {
        &self.reader
    }

    fn cursor(&self) -> &AtomicI64 {
        &self.writer.compact_cursor
    }

    async fn replace(
        &self,
        trace: (i64, Uuid),
        window: &[ChunkRef],
        replacement: &Replacement,
        finish: Option<Finish>,
    ) -> Result<bool, StoreError> {
        let run = async {
            let mut transaction = self.writer.begin().await?;
            if !replacement.chunks.is_empty() && !swap(&mut transaction, trace, window, replacement).await? {
                return Ok(false);
            }
            if let Some(finish) = finish {
                mark(&mut transaction, trace.0, finish).await?;
            }
            transaction.commit().await?;
            Ok(true)
        };
        run.await.map_err(|error| store_error("replacing chunks", error))
    }
}

async fn swap(
    connection: &mut SqliteConnection,
    (seq, trace_id): (i64, Uuid),
    window: &[ChunkRef],
    replacement: &Replacement,
) -> Result<bool, sqlx::Error> {
    let deleted = DELETE_CHUNKS
        .execute(connection, window, |chunk, row| row.add(seq).add(chunk.first_us).add(chunk.chunk_id))
        .await?;
    if deleted != window.len() as u64 {
        return Ok(false);
    }
    for chunk in &replacement.chunks {
        let header = &chunk.header;
        sqlx::query(
            "INSERT INTO chunks (trace, chunk_id, day, hour, first_us, events, raw_bytes, header, payload) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(seq)
        .bind(header.chunk_uuid())
        .bind(replacement.at.day)
        .bind(replacement.at.hour)
        .bind(header.first_event_us)
        .bind(i64::from(header.event_count))
        .bind(i64::from(header.raw_size))
        .bind(stored_header(header).to_bytes())
        .bind(&chunk.payload[..])
        .execute(&mut *connection)
        .await?;
    }
    for (at, [chunks, events, bytes]) in hour_sums(window, replacement) {
        add_to_hour(connection, at, chunks, events, bytes).await?;
    }
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    sqlx::query(
        "UPDATE traces SET event_count = event_count - ?2, stored_events = stored_events - ?2, failures = failures - ?3, \
         left_out_milli = max(left_out_milli - ?4, 0) WHERE seq = ?1",
    )
    .bind(seq)
    .bind(signed(replacement.duplicates))
    .bind(signed(replacement.failures))
    .bind(signed(replacement.left_out_milli))
    .execute(&mut *connection)
    .await?;

    // Ids of chunks that were merged before are packed already: only those found in `seen` move.
    let ids: Vec<Uuid> = window.iter().map(|chunk| chunk.chunk_id).collect();
    let rows = DROP_SEEN.fetch(connection, &ids, |id, row| row.add(*id)).await?;
    let moved = rows.iter().map(|row| Ok((row.id(0)?, row.int(1)?))).collect::<Result<Vec<_>, sqlx::Error>>()?;
    let day = moved.iter().map(|(_, day)| *day).max().unwrap_or(replacement.at.day);
    let packs = pack(moved.into_iter().map(|(id, _)| id).collect());
    INSERT_PACKED
        .execute(connection, &packs, |ids, row| row.add(trace_id).add(&ids[..16]).add(day).add(&ids[..]))
        .await?;
    Ok(true)
}

/// Counts are exact when no chunk came since they were listed.
async fn mark(connection: &mut SqliteConnection, seq: i64, finish: Finish) -> Result<(), sqlx::Error> {
    let loose = i64::try_from(finish.loose_chunks).unwrap_or(i64::MAX);
    sqlx::query(
        "UPDATE traces SET exact = exact | (?3 AND loose_chunks = ?2), loose_chunks = max(loose_chunks - ?2, 0) WHERE seq = ?1",
    )
    .bind(seq)
    .bind(loose)
    .bind(finish.exact)
    .execute(&mut *connection)
    .await?;
    let aliases = sqlx::query("SELECT ids FROM trace_aliases WHERE trace = ? ORDER BY id")
        .bind(seq)
        .fetch_all(&mut *connection)
        .await?;
    if aliases.len() > 1 {
        let ids = aliases.iter().map(|row| row.bytes(0)).collect::<Result<Vec<_>, _>>()?;
        sqlx::query("DELETE FROM trace_aliases WHERE trace = ?").bind(seq).execute(&mut *connection).await?;
        for ids in join_ids(&ids) {
            sqlx::query("INSERT INTO trace_aliases (trace, ids) VALUES (?, ?)")
                .bind(seq)
                .bind(ids)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

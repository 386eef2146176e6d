//! The statements of a commit.

use std::collections::HashSet;

use async_trait::async_trait;
use reflow_tracing_chunk::Chunk;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::error::store_error;
use super::multi::Multi;
use super::writer::Writer;
use crate::merge::{Hour, Rollup, RollupKey, TraceDelta, VersionKey, VersionTimes, stored_header, unique_ids};
use crate::sql::commit::{self, CommitSteps, StoredRollup, StoredTrace};
use crate::sql::statement::{Columns, corrupt};
use crate::{ClientRow, CommitOutcome, StoreError};

type Result<T> = std::result::Result<T, sqlx::Error>;

static TAKE_SEEN: Multi =
    Multi::new("INSERT INTO seen (chunk_id, day) VALUES ", 2, " ON CONFLICT (chunk_id) DO NOTHING RETURNING chunk_id");
pub(super) static DROP_SEEN: Multi = Multi::new(
    "WITH k (id) AS (VALUES ",
    1,
    ") DELETE FROM seen WHERE chunk_id IN (SELECT id FROM k) RETURNING chunk_id, day",
);
static PACKED_IDS: Multi =
    Multi::new("WITH k (id) AS (VALUES ", 1, ") SELECT p.ids FROM k CROSS JOIN seen_packed p ON p.trace_id = k.id");
static INSERT_CHUNKS: Multi = Multi::new(
    "INSERT INTO chunks (trace, chunk_id, day, hour, first_us, events, raw_bytes, header, payload) VALUES ",
    9,
    "",
);
static INSERT_ACTORS: Multi =
    Multi::new("INSERT INTO trace_actors (trace, actor) VALUES ", 2, " ON CONFLICT (trace, actor) DO NOTHING");
static COUNT_CLIENTS: Multi = Multi::new(
    "WITH k (trace) AS (VALUES ",
    1,
    ") SELECT k.trace, (SELECT count(*) FROM trace_clients c WHERE c.trace = k.trace) FROM k",
);
static MERGE_CLIENTS: Multi = Multi::new(
    "INSERT INTO trace_clients (trace, client_id, recorded, stored, dropped, rejected) VALUES ",
    6,
    " ON CONFLICT (trace, client_id) DO UPDATE SET recorded = max(recorded, excluded.recorded), \
     stored = stored + excluded.stored, dropped = max(dropped, excluded.dropped), rejected = rejected + excluded.rejected",
);
static INSERT_ALIASES: Multi = Multi::new("INSERT INTO trace_aliases (trace, ids) VALUES ", 2, "");
static MERGE_VERSIONS: Multi = Multi::new(
    "INSERT INTO flow_versions (tenant, flow_name, major, minor, patch, told_hash, git_hash, timestamp_us, first_us, last_us) \
     VALUES ",
    10,
    " ON CONFLICT (tenant, flow_name, major, minor, patch, told_hash, git_hash) DO UPDATE SET \
     timestamp_us = min(timestamp_us, excluded.timestamp_us), first_us = min(first_us, excluded.first_us), \
     last_us = max(last_us, excluded.last_us)",
);
static READ_ROLLUPS: Multi = Multi::new(
    "WITH k (tenant, minute, flow_name) AS (VALUES ",
    3,
    ") SELECT r.tenant, r.minute, r.flow_name, r.events, r.failures, r.bytes, r.actors, r.edges, r.id FROM k \
     CROSS JOIN rollups r ON r.tenant = k.tenant AND r.minute = k.minute AND r.flow_name = k.flow_name",
);
/// The id decides: NULL makes a new row. The key columns are not among those updated, so that their indexes stay as they are.
static WRITE_ROLLUPS: Multi = Multi::new(
    "INSERT INTO rollups (id, tenant, minute, flow_name, events, failures, bytes, actors, edges) VALUES ",
    9,
    " ON CONFLICT (id) DO UPDATE SET events = excluded.events, failures = excluded.failures, bytes = excluded.bytes, \
     actors = excluded.actors, edges = excluded.edges",
);
/// `min` and `max` of two values are NULL when one is: `coalesce` puts the other in its place.
static MERGE_TRACES: Multi = Multi::new(
    "INSERT INTO traces (trace_id, tenant, flow_rank, flow_id, flow_name, execution_id, version, metadata, first_event_us, \
     last_event_us, first_received_us, last_active_us, event_count, stored_events, event_types, failures, first_error, ended, \
     closed_us, exact, loose_chunks, left_out_milli) VALUES ",
    22,
    " ON CONFLICT (trace_id, tenant) DO UPDATE SET \
     flow_rank = iif(flow_rank IS NULL OR (excluded.flow_rank, excluded.flow_id, excluded.flow_name) < (flow_rank, flow_id, flow_name), excluded.flow_rank, flow_rank), \
     flow_id = iif(flow_rank IS NULL OR (excluded.flow_rank, excluded.flow_id, excluded.flow_name) < (flow_rank, flow_id, flow_name), excluded.flow_id, flow_id), \
     flow_name = iif(flow_rank IS NULL OR (excluded.flow_rank, excluded.flow_id, excluded.flow_name) < (flow_rank, flow_id, flow_name), excluded.flow_name, flow_name), \
     execution_id = min(coalesce(execution_id, excluded.execution_id), coalesce(excluded.execution_id, execution_id)), \
     version = min(coalesce(version, excluded.version), coalesce(excluded.version, version)), \
     metadata = min(coalesce(metadata, excluded.metadata), coalesce(excluded.metadata, metadata)), \
     first_event_us = min(coalesce(first_event_us, excluded.first_event_us), coalesce(excluded.first_event_us, first_event_us)), \
     last_event_us = max(coalesce(last_event_us, excluded.last_event_us), coalesce(excluded.last_event_us, last_event_us)), \
     first_received_us = min(first_received_us, excluded.first_received_us), \
     last_active_us = max(coalesce(last_active_us, excluded.last_active_us), coalesce(excluded.last_active_us, last_active_us)), \
     event_count = event_count + excluded.event_count, \
     stored_events = stored_events + excluded.stored_events, \
     event_types = event_types | excluded.event_types, \
     failures = failures + excluded.failures, \
     first_error = min(coalesce(first_error, excluded.first_error), coalesce(excluded.first_error, first_error)), \
     ended = max(coalesce(ended, excluded.ended), coalesce(excluded.ended, ended)), \
     closed_us = max(coalesce(closed_us, excluded.closed_us), coalesce(excluded.closed_us, closed_us)), \
     exact = exact & excluded.exact, \
     loose_chunks = loose_chunks + excluded.loose_chunks, \
     left_out_milli = left_out_milli + excluded.left_out_milli \
     RETURNING trace_id, tenant, seq, event_count",
);

impl Writer {
    pub async fn commit(&self, chunks: &[Chunk], now_us: i64) -> std::result::Result<CommitOutcome, StoreError> {
        const CONTEXT: &str = "committing chunks";
        if chunks.is_empty() {
            return Ok(CommitOutcome::default());
        }
        let ids = unique_ids(chunks);
        let run = async {
            let mut transaction = self.begin().await?;
            let mut steps = Steps { connection: &mut transaction };
            let outcome = commit::run(&mut steps, &ids, chunks, now_us, &self.limits).await?;
            transaction.commit().await?;
            Ok(outcome)
        };
        run.await.map_err(|error| store_error(CONTEXT, error))
    }

    /// Adds nothing to the current hour, in a transaction of its own.
    pub async fn touch_hour(&self, now_us: i64) -> std::result::Result<(), StoreError> {
        let run = async {
            let mut transaction = self.begin().await?;
            add_to_hour(&mut transaction, Hour::of(now_us), 0, 0, 0).await?;
            transaction.commit().await
        };
        run.await.map_err(|error| store_error("probing the database", error))
    }
}

struct Steps<'t> {
    connection: &'t mut SqliteConnection,
}

#[async_trait]
impl CommitSteps for Steps<'_> {
    async fn take_seen(&mut self, ids: &[Uuid], at: Hour) -> Result<HashSet<Uuid>> {
        let rows = TAKE_SEEN.fetch(self.connection, ids, |id, row| row.add(*id).add(at.day)).await?;
        rows.iter().map(|row| row.id(0)).collect()
    }

    async fn packed_ids(&mut self, traces: &[Uuid]) -> Result<Vec<Vec<u8>>> {
        let rows = PACKED_IDS.fetch(self.connection, traces, |id, row| row.add(*id)).await?;
        rows.iter().map(|row| Ok(row.bytes(0)?.to_vec())).collect()
    }

    async fn drop_seen(&mut self, ids: &[Uuid]) -> Result<()> {
        DROP_SEEN.fetch(self.connection, ids, |id, row| row.add(*id)).await?;
        Ok(())
    }

    async fn merge_traces(&mut self, deltas: &[&TraceDelta]) -> Result<Vec<StoredTrace>> {
        let rows = MERGE_TRACES
            .fetch(self.connection, deltas, |delta, row| {
                let trace = &delta.row;
                let flow = trace.flow.as_ref();
                row.add(trace.trace_id).add(trace.tenant.as_str());
                row.add(flow.map(|flow| flow.rank_us));
                row.add(flow.map(|flow| flow.id.as_str())).add(flow.map(|flow| flow.name.as_str()));
                row.add(trace.execution_id).add(trace.version.as_deref()).add(trace.metadata.as_deref());
                row.add(trace.first_event_us).add(trace.last_event_us);
                row.add(trace.first_received_us).add(trace.last_active_us);
                row.count(trace.event_count).count(trace.stored_events);
                row.add(i64::from(trace.event_types)).count(trace.failures);
                row.add(trace.first_error.as_deref()).add(trace.ended.as_deref()).add(trace.closed_us);
                row.add(trace.exact).count(trace.loose_chunks).count(trace.left_out_milli)
            })
            .await?;
        let read = |row: &_| {
            let row: &sqlx::sqlite::SqliteRow = row;
            Ok((row.id(0)?, row.text(1)?, StoredTrace { seq: row.int(2)?, event_count: row.count(3)? }))
        };
        let mut stored = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
        // The deltas are in key order; SQLite promises none.
        stored.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Ok(stored.into_iter().map(|(_, _, trace)| trace).collect())
    }

    async fn insert_chunks(&mut self, chunks: &[(i64, &Chunk)], at: Hour) -> Result<()> {
        INSERT_CHUNKS
            .execute(self.connection, chunks, |(trace, chunk), row| {
                let header = &chunk.header;
                row.add(*trace).add(header.chunk_uuid()).add(at.day).add(at.hour);
                row.add(header.first_event_us).add(i64::from(header.event_count)).add(i64::from(header.raw_size));
                row.add(stored_header(header).to_bytes()).add(&chunk.payload[..])
            })
            .await?;
        Ok(())
    }

    async fn count_actors(&mut self, trace: i64) -> Result<u64> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM trace_actors WHERE trace = ?")
            .bind(trace)
            .fetch_one(&mut *self.connection)
            .await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn insert_actors(&mut self, rows: &[(i64, i64)]) -> Result<u64> {
        INSERT_ACTORS.execute(self.connection, rows, |(trace, actor), row| row.add(*trace).add(*actor)).await
    }

    async fn count_clients(&mut self, traces: &[i64]) -> Result<Vec<(i64, u64)>> {
        let rows = COUNT_CLIENTS.fetch(self.connection, traces, |trace, row| row.add(*trace)).await?;
        rows.iter().map(|row| Ok((row.int(0)?, row.count(1)?))).collect()
    }

    async fn clients_of(&mut self, trace: i64) -> Result<Vec<(String, u64)>> {
        let rows = sqlx::query("SELECT client_id, recorded FROM trace_clients WHERE trace = ?")
            .bind(trace)
            .fetch_all(&mut *self.connection)
            .await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.count(1)?))).collect()
    }

    async fn merge_clients(&mut self, rows: &[(i64, &ClientRow)]) -> Result<()> {
        MERGE_CLIENTS
            .execute(self.connection, rows, |(trace, client), row| {
                row.add(*trace).add(client.client_id.as_str()).count(client.recorded).count(client.stored);
                row.count(client.dropped).count(client.rejected)
            })
            .await?;
        Ok(())
    }

    async fn insert_aliases(&mut self, rows: &[(i64, &[u8])]) -> Result<()> {
        INSERT_ALIASES.execute(self.connection, rows, |(trace, ids), row| row.add(*trace).add(*ids)).await?;
        Ok(())
    }

    async fn merge_versions(&mut self, rows: &[(&VersionKey, &VersionTimes)], limit: usize) -> Result<()> {
        MERGE_VERSIONS
            .execute(self.connection, rows, |(key, times), row| {
                row.add(key.tenant.as_str()).add(key.flow_name.as_str());
                row.add(i64::from(key.major)).add(i64::from(key.minor)).add(i64::from(key.patch));
                row.add(key.git_hash.is_some()).add(key.git_hash.as_deref().unwrap_or_default());
                row.add(times.timestamp_us).add(times.first_us).add(times.last_us)
            })
            .await?;
        let flows: HashSet<_> = rows.iter().map(|(key, _)| (key.tenant.as_str(), key.flow_name.as_str())).collect();
        for (tenant, flow_name) in flows {
            sqlx::query(
                "DELETE FROM flow_versions WHERE (tenant, flow_name, major, minor, patch, told_hash, git_hash) IN (\
                 SELECT tenant, flow_name, major, minor, patch, told_hash, git_hash FROM flow_versions \
                 WHERE tenant = ? AND flow_name = ? ORDER BY last_us DESC, first_us DESC LIMIT -1 OFFSET ?)",
            )
            .bind(tenant)
            .bind(flow_name)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .execute(&mut *self.connection)
            .await?;
        }
        Ok(())
    }

    async fn add_to_hour(&mut self, at: Hour, chunks: i64, events: i64, bytes: i64) -> Result<()> {
        add_to_hour(self.connection, at, chunks, events, bytes).await
    }

    async fn read_rollups(&mut self, keys: &[&RollupKey]) -> Result<Vec<StoredRollup>> {
        let rows = READ_ROLLUPS
            .fetch(self.connection, keys, |key, row| {
                row.add(key.tenant.as_str()).add(key.minute).add(key.flow_name.as_str())
            })
            .await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let counts = [row.count(3)?, row.count(4)?, row.count(5)?];
            Ok(StoredRollup {
                key: RollupKey { tenant: row.text(0)?, minute: row.int(1)?, flow_name: row.text(2)? },
                rollup: Rollup::read(counts, row.bytes(6)?, row.bytes(7)?).map_err(corrupt)?,
                id: row.int(8)?,
            })
        };
        rows.iter().map(read).collect()
    }

    async fn count_flows(&mut self, key: &RollupKey, limit: usize) -> Result<usize> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT 1 FROM rollups WHERE tenant = ? AND minute = ? AND flow_name NOT IN ('_', 'other') LIMIT ?)",
        )
        .bind(&key.tenant)
        .bind(key.minute)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_one(&mut *self.connection)
        .await?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    async fn insert_rollups(&mut self, rows: &[(&RollupKey, &Rollup)]) -> Result<Vec<RollupKey>> {
        let rows: Vec<_> = rows.iter().map(|(key, rollup)| (*key, *rollup, None)).collect();
        write_rollups(self.connection, &rows).await?;
        // There is one writer: nobody comes in between.
        Ok(Vec::new())
    }

    async fn update_rollups(&mut self, rows: &[StoredRollup]) -> Result<()> {
        let rows: Vec<_> = rows.iter().map(|row| (&row.key, &row.rollup, Some(row.id))).collect();
        write_rollups(self.connection, &rows).await
    }
}

async fn write_rollups(connection: &mut SqliteConnection, rows: &[(&RollupKey, &Rollup, Option<i64>)]) -> Result<()> {
    WRITE_ROLLUPS
        .execute(connection, rows, |(key, rollup, id), row| {
            row.add(*id).add(key.tenant.as_str()).add(key.minute).add(key.flow_name.as_str());
            row.count(rollup.events).count(rollup.failures).count(rollup.bytes);
            row.add(rollup.actors_bytes()).add(rollup.edges_bytes())
        })
        .await?;
    Ok(())
}

/// Adds to what an hour holds; takes away with negative numbers.
pub(super) async fn add_to_hour(
    connection: &mut SqliteConnection,
    at: Hour,
    chunks: i64,
    events: i64,
    bytes: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO chunk_hours (day, hour, chunks, events, bytes) VALUES (?, ?, ?, ?, ?) ON CONFLICT (day, hour) DO UPDATE SET \
         chunks = chunks + excluded.chunks, events = events + excluded.events, bytes = bytes + excluded.bytes",
    )
    .bind(at.day)
    .bind(at.hour)
    .bind(chunks)
    .bind(events)
    .bind(bytes)
    .execute(connection)
    .await?;
    Ok(())
}

//! The statements of a commit: one a table, rows as arrays.

use std::collections::HashSet;

use async_trait::async_trait;
use reflow_tracing_chunk::Chunk;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use crate::ClientRow;
use crate::merge::{Hour, Rollup, RollupKey, TraceDelta, VersionKey, VersionTimes, stored_header};
use crate::sql::commit::{CommitSteps, StoredRollup, StoredTrace};
use crate::sql::statement::{Columns, corrupt};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// LEAST and GREATEST pass over NULL.
const MERGE_TRACES: &str = "INSERT INTO traces AS t (trace_id, tenant, flow_rank, flow_id, flow_name, execution_id, version, metadata, \
     first_event_us, last_event_us, first_received_us, last_active_us, event_count, stored_events, event_types, failures, \
     first_error, ended, closed_us, exact, loose_chunks, left_out_milli) \
     SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::uuid[], $7::bytea[], $8::bytea[], \
     $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], \
     $17::bytea[], $18::bytea[], $19::bigint[], $20::smallint[], $21::bigint[], $22::bigint[]) \
     ON CONFLICT (trace_id, tenant) DO UPDATE SET \
     flow_rank = CASE WHEN t.flow_rank IS NULL OR (EXCLUDED.flow_rank, EXCLUDED.flow_id, EXCLUDED.flow_name) < (t.flow_rank, t.flow_id, t.flow_name) THEN EXCLUDED.flow_rank ELSE t.flow_rank END, \
     flow_id = CASE WHEN t.flow_rank IS NULL OR (EXCLUDED.flow_rank, EXCLUDED.flow_id, EXCLUDED.flow_name) < (t.flow_rank, t.flow_id, t.flow_name) THEN EXCLUDED.flow_id ELSE t.flow_id END, \
     flow_name = CASE WHEN t.flow_rank IS NULL OR (EXCLUDED.flow_rank, EXCLUDED.flow_id, EXCLUDED.flow_name) < (t.flow_rank, t.flow_id, t.flow_name) THEN EXCLUDED.flow_name ELSE t.flow_name END, \
     execution_id = LEAST(t.execution_id, EXCLUDED.execution_id), \
     version = LEAST(t.version, EXCLUDED.version), \
     metadata = LEAST(t.metadata, EXCLUDED.metadata), \
     first_event_us = LEAST(t.first_event_us, EXCLUDED.first_event_us), \
     last_event_us = GREATEST(t.last_event_us, EXCLUDED.last_event_us), \
     first_received_us = LEAST(t.first_received_us, EXCLUDED.first_received_us), \
     last_active_us = GREATEST(t.last_active_us, EXCLUDED.last_active_us), \
     event_count = t.event_count + EXCLUDED.event_count, \
     stored_events = t.stored_events + EXCLUDED.stored_events, \
     event_types = t.event_types | EXCLUDED.event_types, \
     failures = t.failures + EXCLUDED.failures, \
     first_error = LEAST(t.first_error, EXCLUDED.first_error), \
     ended = GREATEST(t.ended, EXCLUDED.ended), \
     closed_us = GREATEST(t.closed_us, EXCLUDED.closed_us), \
     exact = LEAST(t.exact, EXCLUDED.exact), \
     loose_chunks = t.loose_chunks + EXCLUDED.loose_chunks, \
     left_out_milli = t.left_out_milli + EXCLUDED.left_out_milli \
     RETURNING trace_id, tenant, seq, event_count";

pub(super) struct Steps<'t> {
    pub connection: &'t mut PgConnection,
    pub slot: i64,
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A column: one value of each row.
fn column<'r, R, T>(rows: &'r [R], value: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

#[async_trait]
impl CommitSteps for Steps<'_> {
    async fn take_seen(&mut self, ids: &[Uuid], at: Hour) -> Result<HashSet<Uuid>> {
        let rows = sqlx::query(
            "INSERT INTO seen (chunk_id, day) SELECT id, $2 FROM UNNEST($1::uuid[]) AS k (id) \
             ON CONFLICT (chunk_id) DO NOTHING RETURNING chunk_id",
        )
        .bind(ids)
        .bind(at.day)
        .fetch_all(&mut *self.connection)
        .await?;
        rows.iter().map(|row| row.id(0)).collect()
    }

    async fn packed_ids(&mut self, traces: &[Uuid]) -> Result<Vec<Vec<u8>>> {
        let rows = sqlx::query("SELECT ids FROM seen_packed WHERE trace_id = ANY($1)")
            .bind(traces)
            .fetch_all(&mut *self.connection)
            .await?;
        rows.iter().map(|row| Ok(row.bytes(0)?.to_vec())).collect()
    }

    async fn drop_seen(&mut self, ids: &[Uuid]) -> Result<()> {
        sqlx::query("DELETE FROM seen WHERE chunk_id = ANY($1)").bind(ids).execute(&mut *self.connection).await?;
        Ok(())
    }

    async fn merge_traces(&mut self, deltas: &[&TraceDelta]) -> Result<Vec<StoredTrace>> {
        let rows = column(deltas, |delta| &delta.row);
        let rows = sqlx::query(MERGE_TRACES)
            .bind(column(&rows, |row| row.trace_id))
            .bind(column(&rows, |row| row.tenant.as_str()))
            .bind(column(&rows, |row| row.flow.as_ref().map(|flow| flow.rank_us)))
            .bind(column(&rows, |row| row.flow.as_ref().map(|flow| flow.id.as_str())))
            .bind(column(&rows, |row| row.flow.as_ref().map(|flow| flow.name.as_str())))
            .bind(column(&rows, |row| row.execution_id))
            .bind(column(&rows, |row| row.version.as_deref()))
            .bind(column(&rows, |row| row.metadata.as_deref()))
            .bind(column(&rows, |row| row.first_event_us))
            .bind(column(&rows, |row| row.last_event_us))
            .bind(column(&rows, |row| row.first_received_us))
            .bind(column(&rows, |row| row.last_active_us))
            .bind(column(&rows, |row| signed(row.event_count)))
            .bind(column(&rows, |row| signed(row.stored_events)))
            .bind(column(&rows, |row| i64::from(row.event_types)))
            .bind(column(&rows, |row| signed(row.failures)))
            .bind(column(&rows, |row| row.first_error.as_deref()))
            .bind(column(&rows, |row| row.ended.as_deref()))
            .bind(column(&rows, |row| row.closed_us))
            .bind(column(&rows, |row| i16::from(row.exact)))
            .bind(column(&rows, |row| signed(row.loose_chunks)))
            .bind(column(&rows, |row| signed(row.left_out_milli)))
            .fetch_all(&mut *self.connection)
            .await?;
        let read =
            |row: &PgRow| Ok((row.id(0)?, row.text(1)?, StoredTrace { seq: row.int(2)?, event_count: row.count(3)? }));
        let mut stored = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
        // The deltas are in key order; PostgreSQL promises none.
        stored.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Ok(stored.into_iter().map(|(_, _, trace)| trace).collect())
    }

    async fn insert_chunks(&mut self, chunks: &[(i64, &Chunk)], at: Hour) -> Result<()> {
        sqlx::query(
            "INSERT INTO chunks (day, hour, trace, first_us, events, raw_bytes, chunk_id, header, payload) \
             SELECT $1, $2, * FROM UNNEST($3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::uuid[], $8::bytea[], $9::bytea[])",
        )
        .bind(at.day)
        .bind(at.hour)
        .bind(column(chunks, |(trace, _)| *trace))
        .bind(column(chunks, |(_, chunk)| chunk.header.first_event_us))
        .bind(column(chunks, |(_, chunk)| i64::from(chunk.header.event_count)))
        .bind(column(chunks, |(_, chunk)| i64::from(chunk.header.raw_size)))
        .bind(column(chunks, |(_, chunk)| chunk.header.chunk_uuid()))
        .bind(column(chunks, |(_, chunk)| stored_header(&chunk.header).to_bytes()))
        .bind(column(chunks, |(_, chunk)| &chunk.payload[..]))
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn count_actors(&mut self, trace: i64) -> Result<u64> {
        let row = sqlx::query("SELECT count(*) FROM trace_actors WHERE trace = $1")
            .bind(trace)
            .fetch_one(&mut *self.connection)
            .await?;
        row.count(0)
    }

    async fn insert_actors(&mut self, rows: &[(i64, i64)]) -> Result<u64> {
        let done = sqlx::query(
            "INSERT INTO trace_actors (trace, actor) SELECT * FROM UNNEST($1::bigint[], $2::bigint[]) \
             ON CONFLICT (trace, actor) DO NOTHING",
        )
        .bind(column(rows, |(trace, _)| *trace))
        .bind(column(rows, |(_, actor)| *actor))
        .execute(&mut *self.connection)
        .await?;
        Ok(done.rows_affected())
    }

    async fn count_clients(&mut self, traces: &[i64]) -> Result<Vec<(i64, u64)>> {
        let rows = sqlx::query("SELECT trace, count(*) FROM trace_clients WHERE trace = ANY($1) GROUP BY trace")
            .bind(traces)
            .fetch_all(&mut *self.connection)
            .await?;
        rows.iter().map(|row| Ok((row.int(0)?, row.count(1)?))).collect()
    }

    async fn clients_of(&mut self, trace: i64) -> Result<Vec<(String, u64)>> {
        let rows = sqlx::query("SELECT client_id, recorded FROM trace_clients WHERE trace = $1")
            .bind(trace)
            .fetch_all(&mut *self.connection)
            .await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.count(1)?))).collect()
    }

    async fn merge_clients(&mut self, rows: &[(i64, &ClientRow)]) -> Result<()> {
        sqlx::query(
            "INSERT INTO trace_clients AS c (trace, client_id, recorded, stored, dropped, rejected) \
             SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) \
             ON CONFLICT (trace, client_id) DO UPDATE SET recorded = GREATEST(c.recorded, EXCLUDED.recorded), \
             stored = c.stored + EXCLUDED.stored, dropped = GREATEST(c.dropped, EXCLUDED.dropped), \
             rejected = c.rejected + EXCLUDED.rejected",
        )
        .bind(column(rows, |(trace, _)| *trace))
        .bind(column(rows, |(_, client)| client.client_id.as_str()))
        .bind(column(rows, |(_, client)| signed(client.recorded)))
        .bind(column(rows, |(_, client)| signed(client.stored)))
        .bind(column(rows, |(_, client)| signed(client.dropped)))
        .bind(column(rows, |(_, client)| signed(client.rejected)))
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn insert_aliases(&mut self, rows: &[(i64, &[u8])]) -> Result<()> {
        sqlx::query("INSERT INTO trace_aliases (trace, ids) SELECT * FROM UNNEST($1::bigint[], $2::bytea[])")
            .bind(column(rows, |(trace, _)| *trace))
            .bind(column(rows, |(_, ids)| *ids))
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn merge_versions(&mut self, rows: &[(&VersionKey, &VersionTimes)], limit: usize) -> Result<()> {
        let merged = sqlx::query(
            "INSERT INTO flow_versions AS v (slot, tenant, flow_name, major, minor, patch, told_hash, git_hash, timestamp_us, \
             first_us, last_us) SELECT $1, * FROM UNNEST($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], \
             $7::bigint[], $8::text[], $9::bigint[], $10::bigint[], $11::bigint[]) \
             ON CONFLICT (tenant, flow_name, major, minor, patch, told_hash, git_hash, slot) DO UPDATE SET \
             timestamp_us = LEAST(v.timestamp_us, EXCLUDED.timestamp_us), first_us = LEAST(v.first_us, EXCLUDED.first_us), \
             last_us = GREATEST(v.last_us, EXCLUDED.last_us) RETURNING tenant, flow_name, xmax = 0",
        )
        .bind(self.slot)
        .bind(column(rows, |(key, _)| key.tenant.as_str()))
        .bind(column(rows, |(key, _)| key.flow_name.as_str()))
        .bind(column(rows, |(key, _)| i64::from(key.major)))
        .bind(column(rows, |(key, _)| i64::from(key.minor)))
        .bind(column(rows, |(key, _)| i64::from(key.patch)))
        .bind(column(rows, |(key, _)| i64::from(key.git_hash.is_some())))
        .bind(column(rows, |(key, _)| key.git_hash.as_deref().unwrap_or_default()))
        .bind(column(rows, |(_, times)| times.timestamp_us))
        .bind(column(rows, |(_, times)| times.first_us))
        .bind(column(rows, |(_, times)| times.last_us))
        .fetch_all(&mut *self.connection)
        .await?;
        // A row that was not there before has no transaction that ended it: only such a one can be one too many.
        let inserted = |row: &PgRow| Ok(row.try_get::<bool, _>(2)?.then_some((row.text(0)?, row.text(1)?)));
        let flows = merged.iter().map(inserted).collect::<Result<Vec<_>>>()?;
        let flows: HashSet<(String, String)> = flows.into_iter().flatten().collect();
        if flows.is_empty() {
            return Ok(());
        }
        let (tenants, names): (Vec<String>, Vec<String>) = flows.into_iter().unzip();
        sqlx::query(
            "DELETE FROM flow_versions WHERE ctid = ANY(ARRAY(SELECT old.ctid FROM UNNEST($2::text[], $3::text[]) AS k (tenant, flow_name) \
             CROSS JOIN LATERAL (SELECT v.ctid FROM flow_versions v WHERE v.slot = $1 AND v.tenant = k.tenant \
             AND v.flow_name = k.flow_name ORDER BY v.last_us DESC, v.first_us DESC OFFSET $4) AS old))",
        )
        .bind(self.slot)
        .bind(tenants)
        .bind(names)
        .bind(signed(limit as u64))
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn add_to_hour(&mut self, at: Hour, chunks: i64, events: i64, bytes: i64) -> Result<()> {
        add_to_hour(self.connection, self.slot, at, [chunks, events, bytes]).await
    }

    async fn read_rollups(&mut self, keys: &[&RollupKey]) -> Result<Vec<StoredRollup>> {
        let rows = sqlx::query(
            "SELECT r.tenant, r.minute, r.flow_name, r.events, r.failures, r.bytes, r.actors, r.edges FROM rollups r \
             JOIN UNNEST($2::text[], $3::bigint[], $4::text[]) AS k (tenant, minute, flow_name) \
             ON r.tenant = k.tenant AND r.minute = k.minute AND r.flow_name = k.flow_name AND r.slot = $1 \
             ORDER BY r.tenant, r.minute, r.flow_name FOR UPDATE OF r",
        )
        .bind(self.slot)
        .bind(column(keys, |key| key.tenant.as_str()))
        .bind(column(keys, |key| key.minute))
        .bind(column(keys, |key| key.flow_name.as_str()))
        .fetch_all(&mut *self.connection)
        .await?;
        let read = |row: &PgRow| {
            let counts = [row.count(3)?, row.count(4)?, row.count(5)?];
            Ok(StoredRollup {
                key: RollupKey { tenant: row.text(0)?, minute: row.int(1)?, flow_name: row.text(2)? },
                rollup: Rollup::read(counts, row.bytes(6)?, row.bytes(7)?).map_err(corrupt)?,
                id: 0,
            })
        };
        rows.iter().map(read).collect()
    }

    async fn count_flows(&mut self, key: &RollupKey, limit: usize) -> Result<usize> {
        let row = sqlx::query(
            "SELECT count(*) FROM (SELECT 1 FROM rollups WHERE tenant = $1 AND minute = $2 AND slot = $3 \
             AND flow_name NOT IN ('_', 'other') LIMIT $4) AS flows",
        )
        .bind(&key.tenant)
        .bind(key.minute)
        .bind(self.slot)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_one(&mut *self.connection)
        .await?;
        Ok(usize::try_from(row.count(0)?).unwrap_or(usize::MAX))
    }

    async fn insert_rollups(&mut self, rows: &[(&RollupKey, &Rollup)]) -> Result<Vec<RollupKey>> {
        let inserted = sqlx::query(
            "INSERT INTO rollups (slot, tenant, minute, flow_name, events, failures, bytes, actors, edges) \
             SELECT $1, * FROM UNNEST($2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[], \
             $9::bytea[]) ON CONFLICT (tenant, minute, flow_name, slot) DO NOTHING RETURNING tenant, minute, flow_name",
        )
        .bind(self.slot)
        .bind(column(rows, |(key, _)| key.tenant.as_str()))
        .bind(column(rows, |(key, _)| key.minute))
        .bind(column(rows, |(key, _)| key.flow_name.as_str()))
        .bind(column(rows, |(_, rollup)| signed(rollup.events)))
        .bind(column(rows, |(_, rollup)| signed(rollup.failures)))
        .bind(column(rows, |(_, rollup)| signed(rollup.bytes)))
        .bind(column(rows, |(_, rollup)| rollup.actors_bytes()))
        .bind(column(rows, |(_, rollup)| rollup.edges_bytes()))
        .fetch_all(&mut *self.connection)
        .await?;
        if inserted.len() == rows.len() {
            return Ok(Vec::new());
        }
        let key = |row: &PgRow| Ok(RollupKey { tenant: row.text(0)?, minute: row.int(1)?, flow_name: row.text(2)? });
        let inserted = inserted.iter().map(key).collect::<Result<HashSet<_>>>()?;
        Ok(rows.iter().filter(|(key, _)| !inserted.contains(*key)).map(|(key, _)| (*key).clone()).collect())
    }

    async fn update_rollups(&mut self, rows: &[StoredRollup]) -> Result<()> {
        sqlx::query(
            "UPDATE rollups r SET events = k.events, failures = k.failures, bytes = k.bytes, actors = k.actors, edges = k.edges \
             FROM UNNEST($2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[], $9::bytea[]) \
             AS k (tenant, minute, flow_name, events, failures, bytes, actors, edges) \
             WHERE r.tenant = k.tenant AND r.minute = k.minute AND r.flow_name = k.flow_name AND r.slot = $1",
        )
        .bind(self.slot)
        .bind(column(rows, |row| row.key.tenant.as_str()))
        .bind(column(rows, |row| row.key.minute))
        .bind(column(rows, |row| row.key.flow_name.as_str()))
        .bind(column(rows, |row| signed(row.rollup.events)))
        .bind(column(rows, |row| signed(row.rollup.failures)))
        .bind(column(rows, |row| signed(row.rollup.bytes)))
        .bind(column(rows, |row| row.rollup.actors_bytes()))
        .bind(column(rows, |row| row.rollup.edges_bytes()))
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }
}

/// Adds to what an hour holds (chunks, events, bytes); takes away with negative numbers.
pub(super) async fn add_to_hour(connection: &mut PgConnection, slot: i64, at: Hour, numbers: [i64; 3]) -> Result<()> {
    sqlx::query(
        "INSERT INTO chunk_hours AS h (day, hour, slot, chunks, events, bytes) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (day, hour, slot) DO UPDATE SET chunks = h.chunks + EXCLUDED.chunks, events = h.events + EXCLUDED.events, \
         bytes = h.bytes + EXCLUDED.bytes",
    )
    .bind(at.day)
    .bind(at.hour)
    .bind(slot)
    .bind(numbers[0])
    .bind(numbers[1])
    .bind(numbers[2])
    .execute(connection)
    .await?;
    Ok(())
}

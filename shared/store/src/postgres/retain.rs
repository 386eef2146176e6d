//! Retention: whole days by dropping partitions, single hours by deleting.
//!
//! A partition goes in two steps. First it is detached and renamed: short, because commits wait for it. Then, at leisure, the summaries of
//! its traces are corrected and it is dropped, in one transaction. A crash in between, or a reader that holds on to it, leaves a table
//! with a telling name, and the next run goes on with it.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection};

use super::PostgresStore;
use super::error::store_error;
use super::partition::{make_partitions, partitions, retire, retired, take_retired};
use super::steps::add_to_hour;
use crate::merge::retention::{DAY_US, first_day_kept, first_day_seen, hours_to_remove};
use crate::merge::{Hour, minute_of};
use crate::sql::statement::Columns;
use crate::{RetentionOutcome, RetentionPolicy, StoreError};

/// `seen` entries removed in one statement.
const SEEN_A_STEP: i64 = 100_000;

impl PostgresStore {
    pub(super) async fn remove_old(
        &self,
        policy: &RetentionPolicy,
        now_us: i64,
    ) -> Result<RetentionOutcome, StoreError> {
        self.slot.keep().await?;
        let run = async {
            let mut outcome = RetentionOutcome::default();
            let open = Hour::of(now_us);
            make_partitions(&self.reader.pool, open, self.statement_limit()).await?;
            let mut connection = self.reader.pool.acquire().await?;
            // Of a run that was cut short.
            self.drop_retired(&mut connection, &mut outcome).await?;

            let hours = hours(&mut connection).await?;
            let gone: BTreeSet<Hour> = hours_to_remove(&hours, policy, now_us).into_iter().collect();
            let days_left: BTreeSet<i64> =
                hours.iter().filter(|(hour, _)| !gone.contains(hour)).map(|(hour, _)| hour.day).collect();
            // Today's partition stays, even with nothing left in it.
            for hour in gone.iter().filter(|hour| hour.day >= open.day || days_left.contains(&hour.day)) {
                self.remove_hour(&mut connection, *hour, &mut outcome).await?;
            }
            let days_gone: BTreeSet<i64> = gone.iter().map(|hour| hour.day).collect();
            for day in partitions(&mut connection).await? {
                // Yesterday may be empty only for now: a commit that began before midnight is about to end.
                let may_go = day < open.day - 1 || (day < open.day && days_gone.contains(&day));
                if may_go && !days_left.contains(&day) {
                    retire(&mut connection, day, &gone).await?;
                }
            }
            self.drop_retired(&mut connection, &mut outcome).await?;

            if let Some(day) = first_day_kept(policy, now_us) {
                remove_rollups(&mut connection, day).await?;
            }
            let first_seen = first_day_seen(policy, now_us);
            outcome.seen = prune_seen(&mut connection, first_seen).await?;
            forget_counts(&mut connection).await?;
            forget_hours(&mut connection, first_seen).await?;
            Ok(outcome)
        };
        run.await.map_err(|error| store_error("removing what is too old", error))
    }

    async fn remove_hour(
        &self,
        connection: &mut PgConnection,
        at: Hour,
        outcome: &mut RetentionOutcome,
    ) -> Result<(), sqlx::Error> {
        let mut transaction = connection.begin().await?;
        let traces: Vec<i64> = sqlx::query_scalar("SELECT DISTINCT trace FROM chunks WHERE day = $1 AND hour = $2")
            .bind(at.day)
            .bind(at.hour)
            .fetch_all(&mut *transaction)
            .await?;
        // Before anything is counted: a compaction under way may move events of this hour into a later one. Traces that get into
        // the hour now (a commit that began in it) are the next run's.
        lock_traces(&mut transaction, &traces).await?;
        let gone = sqlx::query(
            "WITH gone AS (DELETE FROM chunks WHERE day = $1 AND hour = $2 AND trace = ANY($3) \
             RETURNING trace, day, hour, events, octet_length(payload) AS bytes) \
             SELECT trace, day, hour, count(*), sum(events)::bigint, sum(bytes)::bigint FROM gone GROUP BY trace, day, hour",
        )
        .bind(at.day)
        .bind(at.hour)
        .bind(&traces)
        .fetch_all(&mut *transaction)
        .await?;
        let emptied = self.uncount(&mut transaction, &gone, outcome).await?;
        self.remove_traces(&mut transaction, &emptied).await?;
        transaction.commit().await
    }

    async fn drop_retired(
        &self,
        connection: &mut PgConnection,
        outcome: &mut RetentionOutcome,
    ) -> Result<(), sqlx::Error> {
        for table in retired(connection).await? {
            let mut transaction = connection.begin().await?;
            if !take_retired(&mut transaction, &table).await? {
                transaction.rollback().await?;
                continue;
            }
            let sums = format!(
                "SELECT trace, day, hour, count(*), sum(events)::bigint, sum(octet_length(payload))::bigint FROM {table} \
                 GROUP BY trace, day, hour"
            );
            // Nobody reaches a retired table any more: what is counted stays so.
            let gone = sqlx::query(AssertSqlSafe(sums)).fetch_all(&mut *transaction).await?;
            let traces = gone.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>()?;
            lock_traces(&mut transaction, &traces).await?;
            let emptied = self.uncount(&mut transaction, &gone, outcome).await?;
            sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE {table}"))).execute(&mut *transaction).await?;
            self.remove_traces(&mut transaction, &emptied).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Takes removed chunks, summed by trace and hour, out of summaries and hours; gives the summaries that have no event left. Under
    /// the locks of the traces.
    async fn uncount(
        &self,
        connection: &mut PgConnection,
        gone: &[PgRow],
        outcome: &mut RetentionOutcome,
    ) -> Result<Vec<i64>, sqlx::Error> {
        let mut by_trace: BTreeMap<i64, i64> = BTreeMap::new();
        let mut by_hour: BTreeMap<Hour, [i64; 3]> = BTreeMap::new();
        for row in gone {
            let numbers = [row.int(3)?, row.int(4)?, row.int(5)?];
            *by_trace.entry(row.int(0)?).or_default() += numbers[1];
            let sums = by_hour.entry(Hour { day: row.int(1)?, hour: row.int(2)? }).or_default();
            sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        }
        let (traces, events): (Vec<i64>, Vec<i64>) = by_trace.into_iter().unzip();
        let rows = sqlx::query(
            "UPDATE traces t SET stored_events = GREATEST(t.stored_events - k.events, 0) \
             FROM UNNEST($1::bigint[], $2::bigint[]) AS k (seq, events) WHERE t.seq = k.seq RETURNING t.seq, t.stored_events",
        )
        .bind(traces)
        .bind(events)
        .fetch_all(&mut *connection)
        .await?;
        let mut emptied = Vec::new();
        for row in &rows {
            if row.int(1)? == 0 {
                emptied.push(row.int(0)?);
            }
        }
        for (at, [chunks, events, bytes]) in by_hour {
            add_to_hour(connection, self.slot.number(), at, [-chunks, -events, -bytes]).await?;
            outcome.chunks += u64::try_from(chunks).unwrap_or(0);
            outcome.bytes += u64::try_from(bytes).unwrap_or(0);
        }
        outcome.traces += emptied.len() as u64;
        Ok(emptied)
    }

    async fn remove_traces(&self, connection: &mut PgConnection, seqs: &[i64]) -> Result<(), sqlx::Error> {
        if seqs.is_empty() {
            return Ok(());
        }
        // What may be left of a trace without events: chunks of lifecycle marks, of this day or another.
        let marks =
            sqlx::query("DELETE FROM chunks WHERE trace = ANY($1) RETURNING day, hour, octet_length(payload)::bigint")
                .bind(seqs)
                .fetch_all(&mut *connection)
                .await?;
        let mut sums: BTreeMap<Hour, [i64; 3]> = BTreeMap::new();
        for row in &marks {
            let sum = sums.entry(Hour { day: row.int(0)?, hour: row.int(1)? }).or_default();
            sum[0] -= 1;
            sum[2] -= row.int(2)?;
        }
        for (at, numbers) in sums {
            add_to_hour(connection, self.slot.number(), at, numbers).await?;
        }
        for delete in [
            "DELETE FROM trace_actors WHERE trace = ANY($1)",
            "DELETE FROM trace_clients WHERE trace = ANY($1)",
            "DELETE FROM trace_aliases WHERE trace = ANY($1)",
            "DELETE FROM traces WHERE seq = ANY($1)",
        ] {
            sqlx::query(delete).bind(seqs).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

/// In the order of commits.
async fn lock_traces(connection: &mut PgConnection, seqs: &[i64]) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT FROM traces WHERE seq = ANY($1) ORDER BY trace_id, tenant FOR UPDATE")
        .bind(seqs)
        .execute(connection)
        .await?;
    Ok(())
}

async fn hours(connection: &mut PgConnection) -> Result<Vec<(Hour, u64)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT day, hour, sum(bytes)::bigint FROM chunk_hours GROUP BY day, hour HAVING sum(chunks) > 0 ORDER BY day, hour",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((Hour { day: row.int(0)?, hour: row.int(1)? }, row.count(2)?))).collect()
}

/// Rollups and versions go by age alone: they are what dashboards still have when size has taken the events.
async fn remove_rollups(connection: &mut PgConnection, first_day: i64) -> Result<(), sqlx::Error> {
    let first_us = first_day.saturating_mul(DAY_US);
    sqlx::query("DELETE FROM rollups WHERE minute < $1").bind(minute_of(first_us)).execute(&mut *connection).await?;
    sqlx::query("DELETE FROM flow_versions WHERE last_us < $1").bind(first_us).execute(&mut *connection).await?;
    Ok(())
}

/// Removes counts that have come to nothing. Those that a writer is changing stay until the next run, and so does a flow whose other
/// rows say that it is not gone.
async fn forget_counts(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH zero AS (SELECT tenant, flow_name, state FROM trace_counts GROUP BY tenant, flow_name, state HAVING sum(traces) = 0), \
         locked AS MATERIALIZED (SELECT c.* FROM trace_counts c JOIN zero USING (tenant, flow_name, state) \
         FOR UPDATE OF c SKIP LOCKED), \
         gone AS (SELECT tenant, flow_name, state FROM locked GROUP BY tenant, flow_name, state HAVING sum(traces) = 0) \
         DELETE FROM trace_counts c USING locked l JOIN gone g USING (tenant, flow_name, state) \
         WHERE (c.tenant, c.flow_name, c.state, c.slot) = (l.tenant, l.flow_name, l.state, l.slot)",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes what is told of past hours that hold nothing. Those of a partition that stays for now are still needed.
async fn forget_hours(connection: &mut PgConnection, first_day: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM chunk_hours WHERE day < $1 \
         AND day NOT IN (SELECT day FROM chunk_hours GROUP BY day, hour HAVING sum(chunks) > 0)",
    )
    .bind(first_day)
    .execute(connection)
    .await?;
    Ok(())
}

async fn prune_seen(connection: &mut PgConnection, first_day: i64) -> Result<u64, sqlx::Error> {
    let rows = sqlx::query("DELETE FROM seen_packed WHERE day < $1 RETURNING (octet_length(ids) / 16)::bigint")
        .bind(first_day)
        .fetch_all(&mut *connection)
        .await?;
    let mut removed = 0;
    for row in &rows {
        removed += row.count(0)?;
    }
    loop {
        let done =
            sqlx::query("DELETE FROM seen WHERE ctid = ANY(ARRAY(SELECT ctid FROM seen WHERE day < $1 LIMIT $2))")
                .bind(first_day)
                .bind(SEEN_A_STEP)
                .execute(&mut *connection)
                .await?;
        removed += done.rows_affected();
        if done.rows_affected() == 0 {
            return Ok(removed);
        }
    }
}

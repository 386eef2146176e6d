//! Partitions of the chunks, one a day of insertion: their names, how they come and how they leave.
//!
//! Guarantee: a partition leaves only with what was to be removed. A commit that began before midnight, or under a clock that is behind,
//! may put a chunk into a past day at any time.

use std::collections::BTreeSet;

use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Connection};

use super::error::is_conflict;
use super::schema::lock;
use crate::merge::Hour;
use crate::sql::statement::Columns;

/// Days for which partitions are made ahead: a weekend without maintenance.
const DAYS_AHEAD: i64 = 3;

/// Begins the name of a table that was a partition.
const RETIRED: &str = "retired_";

/// Makes the partitions of a day and of some days after it, where they are missing.
pub(super) async fn make_partitions(pool: &PgPool, at: Hour) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    lock(&mut transaction).await?;
    for day in at.day..=at.day + DAYS_AHEAD {
        // CREATE … IF NOT EXISTS would lock the parent table, and with it all commits, even where there is nothing to do.
        let name = partition(day);
        let exists: bool =
            sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(&name).fetch_one(&mut *transaction).await?;
        if !exists {
            let sql = format!("CREATE TABLE {name} PARTITION OF chunks FOR VALUES FROM ({day}) TO ({})", day + 1);
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
            tracing::debug!(partition = name, "made partition");
        }
    }
    transaction.commit().await
}

/// Days that have a partition.
pub(super) async fn partitions(connection: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
    // `FOR VALUES FROM ('20000') TO ('20001')`
    let rows = sqlx::query(
        "SELECT substring(pg_get_expr(c.relpartbound, c.oid) FROM '-?[0-9]+')::bigint AS day FROM pg_inherits i \
         JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'chunks'::regclass ORDER BY day",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| row.int(0)).collect()
}

/// Takes a day's partition out of the table when nothing but the hours `gone` is in it. What commits do not let through for a while,
/// or have just put something into, is left to the next run.
pub(super) async fn retire(connection: &mut PgConnection, day: i64, gone: &BTreeSet<Hour>) -> Result<(), sqlx::Error> {
    let name = partition(day);
    match try_retire(connection, &name, day, gone).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            tracing::info!(partition = name, "partition stays until the next run: a commit has put something into it");
            Ok(())
        }
        Err(error) if is_conflict(&error) => {
            tracing::info!(partition = name, "partition is busy and stays until the next run");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

async fn try_retire(
    connection: &mut PgConnection,
    name: &str,
    day: i64,
    gone: &BTreeSet<Hour>,
) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    lock(&mut transaction).await?;
    let attached: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_inherits WHERE inhparent = 'chunks'::regclass AND inhrelid = to_regclass($1))",
    )
    .bind(name)
    .fetch_one(&mut *transaction)
    .await?;
    if !attached {
        return Ok(true);
    }
    let detach = format!(
        "SET LOCAL lock_timeout = '2s'; ALTER TABLE chunks DETACH PARTITION {name}; ALTER TABLE {name} RENAME TO {RETIRED}{name}"
    );
    sqlx::raw_sql(AssertSqlSafe(detach)).execute(&mut *transaction).await?;
    // Whoever had put a chunk into it has ended by now, which is what the detaching waited for, and has counted it.
    let hours: Vec<i64> =
        sqlx::query_scalar("SELECT hour FROM chunk_hours WHERE day = $1 GROUP BY hour HAVING sum(chunks) > 0")
            .bind(day)
            .fetch_all(&mut *transaction)
            .await?;
    if hours.iter().any(|hour| !gone.contains(&Hour { day, hour: *hour })) {
        transaction.rollback().await?;
        return Ok(false);
    }
    transaction.commit().await?;
    Ok(true)
}

/// Tables that were partitions and are still there.
pub(super) async fn retired(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' \
         AND relname LIKE $1 ORDER BY relname",
    )
    .bind(format!("{}chunks\\_%", RETIRED.replace('_', "\\_")))
    .fetch_all(connection)
    .await
}

/// The partition of a day: `chunks_20261231`, or by number where the calendar ends.
fn partition(day: i64) -> String {
    let date = i32::try_from(day).ok().and_then(|days| chrono::DateTime::from_timestamp(i64::from(days) * 86_400, 0));
    match date {
        Some(date) if (0..=9999).contains(&chrono::Datelike::year(&date)) => {
            format!("chunks_{}", date.format("%Y%m%d"))
        }
        _ => format!("chunks_day_{}{}", if day < 0 { "m" } else { "" }, day.unsigned_abs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_by_date() {
        assert_eq!(partition(0), "chunks_19700101");
        assert_eq!(partition(20_000), "chunks_20241004");
        assert_eq!(partition(i64::MAX), "chunks_day_9223372036854775807");
        assert_eq!(partition(-1_000_000), "chunks_day_m1000000");
    }
}

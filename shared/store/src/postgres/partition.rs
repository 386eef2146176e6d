//! Partitions of the chunks, one a day of insertion: their names, how they come and how they leave.
//!
//! Guarantees: a partition leaves only with what was to be removed; a commit that began before midnight, or under a clock that is behind,
//! may put a chunk into a past day at any time. And a reader, however long it takes (pg_dump holds every table until it is done), holds
//! up no commit for longer than [`PATIENCE`].

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Connection};

use super::error::{is_conflict, is_missing_table};
use super::schema::lock;
use crate::merge::Hour;
use crate::sql::statement::Columns;

/// Days for which partitions are made ahead: a weekend without maintenance.
const DAYS_AHEAD: i64 = 3;

/// Begins the name of a table that was a partition.
const RETIRED: &str = "retired_";

/// How long what can be left to the next run waits for a lock. Commits and questions queue up behind whoever waits for a whole table.
const PATIENCE: Duration = Duration::from_secs(2);

/// Makes the partitions of a day and of some days after it, where they are missing. Days ahead are left to the next time when they would
/// have to wait; the day itself is waited for, but not for longer than `patience`.
pub(super) async fn make_partitions(pool: &PgPool, at: Hour, patience: Duration) -> Result<(), sqlx::Error> {
    let mut connection = pool.acquire().await?;
    for day in at.day..=at.day + DAYS_AHEAD {
        let name = partition(day);
        // Looked at before anything is locked: nearly always there is nothing to do.
        if exists(&mut connection, &name).await? {
            continue;
        }
        let patience = if day == at.day { patience } else { PATIENCE.min(patience) };
        match make_partition(&mut connection, &name, day, patience).await {
            Ok(()) => tracing::debug!(partition = name, "made partition"),
            Err(error) if day > at.day && is_conflict(&error) => {
                tracing::info!(partition = name, %error, "partition is left to be made the next time");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes a table and attaches it: that goes on beside readers and commits, where CREATE TABLE … PARTITION OF waits for them all, and
/// everybody else behind it.
async fn make_partition(
    connection: &mut PgConnection,
    name: &str,
    day: i64,
    patience: Duration,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    wait_at_most(&mut transaction, patience).await?;
    lock(&mut transaction).await?;
    // Another writer may have been quicker.
    if !exists(&mut transaction, name).await? {
        let make = format!(
            "CREATE TABLE {name} (LIKE chunks INCLUDING ALL); \
             ALTER TABLE chunks ATTACH PARTITION {name} FOR VALUES FROM ({day}) TO ({})",
            day + 1
        );
        sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Asks the catalog and not `to_regclass`, which may remember in one transaction what it did not find in the one before, although
/// another has made it since.
async fn exists(connection: &mut PgConnection, table: &str) -> Result<bool, sqlx::Error> {
    let found =
        "SELECT EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname = $1)";
    sqlx::query_scalar(found).bind(table).fetch_one(connection).await
}

/// Until the end of the transaction, waiting for a lock fails after so long, which is a conflict.
async fn wait_at_most(connection: &mut PgConnection, patience: Duration) -> Result<(), sqlx::Error> {
    let limit = format!("SET LOCAL lock_timeout = {}", patience.as_millis().max(1));
    sqlx::raw_sql(AssertSqlSafe(limit)).execute(connection).await?;
    Ok(())
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

/// Takes a day's partition out of the table when nothing but the hours `gone` is in it. Otherwise, or when commits do not let it through
/// for a while, it is left to the next run.
pub(super) async fn retire(connection: &mut PgConnection, day: i64, gone: &BTreeSet<Hour>) -> Result<(), sqlx::Error> {
    let name = partition(day);
    let reason = match try_retire(connection, &name, day, gone).await {
        Ok(Retired::Yes) => return Ok(()),
        Ok(Retired::NewChunks) => "a commit has put something into it",
        Ok(Retired::OneIsLeft) => "one of the same day could not be dropped yet",
        Err(error) if is_conflict(&error) => "it is busy",
        Err(error) => return Err(error),
    };
    tracing::info!(partition = name, reason, "partition stays until the next run");
    Ok(())
}

/// What came of retiring a partition.
enum Retired {
    Yes,
    /// There is more in it than was to be removed.
    NewChunks,
    /// The table that it would become is still there: a day may come again, under a clock that is behind.
    OneIsLeft,
}

async fn try_retire(
    connection: &mut PgConnection,
    name: &str,
    day: i64,
    gone: &BTreeSet<Hour>,
) -> Result<Retired, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    wait_at_most(&mut transaction, PATIENCE).await?;
    lock(&mut transaction).await?;
    let attached: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_inherits WHERE inhparent = 'chunks'::regclass AND inhrelid = to_regclass($1))",
    )
    .bind(name)
    .fetch_one(&mut *transaction)
    .await?;
    if !attached {
        return Ok(Retired::Yes);
    }
    let retired = format!("{RETIRED}{name}");
    if exists(&mut transaction, &retired).await? {
        return Ok(Retired::OneIsLeft);
    }
    let detach = format!("ALTER TABLE chunks DETACH PARTITION {name}; ALTER TABLE {name} RENAME TO {retired}");
    sqlx::raw_sql(AssertSqlSafe(detach)).execute(&mut *transaction).await?;
    // Whoever had put a chunk into it has ended by now, which is what the detaching waited for, and has counted it.
    let hours: Vec<i64> =
        sqlx::query_scalar("SELECT hour FROM chunk_hours WHERE day = $1 GROUP BY hour HAVING sum(chunks) > 0")
            .bind(day)
            .fetch_all(&mut *transaction)
            .await?;
    if hours.iter().any(|hour| !gone.contains(&Hour { day, hour: *hour })) {
        transaction.rollback().await?;
        return Ok(Retired::NewChunks);
    }
    transaction.commit().await?;
    Ok(Retired::Yes)
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

/// Takes a retired table for the rest of the transaction, before anything that commits may wait for is locked. False when another writer
/// has dropped it, or a reader does not let it go: then it is left to the next run.
pub(super) async fn take_retired(connection: &mut PgConnection, table: &str) -> Result<bool, sqlx::Error> {
    wait_at_most(connection, PATIENCE).await?;
    // What comes after it takes the time it takes.
    let take = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SET LOCAL lock_timeout TO DEFAULT");
    match sqlx::raw_sql(AssertSqlSafe(take)).execute(connection).await {
        Ok(_) => Ok(true),
        Err(error) if is_conflict(&error) => {
            tracing::info!(table, "retired partition is being read and stays until the next run");
            Ok(false)
        }
        Err(error) if is_missing_table(&error) => Ok(false),
        Err(error) => Err(error),
    }
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

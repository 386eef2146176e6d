//! The schema of a SQLite database.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};

use super::error::store_error;
use crate::StoreError;
use crate::sql::migration::{Migration, pending};

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "init", sql: include_str!("../../migrations/sqlite/0001_init.sql") },
    Migration { version: 2, name: "counts", sql: include_str!("../../migrations/sqlite/0002_counts.sql") },
];

const CONTEXT: &str = "migrating the database";

/// The version of the schema; 0 when there is none.
pub(super) async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'")
            .fetch_one(&mut *connection)
            .await?;
    if tables == 0 {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM schema_migrations").fetch_one(&mut *connection).await
}

/// Applies what is missing, each step in a transaction of its own. The lock file keeps everybody else out meanwhile.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<Vec<i64>, StoreError> {
    let failed = |error| store_error(CONTEXT, error);
    let found = version(connection).await.map_err(failed)?;
    let mut applied = Vec::new();
    for step in pending(MIGRATIONS, found)? {
        apply(connection, step).await.map_err(failed)?;
        tracing::info!(version = step.version, name = step.name, "applied migration");
        applied.push(step.version);
    }
    Ok(applied)
}

async fn apply(connection: &mut SqliteConnection, step: &Migration) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    transaction
        .execute(sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, \
             applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) STRICT",
        ))
        .await?;
    transaction.execute(sqlx::raw_sql(step.sql)).await?;
    sqlx::query("INSERT INTO schema_migrations (version, name) VALUES (?, ?)")
        .bind(step.version)
        .bind(step.name)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

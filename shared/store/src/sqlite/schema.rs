//! The schema of a SQLite database.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};

use super::error::store_error;
use crate::StoreError;
use crate::sql::migration::{Migrated, Migration, Schema, check_readable, migrated, pending};

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "init", sql: include_str!("../../migrations/sqlite/0001_init.sql") },
    Migration { version: 2, name: "counts", sql: include_str!("../../migrations/sqlite/0002_counts.sql") },
    Migration {
        version: 3,
        name: "compatibility",
        sql: include_str!("../../migrations/sqlite/0003_compatibility.sql"),
    },
    Migration { version: 4, name: "sampling", sql: include_str!("../../migrations/sqlite/0004_sampling.sql") },
];

const CONTEXT: &str = "migrating the database";

/// The schema there is.
async fn found(connection: &mut SqliteConnection) -> Result<Schema, sqlx::Error> {
    let tables = "SELECT count(*) FILTER (WHERE name = 'schema_migrations') > 0, \
                  count(*) FILTER (WHERE name = 'schema_compatibility') > 0 FROM sqlite_schema WHERE type = 'table'";
    let (migrations, compatibility): (bool, bool) = sqlx::query_as(tables).fetch_one(&mut *connection).await?;
    match Schema::question(migrations, compatibility) {
        None => Ok(Schema::default()),
        Some(question) => Ok(sqlx::query_as::<_, (i64, i64, i64)>(question).fetch_one(connection).await?.into()),
    }
}

/// Whether this build can read the database.
pub(super) async fn check_reader(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let found = found(connection).await.map_err(|error| store_error("checking the schema version", error))?;
    check_readable(MIGRATIONS, found)
}

/// Applies what is missing, each step in a transaction of its own. The lock file keeps everybody else out meanwhile.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<Migrated, StoreError> {
    let failed = |error| store_error(CONTEXT, error);
    let schema = found(connection).await.map_err(failed)?;
    let mut applied = Vec::new();
    for step in pending(MIGRATIONS, schema)? {
        apply(connection, step).await.map_err(failed)?;
        tracing::info!(version = step.version, name = step.name, "applied migration");
        applied.push(step.version);
    }
    Ok(migrated(MIGRATIONS, schema, applied))
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

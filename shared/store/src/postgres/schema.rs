//! The schema of a PostgreSQL database.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use super::commit::{ATTEMPTS, pause};
use super::error::{is_conflict, store_error};
use crate::sql::migration::{Migrated, Migration, Schema, check_readable, migrated, pending};
use crate::{StoreError, StoreErrorKind};

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "init", sql: include_str!("../../migrations/postgres/0001_init.sql") },
    Migration { version: 2, name: "counts", sql: include_str!("../../migrations/postgres/0002_counts.sql") },
    Migration {
        version: 3,
        name: "compatibility",
        sql: include_str!("../../migrations/postgres/0003_compatibility.sql"),
    },
    Migration { version: 4, name: "sampling", sql: include_str!("../../migrations/postgres/0004_sampling.sql") },
];

/// First number of all our advisory locks: "rflw".
pub(super) const LOCK_CLASS: i32 = 0x7266_6c77;
/// Second number of the lock on the schema; writer slots have the numbers from 0.
const SCHEMA_LOCK: i32 = -1;

const CONTEXT: &str = "migrating the database";
const CHECKING: &str = "checking the schema version";

/// The schema there is.
async fn found(connection: &mut PgConnection) -> Result<Schema, sqlx::Error> {
    let tables = "SELECT to_regclass('schema_migrations') IS NOT NULL, to_regclass('schema_compatibility') IS NOT NULL";
    let (migrations, compatibility): (bool, bool) = sqlx::query_as(tables).fetch_one(&mut *connection).await?;
    match Schema::question(migrations, compatibility) {
        None => Ok(Schema::default()),
        Some(question) => Ok(sqlx::query_as::<_, (i64, i64, i64)>(question).fetch_one(connection).await?.into()),
    }
}

/// Names may be in any language. A database of another encoding would take most of them, and refuse the others for ever.
async fn check_encoding(connection: &mut PgConnection) -> Result<(), StoreError> {
    const CONTEXT: &str = "checking the encoding of the database";
    let encoding = sqlx::query_scalar("SELECT current_setting('server_encoding')").fetch_one(connection).await;
    let encoding: String = encoding.map_err(|error| store_error(CONTEXT, error))?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let reason = format!(
        "it is {encoding}, which cannot hold every name: use a database made with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0 \
         (pg_dump and pg_restore take along what is in this one)"
    );
    Err(StoreError::new(StoreErrorKind::Schema, CONTEXT, reason))
}

/// Whether this build can read the database.
pub(super) async fn check_reader(connection: &mut PgConnection) -> Result<(), StoreError> {
    check_encoding(connection).await?;
    check_readable(MIGRATIONS, found(connection).await.map_err(|error| store_error(CHECKING, error))?)
}

/// Whether this build can write the database, after whatever was done to it meanwhile.
pub(super) async fn check_writer(connection: &mut PgConnection) -> Result<(), StoreError> {
    pending(MIGRATIONS, found(connection).await.map_err(|error| store_error(CHECKING, error))?).map(drop)
}

/// Applies what is missing in one transaction, under a lock: several writers may start at once. Others may commit meanwhile; a
/// transaction that meets theirs in a deadlock is tried again.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<Migrated, StoreError> {
    check_encoding(connection).await?;
    let mut attempt = 0;
    loop {
        attempt += 1;
        match try_migrate(connection).await {
            Ok(done) => return done,
            Err(error) if is_conflict(&error) && attempt < ATTEMPTS => {
                tracing::info!(attempt, %error, "migration is tried again");
                pause(attempt).await;
            }
            Err(error) => return Err(store_error(CONTEXT, error)),
        }
    }
}

/// The inner error is final, the outer one may pass.
async fn try_migrate(connection: &mut PgConnection) -> Result<Result<Migrated, StoreError>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    lock(&mut transaction).await?;
    let schema = found(&mut transaction).await?;
    let steps = match pending(MIGRATIONS, schema) {
        Ok(steps) => steps,
        Err(refused) => return Ok(Err(refused)),
    };
    for step in steps {
        apply(&mut transaction, step).await?;
    }
    transaction.commit().await?;
    for step in steps {
        tracing::info!(version = step.version, name = step.name, "applied migration");
    }
    Ok(Ok(migrated(MIGRATIONS, schema, steps.iter().map(|step| step.version).collect())))
}

pub(super) async fn lock(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1, $2)").bind(LOCK_CLASS).bind(SCHEMA_LOCK).execute(connection).await?;
    Ok(())
}

async fn apply(connection: &mut PgConnection, step: &Migration) -> Result<(), sqlx::Error> {
    connection
        .execute(sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS schema_migrations (version bigint PRIMARY KEY, name text NOT NULL, \
             applied_at timestamptz NOT NULL DEFAULT now())",
        ))
        .await?;
    connection.execute(sqlx::raw_sql(step.sql)).await?;
    sqlx::query("INSERT INTO schema_migrations (version, name) VALUES ($1, $2)")
        .bind(step.version)
        .bind(step.name)
        .execute(connection)
        .await?;
    Ok(())
}

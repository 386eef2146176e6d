//! What tests of upgrades do to a database behind the store's back.

use reflow_tracing_store::{Migrated, PostgresStore, SqliteStore, Store, StoreError, StoreReader};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use super::{Postgres, Sqlite};

/// The release after the next one, see `tests/next/README.md`.
pub const CONTRACT: &str = include_str!("../../next/contract.sql");

/// A database with a schema.
pub trait Upgraded {
    /// A writer, which migrates.
    async fn writer(&self) -> Result<Box<dyn Store>, StoreError>;
    async fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError>;
    async fn migrate(&self) -> Result<Migrated, StoreError>;
    /// Runs statements.
    async fn sql(&self, sql: &str);
    /// Asks for a number.
    async fn number(&self, sql: &'static str) -> i64;
    /// The next version, see `tests/next/README.md`.
    fn expand(&self) -> &'static str;
    /// Statements that undo each migration after the first, the second's first.
    fn undo(&self) -> &'static [&'static str];

    /// Makes the schema what the build of an older version left.
    async fn back_to(&self, version: i64) {
        for undo in self.undo().iter().skip(version as usize - 1).rev() {
            self.sql(undo).await;
        }
        self.sql(&format!("DELETE FROM schema_migrations WHERE version > {version}")).await;
    }
}

impl Upgraded for Sqlite {
    async fn writer(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(SqliteStore::open_writer(&self.options()).await?))
    }

    async fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(SqliteStore::open_reader(&self.options()).await?))
    }

    async fn migrate(&self) -> Result<Migrated, StoreError> {
        SqliteStore::migrate(&self.options()).await
    }

    async fn sql(&self, sql: &str) {
        let options = SqliteConnectOptions::new().filename(self.options().path);
        let mut connection = options.connect().await.expect("connects");
        // As a migration: whole or not at all.
        let sql = format!("BEGIN IMMEDIATE; {sql}; COMMIT");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("runs");
        connection.close().await.expect("closes");
    }

    async fn number(&self, sql: &'static str) -> i64 {
        let options = SqliteConnectOptions::new().filename(self.options().path);
        sqlx::query_scalar(sql).fetch_one(&mut options.connect().await.expect("connects")).await.expect("answers")
    }

    fn expand(&self) -> &'static str {
        include_str!("../../next/expand.sqlite.sql")
    }

    fn undo(&self) -> &'static [&'static str] {
        &[
            "DROP TRIGGER traces_counted_in; DROP TRIGGER traces_counted_out; DROP TRIGGER traces_counted_over; \
             DROP TABLE trace_counts; DROP INDEX traces_by_state; DROP INDEX traces_by_error",
            "DROP TABLE schema_compatibility",
            "ALTER TABLE traces DROP COLUMN left_out_milli",
        ]
    }
}

impl Upgraded for Postgres {
    async fn writer(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(PostgresStore::connect_writer(&self.options()).await?))
    }

    async fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(PostgresStore::connect_reader(&self.options()).await?))
    }

    async fn migrate(&self) -> Result<Migrated, StoreError> {
        PostgresStore::migrate(&self.options()).await
    }

    async fn sql(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.options().connection_url).await.expect("connects");
        // Without words of its own this is one transaction.
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect("runs");
    }

    async fn number(&self, sql: &'static str) -> i64 {
        let mut connection = PgConnection::connect(&self.options().connection_url).await.expect("connects");
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("answers")
    }

    fn expand(&self) -> &'static str {
        include_str!("../../next/expand.postgres.sql")
    }

    fn undo(&self) -> &'static [&'static str] {
        &[
            "DROP FUNCTION traces_counted CASCADE; DROP TABLE trace_counts; DROP INDEX traces_by_state, traces_by_error",
            "DROP TABLE schema_compatibility",
            "ALTER TABLE traces DROP COLUMN left_out_milli",
        ]
    }
}

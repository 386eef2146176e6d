//! The reading half: a pool of connections that can only read.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions, SqliteRow};
use uuid::Uuid;

use super::error::store_error;
use super::{SqliteOptions, schema};
use crate::sql::read::first_count;
use crate::sql::statement::{Arg, Columns, Reading, Sql};
use crate::{Limits, StoreError, StoreErrorKind, StoreStats};

/// Counted by [`crate::StoreReader::stats`].
const TABLES: &[(&str, &str)] = &[
    ("seen", "SELECT count(*) FROM seen"),
    ("seen_packed", "SELECT count(*) FROM seen_packed"),
    ("traces", "SELECT count(*) FROM traces"),
    ("trace_counts", "SELECT count(*) FROM trace_counts"),
    ("chunks", "SELECT coalesce(sum(chunks), 0) FROM chunk_hours"),
    ("chunk_hours", "SELECT count(*) FROM chunk_hours"),
    ("trace_actors", "SELECT count(*) FROM trace_actors"),
    ("trace_clients", "SELECT count(*) FROM trace_clients"),
    ("trace_aliases", "SELECT count(*) FROM trace_aliases"),
    ("flow_versions", "SELECT count(*) FROM flow_versions"),
    ("rollups", "SELECT count(*) FROM rollups"),
];

/// Reads a SQLite database beside its writer.
#[derive(Clone, Debug)]
pub struct SqliteReader {
    pool: SqlitePool,
    limits: Limits,
    trace_idle_us: i64,
}

impl SqliteReader {
    /// Without touching the file yet.
    pub(super) fn connect(options: &SqliteOptions) -> Self {
        let pool = SqlitePoolOptions::new()
            .max_connections(options.reader_connections.max(1))
            // A file does not go away as a server does.
            .test_before_acquire(false)
            .connect_lazy_with(options.for_reader());
        let trace_idle_us = i64::try_from(options.trace_idle.as_micros()).unwrap_or(i64::MAX);
        Self { pool, limits: options.limits, trace_idle_us }
    }

    pub(super) async fn open(options: &SqliteOptions) -> Result<Self, StoreError> {
        const CONTEXT: &str = "opening the database for reading";
        if !options.path.is_file() {
            let reason = format!("{} does not exist: a writer makes it", options.path.display());
            return Err(StoreError::new(StoreErrorKind::Unavailable, CONTEXT, reason));
        }
        let reader = Self::connect(options);
        let mut connection = reader.pool.acquire().await.map_err(|error| store_error(CONTEXT, error))?;
        schema::check_reader(&mut connection).await?;
        drop(connection);
        Ok(reader)
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) async fn stats(&self) -> Result<StoreStats, StoreError> {
        const CONTEXT: &str = "measuring the database";
        let mut stats = StoreStats::default();
        for (table, count) in TABLES {
            let rows = self.fetch(CONTEXT, Sql::new(count)).await?;
            stats.rows.push((table, first_count(self, CONTEXT, &rows)?));
        }
        let totals = Sql::new(
            "SELECT (SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()), count(*), \
             coalesce(sum(event_count), 0), max(coalesce(last_active_us, first_received_us)) FROM traces",
        );
        let rows = self.fetch(CONTEXT, totals).await?;
        let mut read = || {
            let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
            (stats.bytes, stats.traces, stats.events) = (row.count(0)?, row.count(1)?, row.count(2)?);
            stats.newest_received_us = row.int_opt(3)?;
            Ok(())
        };
        read().map_err(|error| store_error(CONTEXT, error))?;
        Ok(stats)
    }
}

#[async_trait]
impl Reading for SqliteReader {
    type Row = SqliteRow;

    async fn fetch(&self, context: &'static str, sql: Sql) -> Result<Vec<SqliteRow>, StoreError> {
        let Sql { text, args } = sql;
        // Only code writes the text: values are arguments.
        let mut query = sqlx::query(AssertSqlSafe(text));
        for arg in args {
            query = match arg {
                Arg::Int(value) => query.bind(value),
                Arg::Text(value) => query.bind(value),
                Arg::Bytes(value) => query.bind(value),
                Arg::Id(value) => query.bind(value),
            };
        }
        query.fetch_all(&self.pool).await.map_err(|error| store_error(context, error))
    }

    fn error(&self, context: &'static str, error: sqlx::Error) -> StoreError {
        store_error(context, error)
    }

    fn position(&self, column: &str, needle: Uuid, sql: &mut Sql) {
        sql.push("instr(").push(column).push(", ").id(needle).push(")");
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn trace_idle_us(&self) -> i64 {
        self.trace_idle_us
    }
}

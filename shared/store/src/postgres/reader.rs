//! The reading half.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgPool, PgRow};
use uuid::Uuid;

use super::error::store_error;
use super::{PostgresOptions, schema};
use crate::sql::read::first_count;
use crate::sql::statement::{Arg, Columns, Reading, Sql};
use crate::{Limits, StoreError, StoreStats};

/// Counted by [`crate::StoreReader::stats`].
const TABLES: &[(&str, &str)] = &[
    ("seen", "SELECT count(*) FROM seen"),
    ("seen_packed", "SELECT count(*) FROM seen_packed"),
    ("traces", "SELECT count(*) FROM traces"),
    ("trace_counts", "SELECT count(*) FROM trace_counts"),
    ("chunks", "SELECT coalesce(sum(chunks), 0)::bigint FROM chunk_hours"),
    ("chunk_hours", "SELECT count(*) FROM chunk_hours"),
    ("trace_actors", "SELECT count(*) FROM trace_actors"),
    ("trace_clients", "SELECT count(*) FROM trace_clients"),
    ("trace_aliases", "SELECT count(*) FROM trace_aliases"),
    ("flow_versions", "SELECT count(*) FROM flow_versions"),
    ("rollups", "SELECT count(*) FROM rollups"),
];

/// Reads a PostgreSQL database.
#[derive(Clone, Debug)]
pub struct PostgresReader {
    pub(super) pool: PgPool,
    limits: Limits,
    trace_idle_us: i64,
}

impl PostgresReader {
    pub(super) fn new(pool: PgPool, options: &PostgresOptions) -> Self {
        Self { pool, limits: options.limits, trace_idle_us: options.trace_idle_us() }
    }

    pub(super) async fn connect(options: &PostgresOptions) -> Result<Self, StoreError> {
        const CONTEXT: &str = "connecting to the database";
        let connect = options.connect("reader")?;
        let pool = options.pool().connect_with(connect).await.map_err(|error| store_error(CONTEXT, error))?;
        let mut connection = pool.acquire().await.map_err(|error| store_error(CONTEXT, error))?;
        schema::check_reader(&mut connection).await?;
        drop(connection);
        Ok(Self::new(pool, options))
    }

    pub(crate) async fn stats(&self) -> Result<StoreStats, StoreError> {
        const CONTEXT: &str = "measuring the database";
        let mut stats = StoreStats::default();
        for (table, count) in TABLES {
            let rows = self.fetch(CONTEXT, Sql::new(count)).await?;
            stats.rows.push((table, first_count(self, CONTEXT, &rows)?));
        }
        let mut bytes = Sql::new(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class \
             WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND (relname LIKE 'chunks\\_%' OR relname IN ",
        );
        bytes.list(TABLES.iter().map(|(table, _)| Arg::Text((*table).to_owned()))).push(")");
        let rows = self.fetch(CONTEXT, bytes).await?;
        stats.bytes = first_count(self, CONTEXT, &rows)?;
        let totals =
            Sql::new("SELECT count(*), coalesce(sum(event_count), 0)::bigint, max(last_received_us) FROM traces");
        let rows = self.fetch(CONTEXT, totals).await?;
        let mut read = || {
            let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
            (stats.traces, stats.events, stats.newest_received_us) = (row.count(0)?, row.count(1)?, row.int_opt(2)?);
            Ok(())
        };
        read().map_err(|error| store_error(CONTEXT, error))?;
        Ok(stats)
    }
}

#[async_trait]
impl Reading for PostgresReader {
    type Row = PgRow;

    async fn fetch(&self, context: &'static str, sql: Sql) -> Result<Vec<PgRow>, StoreError> {
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
        sql.push("position(").arg(Arg::Bytes(needle.as_bytes().to_vec())).push(" IN ").push(column).push(")");
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn trace_idle_us(&self) -> i64 {
        self.trace_idle_us
    }
}

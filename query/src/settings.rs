//! What the configuration means for the libraries: the one place where its keys meet their options.

use reflow_tracing_service::config::Config;
use reflow_tracing_store::{PostgresOptions, SqliteOptions};

use crate::history::{HistoryOptions, system_clock};

/// How questions are answered.
pub fn history(config: &Config) -> HistoryOptions {
    HistoryOptions { trace_idle: config.retention.trace_idle(), clock: system_clock }
}

/// How an SQLite database is read.
pub fn sqlite(config: &Config) -> SqliteOptions {
    let sqlite = &config.storage.sqlite;
    SqliteOptions {
        cache_size: sqlite.cache_size.into(),
        trace_idle: config.retention.trace_idle(),
        ..SqliteOptions::new(&sqlite.database_path)
    }
}

/// How a PostgreSQL database is reached.
///
/// # Errors
///
/// Without a url, which the rules of the configuration make sure of.
pub fn postgres(config: &Config) -> anyhow::Result<PostgresOptions> {
    let postgres = &config.storage.postgres;
    Ok(PostgresOptions {
        max_connections: postgres.max_connections,
        min_connections: postgres.min_connections,
        acquire_timeout: postgres.acquire_timeout(),
        trace_idle: config.retention.trace_idle(),
        ..PostgresOptions::new(postgres.url()?)
    })
}

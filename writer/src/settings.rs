//! What the configuration means for the libraries: the one place where its keys meet their options.

use reflow_tracing_service::config::{Config, EvictionPolicy, JournalMode, Synchronous};
use reflow_tracing_store::{
    EvictionPolicy as Eviction, Limits, MemoryStore, PostgresOptions, SqliteJournalMode, SqliteOptions,
    SqliteSynchronous,
};

/// How an SQLite database is written.
pub fn sqlite(config: &Config) -> SqliteOptions {
    let sqlite = &config.storage.sqlite;
    SqliteOptions {
        journal_mode: match sqlite.journal_mode {
            JournalMode::Wal => SqliteJournalMode::Wal,
            JournalMode::Delete => SqliteJournalMode::Delete,
            JournalMode::Truncate => SqliteJournalMode::Truncate,
            JournalMode::Persist => SqliteJournalMode::Persist,
        },
        synchronous: match sqlite.synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Extra => SqliteSynchronous::Extra,
            Synchronous::Normal => SqliteSynchronous::Normal,
            Synchronous::Off => SqliteSynchronous::Off,
        },
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
        commit_timeout: config.writer.commit_timeout(),
        trace_idle: config.retention.trace_idle(),
        ..PostgresOptions::new(postgres.url()?)
    })
}

/// A store that forgets when the process ends.
pub fn memory(config: &Config) -> MemoryStore {
    let memory = &config.storage.memory;
    let eviction = match memory.eviction_policy {
        EvictionPolicy::Lru => Eviction::Lru,
        EvictionPolicy::Fifo => Eviction::Fifo,
    };
    MemoryStore::with_limits(memory.max_traces, eviction, Limits::default(), config.retention.trace_idle())
}

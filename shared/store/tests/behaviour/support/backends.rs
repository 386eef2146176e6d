//! A database for each test.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reflow_tracing_store::{
    EvictionPolicy, Limits, MemoryStore, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore, Store,
};
use tempfile::TempDir;

use super::IDLE_US;
use super::postgres::Database;

/// Where a store can be opened.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Opens it. Call it once, except where two writers are possible.
    async fn open_with(&self, limits: Limits) -> Arc<dyn Store>;

    /// Opens it with the default limits.
    async fn open(&self) -> Arc<dyn Store> {
        self.open_with(Limits::default()).await
    }
}

/// Makes another one, for cases that need several.
#[async_trait]
pub trait Fresh {
    async fn fresh() -> Self;
}

#[async_trait]
impl Fresh for Memory {
    async fn fresh() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Fresh for Sqlite {
    async fn fresh() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Fresh for Postgres {
    async fn fresh() -> Self {
        Self::new().await
    }
}

pub struct Memory;

impl Memory {
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Fixture for Memory {
    async fn open_with(&self, limits: Limits) -> Arc<dyn Store> {
        let idle = Duration::from_micros(IDLE_US as u64);
        Arc::new(MemoryStore::with_limits(1_000_000, EvictionPolicy::Lru, limits, idle))
    }
}

pub struct Sqlite {
    folder: TempDir,
}

impl Sqlite {
    pub fn new() -> Self {
        Self { folder: TempDir::new().expect("a temp folder") }
    }

    pub fn options(&self) -> SqliteOptions {
        SqliteOptions {
            trace_idle: Duration::from_micros(IDLE_US as u64),
            ..SqliteOptions::new(self.folder.path().join("new").join("traces.db"))
        }
    }
}

#[async_trait]
impl Fixture for Sqlite {
    async fn open_with(&self, limits: Limits) -> Arc<dyn Store> {
        let options = SqliteOptions { limits, ..self.options() };
        Arc::new(SqliteStore::open_writer(&options).await.expect("opens"))
    }
}

pub struct Postgres {
    database: Database,
}

impl Postgres {
    pub async fn new() -> Self {
        Self::made_with("").await
    }

    /// In a database made with these settings.
    pub async fn made_with(settings: &str) -> Self {
        Self { database: Database::create(settings).await.expect("a database") }
    }

    pub fn options(&self) -> PostgresOptions {
        PostgresOptions {
            max_connections: 4,
            trace_idle: Duration::from_micros(IDLE_US as u64),
            ..PostgresOptions::new(self.database.url())
        }
    }
}

#[async_trait]
impl Fixture for Postgres {
    async fn open_with(&self, limits: Limits) -> Arc<dyn Store> {
        let options = PostgresOptions { limits, ..self.options() };
        Arc::new(PostgresStore::connect_writer(&options).await.expect("connects"))
    }
}

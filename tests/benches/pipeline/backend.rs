//! Stores in temporary places.

use std::path::PathBuf;

use anyhow::Result;
use reflow_tracing_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};
use reflow_tracing_tests::{Postgres, Process};
use tempfile::TempDir;

/// Postgres as somebody would configure it who expects load; everything else, and above all `fsync`, is its default.
const POSTGRES: [(&str, &str); 2] = [("shared_buffers", "512MB"), ("max_wal_size", "4GB")];

/// A SQLite database in a folder of its own.
pub struct SqliteBackend {
    folder: TempDir,
}

impl SqliteBackend {
    pub fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::Builder::new().prefix("bench-sqlite-").tempdir()? })
    }

    /// The database file.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("traces.db")
    }

    pub fn options(&self) -> SqliteOptions {
        SqliteOptions::new(self.path())
    }

    pub async fn open(&self) -> Result<SqliteStore> {
        Ok(SqliteStore::open_writer(&self.options()).await?)
    }
}

/// A database on a server of its own.
pub struct PostgresBackend {
    server: Postgres,
    url: String,
}

impl PostgresBackend {
    pub async fn start() -> Result<Self> {
        let server = Postgres::start_with(&POSTGRES).await?;
        let url = server.create_database("traces").await?;
        Ok(Self { server, url })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn process(&self) -> &Process {
        self.server.process()
    }

    pub fn options(&self) -> PostgresOptions {
        PostgresOptions::new(&self.url)
    }

    pub async fn open(&self) -> Result<PostgresStore> {
        Ok(PostgresStore::connect_writer(&self.options()).await?)
    }

    /// What autovacuum does when nobody looks: figures must not depend on when it comes by.
    pub async fn vacuum(&self) -> Result<()> {
        self.server.sql("traces", "VACUUM ANALYZE").await.map(drop)
    }
}

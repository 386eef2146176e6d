//! Stores in temporary places.

use std::path::PathBuf;

use anyhow::Result;
use reflow_tracing_store::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

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

    pub async fn open(&self) -> Result<SqliteStore> {
        Ok(SqliteStore::open_writer(&SqliteOptions::new(self.path())).await?)
    }
}

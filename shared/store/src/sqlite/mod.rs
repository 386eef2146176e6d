//! SQLite: the store of one machine. One writer, any number of readers beside it.
//!
//! Guarantee: what a commit has returned for is on disk (`synchronous = FULL`), readers never hold up the writer (WAL), and a second
//! writer is refused. The writer has one connection of its own; readers share a small pool of connections that cannot write.

mod backup;
mod commit;
mod compact;
mod error;
mod lock;
mod multi;
mod options;
mod reader;
mod retain;
mod schema;
mod writer;

pub use options::{SqliteJournalMode, SqliteOptions, SqliteSynchronous};
pub use reader::SqliteReader;

use std::path::Path;

use async_trait::async_trait;
use reflow_tracing_chunk::Chunk;

use crate::{
    CommitOutcome, CompactOutcome, CompactPolicy, Migrated, RetentionOutcome, RetentionPolicy, StoreError, StoreWriter,
    reading_half,
};
use writer::Writer;

/// The writing and the reading half of a SQLite database.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    reader: SqliteReader,
}

impl SqliteStore {
    /// Opens the database for writing and reading: makes the folder and the file if need be, takes the lock file, and applies
    /// migrations.
    ///
    /// # Errors
    /// `Locked` when another process writes it, `Schema` when a newer build has made it what this one cannot write, `Unavailable`
    /// and `Full` as told by the operating system.
    pub async fn open_writer(options: &SqliteOptions) -> Result<Self, StoreError> {
        let writer = Writer::open(options).await?;
        Ok(Self { writer, reader: SqliteReader::connect(options) })
    }

    /// Opens an existing database for reading alone, beside whoever writes it. Never creates anything.
    ///
    /// # Errors
    /// `Unavailable` when there is no such file, `Schema` when it is not one that this build reads.
    pub async fn open_reader(options: &SqliteOptions) -> Result<SqliteReader, StoreError> {
        SqliteReader::open(options).await
    }

    /// Applies migrations and closes the database again.
    ///
    /// # Errors
    /// As [`SqliteStore::open_writer`].
    pub async fn migrate(options: &SqliteOptions) -> Result<Migrated, StoreError> {
        let (writer, migrated) = Writer::open_and_migrate(options).await?;
        writer.close().await;
        Ok(migrated)
    }

    /// Copies an existing database into a new file, beside whoever writes it; gives the copy's bytes. Everything committed before
    /// the call is in it. A copy opens like any other database.
    ///
    /// # Errors
    /// `Rejected` when the file is there already, `Full` when there is no room for it, and as [`SqliteStore::open_reader`].
    pub async fn backup(options: &SqliteOptions, to: &Path) -> Result<u64, StoreError> {
        backup::backup(options, to).await
    }

    /// Closes the connections, which moves the log into the database file. Dropping the store leaves that to the next one.
    pub async fn close(self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

#[async_trait]
impl StoreWriter for SqliteStore {
    async fn commit(&self, chunks: &[Chunk], now_us: i64) -> Result<CommitOutcome, StoreError> {
        self.writer.commit(chunks, now_us).await
    }

    async fn probe(&self, now_us: i64) -> Result<(), StoreError> {
        self.writer.touch_hour(now_us).await
    }

    async fn compact(&self, policy: &CompactPolicy, now_us: i64) -> Result<CompactOutcome, StoreError> {
        crate::sql::compact::compact(self, policy, now_us).await
    }

    async fn retain(&self, policy: &RetentionPolicy, now_us: i64) -> Result<RetentionOutcome, StoreError> {
        self.writer.retain(policy, now_us).await
    }

    fn durable(&self) -> bool {
        true
    }
}

reading_half!(SqliteStore, |store| &store.reader);
reading_half!(SqliteReader, |reader| reader);

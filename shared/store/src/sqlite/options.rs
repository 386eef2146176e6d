//! How a SQLite store is opened.

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::Limits;

/// How long a connection waits for another one's lock. Readers wait only while a log is being recovered, the writer only for a
/// connection that is being closed.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes a page, in a new database. Payloads are some kilobytes each: larger pages than the default 4 KiB mean fewer of them to
/// allocate, to checksum and to chain up.
const PAGE_BYTES: u32 = 16_384;

/// Pages in the log before it is copied into the database, 64 MiB: a page that many commits change (an index, a rollup) is then
/// copied once, and the copying's own syncs are spread over many commits.
const CHECKPOINT_PAGES: &str = "4096";

/// Page cache of a connection that reads, at least, as in `cache_size`: 64 MiB. A question about a popular actor goes over some
/// fifty megabytes of index in a large database; with 16 MiB it read 4,700 pages anew each time, with this 49.
const READER_CACHE: i64 = -65_536;

/// Where the database is and how it is written.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The database file. Beside it lie its log (`-wal`, `-shm`) and the writer's lock file (`.lock`).
    pub path: PathBuf,
    /// Journal. Default WAL: readers and the writer do not wait for each other in this one alone.
    pub journal_mode: SqliteJournalMode,
    /// When to sync. Default FULL: a commit survives loss of power, and group commit makes it cheap.
    pub synchronous: SqliteSynchronous,
    /// Page cache of each connection, as SQLite's `cache_size`: pages, or KiB when negative. Default 16 MiB; connections that read
    /// take up to 64 MiB where that is more.
    pub cache_size: i64,
    /// Connections that read. Default 4.
    pub reader_connections: u32,
    /// Idle time after which a trace counts as ended, in answers to questions that bring none. Default 15 minutes.
    pub trace_idle: Duration,
    /// Cardinality limits.
    pub limits: Limits,
}

impl SqliteOptions {
    /// Defaults for a file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            journal_mode: SqliteJournalMode::Wal,
            synchronous: SqliteSynchronous::Full,
            cache_size: -16_384,
            reader_connections: 4,
            trace_idle: Duration::from_secs(15 * 60),
            limits: Limits::default(),
        }
    }

    pub(super) fn folder(&self) -> Option<&Path> {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty())
    }

    pub(super) fn for_writer(&self) -> SqliteConnectOptions {
        // The order of pragmas is sqlx's own: page size comes before the journal mode that writes the first page.
        self.common()
            .create_if_missing(true)
            .page_size(PAGE_BYTES)
            .journal_mode(self.journal_mode)
            .synchronous(self.synchronous)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .statement_cache_capacity(256)
    }

    /// Never creates, never writes.
    pub(super) fn for_reader(&self) -> SqliteConnectOptions {
        self.common().read_only(true).pragma("cache_size", self.cache_size.min(READER_CACHE).to_string())
    }

    fn common(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .foreign_keys(false)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("cache_size", self.cache_size.to_string())
            .pragma("temp_store", "memory")
            .disable_statement_logging()
    }
}

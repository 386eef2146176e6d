//! What keeps the traces, and how what the services build themselves is compressed.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;

use super::super::{
    keys::{choice, section},
    secret::Secret,
};

choice! {
    /// What keeps the traces.
    pub enum Backend {
        /// Nothing survives the process.
        Memory = "memory",
        /// One file on this host.
        Sqlite = "sqlite",
        /// A PostgreSQL server.
        Postgres = "postgres",
    }
}

section! {
    /// What keeps the traces.
    pub struct Storage at "storage." {
        /// Which store is used. A `storage.postgres.connection_url` selects `postgres`.
        backend: Backend = Backend::Sqlite;
        because "it keeps what was acked without any server to install"
        sections {
            /// For `sqlite`.
            sqlite: Sqlite,
            /// For `postgres`.
            postgres: Postgres,
            /// For `memory`.
            memory: Memory,
        }
    }
}

choice! {
    /// SQLite's journal mode.
    pub enum JournalMode {
        /// Readers and the writer do not wait for each other.
        Wal = "wal",
        /// A rollback journal, deleted after each commit.
        Delete = "delete",
        /// A rollback journal, truncated after each commit.
        Truncate = "truncate",
        /// A rollback journal, its header overwritten after each commit.
        Persist = "persist",
    }
}

choice! {
    /// When SQLite waits for the disk.
    pub enum Synchronous {
        /// At each commit.
        Full = "full",
        /// At each commit, and for the directory entry too.
        Extra = "extra",
        /// At checkpoints: power loss may lose what was acked.
        Normal = "normal",
        /// Never: power loss may destroy the file.
        Off = "off",
    }
}

section! {
    /// SQLite.
    pub struct Sqlite at "storage.sqlite." {
        /// The database file; its folder is made where it is missing.
        database_path: PathBuf = PathBuf::from("data/traces.db");
        because "a folder of its own holds the file, its log and its lock"
        /// Whether the write-ahead log is used. The same as `journal_mode`, kept because published files have both.
        wal_mode: bool = true;
        because "history is read while the writer writes"
        /// SQLite's journal mode. Anything but `wal` makes readers and the writer wait for each other.
        journal_mode: JournalMode = JournalMode::Wal;
        because "history is read while the writer writes"
        /// When SQLite waits for the disk. `normal` and `off` are faster and break the promise for power loss.
        synchronous: Synchronous = Synchronous::Full;
        because "an ack means durable, and group commit makes the wait cheap"
        /// Page cache of one connection: pages, or KiB when negative, as in SQLite's `cache_size`. A connection that reads takes up to
        /// 64 MiB, as its questions need it.
        cache_size: i32 = -16_384, in -4_194_304..=4_194_304;
        because "16 MiB a connection is little beside the process and more than SQLite's own 2 MiB"
    }
}

section! {
    /// PostgreSQL.
    pub struct Postgres at "storage.postgres." {
        /// URL of the database, `postgres://user:password@host/name`. It selects the backend.
        connection_url: Option<Secret> = None;
        because "there is no server to assume"
        /// Connections of one process at most. A writer has one more, which holds its slot.
        max_connections: u32 = 10, in 1..=10_000;
        because "a server takes 100 by default, and several writers and query services share them"
        /// Connections kept open while idle.
        min_connections: u32 = 1, in 0..=10_000;
        because "the first write after a pause need not connect"
        /// How long to wait for a free connection, in seconds, before it counts as an outage.
        acquire_timeout_secs: u64 = 30, in 1..=3_600;
        because "it is longer than a restart of the server takes"
    }
}

choice! {
    /// What the memory store does when it is full.
    pub enum EvictionPolicy {
        /// Forgets the trace that was longest not written or read.
        Lru = "lru",
        /// Forgets the oldest trace.
        Fifo = "fifo",
    }
}

section! {
    /// The memory store.
    pub struct Memory at "storage.memory." {
        /// Traces kept; one more makes the store forget one.
        max_traces: usize = 10_000, in 1..=100_000_000;
        because "published servers keep so many"
        /// Which trace is forgotten: the one longest not used, or the oldest.
        eviction_policy: EvictionPolicy = EvictionPolicy::Lru;
        because "a trace that somebody looks at shall stay"
    }
}

choice! {
    /// A compression algorithm.
    pub enum Algorithm {
        /// Zstandard.
        Zstd = "zstd",
        /// The lz4 frame format.
        Lz4 = "lz4",
        /// Brotli.
        Brotli = "brotli",
        /// Gzip.
        Gzip = "gzip",
    }
}

section! {
    /// How chunks that a service builds itself (from v1 frames, from `StoreTrace`, in compaction) are compressed. What a v2
    /// client compressed stays as it came.
    pub struct Compression at "compression." {
        /// Whether chunks that the server itself makes (of v1 frames, of uncompressed batches, of merged chunks) are compressed at all.
        enabled: bool = true;
        because "an event then takes an eighth of its size, on the bus and in the store"
        /// The algorithm, also for binary frames that do not say their own (brotli has no magic number).
        algorithm: Algorithm = Algorithm::Zstd;
        because "it compresses and decompresses faster than JSON is written and parsed"
        /// The algorithm's level: zstd -7 to 22, gzip 0 to 9, brotli 0 to 11; lz4 has none.
        level: i32 = 1, in -7..=22;
        because "a core compresses 1.3 million events a second at it, more than it can parse, and higher levels cost more"
    }
}

impl Postgres {
    /// How long to wait for a free connection.
    pub fn acquire_timeout(&self) -> Duration {
        Duration::from_secs(self.acquire_timeout_secs)
    }

    /// The URL of the database.
    ///
    /// # Errors
    ///
    /// When it is not set, which the rules of the configuration make sure of where it is needed.
    pub fn url(&self) -> anyhow::Result<&str> {
        let url = self.connection_url.as_ref().context("storage.postgres.connection_url is not set")?;
        Ok(url.expose())
    }
}

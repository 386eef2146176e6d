//! PostgreSQL: the store of a team. Any number of writers and readers.
//!
//! Guarantee: a commit is one transaction, tried again as a whole when it meets another in a deadlock; two writers never wait for each
//! other on what every commit changes, because such rows carry a writer slot. Chunks are partitioned by day of insertion.

mod commit;
mod compact;
mod error;
mod options;
mod partition;
mod reader;
mod retain;
mod schema;
mod slot;
mod steps;

pub use options::PostgresOptions;
pub use reader::PostgresReader;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reflow_tracing_chunk::Chunk;
use sqlx::{ConnectOptions, Connection, Executor};

use crate::{
    CommitOutcome, CompactOutcome, CompactPolicy, Limits, Migrated, RetentionOutcome, RetentionPolicy, StoreError,
    StoreWriter, reading_half,
};
use error::store_error;
use slot::Slot;

/// The writing and the reading half of a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    reader: PostgresReader,
    slot: Slot,
    limits: Limits,
    commit_timeout: Duration,
    /// The day whose partition this writer knows to be there; `i64::MIN` when it knows of none.
    known_day: AtomicI64,
    /// Last trace that compaction looked at.
    compact_cursor: AtomicI64,
}

impl PostgresStore {
    /// Connects for writing and reading, applies migrations and takes a writer slot.
    ///
    /// # Errors
    /// `Unavailable` while the server cannot be reached, `Schema` when a newer build has made it what this one cannot write or
    /// it is not encoded as UTF-8, `Locked` when there are too many writers.
    pub async fn connect_writer(options: &PostgresOptions) -> Result<Self, StoreError> {
        const CONTEXT: &str = "connecting to the database";
        // An operator may have turned this off for the whole server; what we acknowledge is on disk. Stronger settings stay.
        const DURABLE: &str =
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";
        let connect = options.connect(slot::ROLE)?;
        let alone = options.connect_alone(connect.clone()).await;
        let mut connection = alone.map_err(|error| store_error(CONTEXT, error))?;
        schema::migrate(&mut connection).await?;
        // Before there is a pool: each of its connections is told the slot.
        let slot = Slot::take(options, connection).await?;
        let number = slot.shared_number();
        let pool = options.pool().after_connect(move |connection, _| {
            let number = number.load(Ordering::Relaxed);
            Box::pin(async move {
                connection.execute(DURABLE).await?;
                // Where triggers count.
                let set = sqlx::query("SELECT set_config('reflow.slot', $1, false)").bind(number.to_string());
                set.execute(connection).await?;
                Ok(())
            })
        });
        let pool = pool.connect_with(connect).await.map_err(|error| store_error(CONTEXT, error))?;
        Ok(Self {
            reader: PostgresReader::new(pool, options),
            slot,
            limits: options.limits,
            commit_timeout: options.commit_timeout,
            known_day: AtomicI64::new(i64::MIN),
            compact_cursor: AtomicI64::new(0),
        })
    }

    /// Connects for reading alone.
    ///
    /// # Errors
    /// `Unavailable` while the server cannot be reached, `Schema` when the database is not one that this build reads.
    pub async fn connect_reader(options: &PostgresOptions) -> Result<PostgresReader, StoreError> {
        PostgresReader::connect(options).await
    }

    /// Applies migrations.
    ///
    /// # Errors
    /// `Unavailable` while the server cannot be reached, `Schema` when a newer build has made it what this one cannot write.
    pub async fn migrate(options: &PostgresOptions) -> Result<Migrated, StoreError> {
        let failed = |error| store_error("connecting to the database", error);
        let mut connection = options.connect("migrate")?.connect().await.map_err(failed)?;
        let migrated = schema::migrate(&mut connection).await?;
        connection.close().await.map_err(failed)?;
        Ok(migrated)
    }
}

#[async_trait]
impl StoreWriter for PostgresStore {
    async fn commit(&self, chunks: &[Chunk], now_us: i64) -> Result<CommitOutcome, StoreError> {
        self.commit_chunks(chunks, now_us).await
    }

    async fn probe(&self, now_us: i64) -> Result<(), StoreError> {
        self.touch_hour(now_us).await
    }

    async fn compact(&self, policy: &CompactPolicy, now_us: i64) -> Result<CompactOutcome, StoreError> {
        crate::sql::compact::compact(self, policy, now_us).await
    }

    async fn retain(&self, policy: &RetentionPolicy, now_us: i64) -> Result<RetentionOutcome, StoreError> {
        self.remove_old(policy, now_us).await
    }

    fn durable(&self) -> bool {
        true
    }
}

reading_half!(PostgresStore, |store| &store.reader);
reading_half!(PostgresReader, |reader| reader);

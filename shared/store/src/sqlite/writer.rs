//! The writer's connection: one transaction at a time.
//!
//! Guarantee: a transaction that was not committed (an error, a future that was dropped) takes its connection with it, and the next
//! one starts on a fresh connection. A failed statement may or may not have ended its transaction in SQLite; closing always does.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicI64;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::sync::{Mutex, MutexGuard};

use super::error::store_error;
use super::lock::WriterLock;
use super::{SqliteOptions, schema};
use crate::{Limits, Migrated, StoreError, StoreErrorKind};

/// What only one process has of a database.
#[derive(Debug)]
pub(super) struct Writer {
    connection: Mutex<Option<SqliteConnection>>,
    connect: SqliteConnectOptions,
    pub(super) limits: Limits,
    /// Last trace that compaction looked at.
    pub(super) compact_cursor: AtomicI64,
    /// Day before which `seen` was last pruned by this process.
    pub(super) pruned_day: AtomicI64,
    /// Released last, after the connection is gone.
    _lock: WriterLock,
}

impl Writer {
    pub async fn open(options: &SqliteOptions) -> Result<Self, StoreError> {
        Ok(Self::open_and_migrate(options).await?.0)
    }

    pub async fn open_and_migrate(options: &SqliteOptions) -> Result<(Self, Migrated), StoreError> {
        if let Some(folder) = options.folder() {
            std::fs::create_dir_all(folder).map_err(|error| {
                let reason = format!("{}: {error}", folder.display());
                StoreError::new(StoreErrorKind::Unavailable, "creating the database folder", reason)
            })?;
        }
        let lock = WriterLock::take(&options.path)?;
        let connect = options.for_writer();
        let mut connection = connect.connect().await.map_err(|error| store_error("opening the database", error))?;
        let migrated = schema::migrate(&mut connection).await?;
        let writer = Self {
            connection: Mutex::new(Some(connection)),
            connect,
            limits: options.limits,
            compact_cursor: AtomicI64::new(0),
            pruned_day: AtomicI64::new(i64::MIN),
            _lock: lock,
        };
        Ok((writer, migrated))
    }

    /// Begins a transaction when the one before has ended.
    pub async fn begin(&self) -> Result<WriteTransaction<'_>, sqlx::Error> {
        let mut slot = self.connection.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.connect.connect().await?,
        };
        connection.execute("BEGIN IMMEDIATE").await?;
        Ok(WriteTransaction { slot, connection: Some(connection) })
    }

    pub async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing the database failed");
        }
    }
}

/// A write transaction. Dropped before [`WriteTransaction::commit`], it is rolled back.
pub(super) struct WriteTransaction<'w> {
    slot: MutexGuard<'w, Option<SqliteConnection>>,
    /// `Some` until the end: back in the slot after a commit, closed by the drop otherwise.
    connection: Option<SqliteConnection>,
}

impl WriteTransaction<'_> {
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.execute("COMMIT").await?;
        *self.slot = self.connection.take();
        Ok(())
    }
}

impl Deref for WriteTransaction<'_> {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        self.connection.as_ref().expect("a transaction has its connection until it ends")
    }
}

impl DerefMut for WriteTransaction<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect("a transaction has its connection until it ends")
    }
}

//! The writer slot: a small number that one writer has to itself.
//!
//! Rows that every commit changes (rollups, hours, versions) carry it, so that writers never wait for each other. It is an advisory lock
//! on a connection of its own. Two writers with the same slot, after a server has restarted say, are only slower: rows are locked
//! before they are changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sqlx::postgres::PgConnection;
use tokio::sync::Mutex;

use super::PostgresOptions;
use super::error::store_error;
use super::options::is_alive;
use super::schema::LOCK_CLASS;
use crate::{StoreError, StoreErrorKind};

/// Writers at most. As many as one bus consumer feeds many times over.
const SLOTS: i32 = 256;
const CONTEXT: &str = "taking a writer slot";
/// Of its connection, as the server shows it.
pub(super) const ROLE: &str = "writer";

#[derive(Debug)]
pub(super) struct Slot {
    number: Arc<AtomicI64>,
    options: PostgresOptions,
    connection: Mutex<PgConnection>,
}

impl Slot {
    /// Takes one with this connection, which it keeps.
    pub async fn take(options: &PostgresOptions, mut connection: PgConnection) -> Result<Self, StoreError> {
        let number = lock_free_one(&mut connection, 0).await?;
        let number = Arc::new(AtomicI64::new(i64::from(number)));
        Ok(Self { number, options: options.clone(), connection: Mutex::new(connection) })
    }

    pub fn number(&self) -> i64 {
        self.number.load(Ordering::Relaxed)
    }

    /// The number as it is when it is looked at, for connections that are made later.
    pub fn shared_number(&self) -> Arc<AtomicI64> {
        self.number.clone()
    }

    /// Takes the slot again, or another, when the connection that held it is gone.
    pub async fn keep(&self) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().await;
        if is_alive(&mut connection).await {
            return Ok(());
        }
        let wanted = i32::try_from(self.number()).unwrap_or(0);
        let connect = self.options.connect(ROLE)?;
        let mut fresh = self.options.connect_alone(connect).await.map_err(|error| store_error(CONTEXT, error))?;
        let number = lock_free_one(&mut fresh, wanted).await?;
        *connection = fresh;
        self.number.store(i64::from(number), Ordering::Relaxed);
        Ok(())
    }
}

/// Locks the wanted slot or the next that is free.
async fn lock_free_one(connection: &mut PgConnection, wanted: i32) -> Result<i32, StoreError> {
    for offset in 0..SLOTS {
        let number = (wanted + offset) % SLOTS;
        let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)")
            .bind(LOCK_CLASS)
            .bind(number)
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| store_error(CONTEXT, error))?;
        if locked {
            return Ok(number);
        }
    }
    Err(StoreError::new(StoreErrorKind::Locked, CONTEXT, format!("all {SLOTS} writer slots are taken")))
}

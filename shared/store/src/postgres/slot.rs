//! The writer slot: a small number that one writer has to itself.
//!
//! Rows that every commit changes (rollups, hours, versions) carry it, so that writers never wait for each other. It is an advisory lock
//! on a connection of its own. Two writers with the same slot, after a server has restarted say, are only slower: rows are locked
//! before they are changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Mutex;

use super::error::store_error;
use super::schema::LOCK_CLASS;
use crate::{StoreError, StoreErrorKind};

/// Writers at most. As many as one bus consumer feeds many times over.
const SLOTS: i32 = 256;
const CONTEXT: &str = "taking a writer slot";

#[derive(Debug)]
pub(super) struct Slot {
    number: Arc<AtomicI64>,
    connect: PgConnectOptions,
    connection: Mutex<PgConnection>,
}

impl Slot {
    /// Takes one and tells its number to `number`, for connections that are made later.
    pub async fn take(connect: PgConnectOptions, number: Arc<AtomicI64>) -> Result<Self, StoreError> {
        let (connection, taken) = lock_free_one(&connect, 0).await?;
        number.store(i64::from(taken), Ordering::Relaxed);
        Ok(Self { number, connect, connection: Mutex::new(connection) })
    }

    pub fn number(&self) -> i64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Takes the slot again, or another, when the connection that held it is gone.
    pub async fn keep(&self) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().await;
        if connection.ping().await.is_ok() {
            return Ok(());
        }
        let wanted = i32::try_from(self.number()).unwrap_or(0);
        let (fresh, number) = lock_free_one(&self.connect, wanted).await?;
        *connection = fresh;
        self.number.store(i64::from(number), Ordering::Relaxed);
        Ok(())
    }
}

/// Locks the wanted slot or the next that is free.
async fn lock_free_one(connect: &PgConnectOptions, wanted: i32) -> Result<(PgConnection, i32), StoreError> {
    let failed = |error| store_error(CONTEXT, error);
    let mut connection = connect.connect().await.map_err(failed)?;
    for offset in 0..SLOTS {
        let number = (wanted + offset) % SLOTS;
        let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)")
            .bind(LOCK_CLASS)
            .bind(number)
            .fetch_one(&mut connection)
            .await
            .map_err(failed)?;
        if locked {
            return Ok((connection, number));
        }
    }
    Err(StoreError::new(StoreErrorKind::Locked, CONTEXT, format!("all {SLOTS} writer slots are taken")))
}

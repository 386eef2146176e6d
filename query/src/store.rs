//! Opens the store for reading; waits while it is away, or while its schema is not one that this build reads.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use reflow_tracing_service::Latch;
use reflow_tracing_service::config::{Backend, Config, mask_urls};
use reflow_tracing_store::{PostgresStore, SqliteStore, StoreError, StoreErrorKind, StoreReader};
use tokio::time::sleep;

use crate::settings;

/// Between two attempts: a writer that migrates is done within seconds.
const PAUSE: Duration = Duration::from_secs(1);

/// The store's reading half. `latch` says meanwhile what is waited for.
///
/// # Errors
///
/// When the backend cannot be read by another process, or waiting does not mend what is wrong.
pub async fn open(config: &Config, latch: &Latch) -> anyhow::Result<Arc<dyn StoreReader>> {
    loop {
        let error = match try_open(config).await? {
            Ok(reader) => {
                latch.set();
                return Ok(reader);
            }
            Err(error) => error,
        };
        let reason = mask_urls(&error.to_string());
        match error.kind {
            StoreErrorKind::Rejected | StoreErrorKind::Corrupt => return Err(error).context("cannot open the store"),
            _ => tracing::warn!(reason, "store cannot be read yet"),
        }
        latch.waiting_for(reason);
        sleep(PAUSE).await;
    }
}

async fn try_open(config: &Config) -> anyhow::Result<Result<Arc<dyn StoreReader>, StoreError>> {
    fn shared(reader: impl StoreReader + 'static) -> Arc<dyn StoreReader> {
        Arc::new(reader)
    }
    Ok(match config.storage.backend {
        Backend::Memory => anyhow::bail!("no other process sees the memory backend"),
        Backend::Sqlite => SqliteStore::open_reader(&settings::sqlite(config)).await.map(shared),
        Backend::Postgres => PostgresStore::connect_reader(&settings::postgres(config)?).await.map(shared),
    })
}

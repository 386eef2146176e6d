//! Opens the store for writing, which applies migrations; waits while it is away or another writer holds it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use reflow_tracing_service::Latch;
use reflow_tracing_service::config::{Backend, Config, mask_urls};
use reflow_tracing_store::{Migrated, PostgresStore, SqliteStore, Store, StoreError, StoreErrorKind};
use tokio::time::sleep;

use crate::settings;

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// The store. `latch` says meanwhile what is waited for.
///
/// # Errors
///
/// When waiting does not mend what is wrong: a schema that this build cannot write any more, a file that is no database.
pub async fn open(config: &Config, latch: &Latch) -> anyhow::Result<Arc<dyn Store>> {
    loop {
        let error = match try_open(config).await? {
            Ok(store) => {
                latch.set();
                return Ok(store);
            }
            Err(error) => error,
        };
        let reason = mask_urls(&error.to_string());
        match error.kind {
            StoreErrorKind::Unavailable | StoreErrorKind::Full | StoreErrorKind::Locked => {
                tracing::warn!(reason, "store cannot be opened yet");
            }
            _ => return Err(error).context("cannot open the store"),
        }
        latch.waiting_for(reason);
        sleep(PAUSE).await;
    }
}

/// Applies migrations.
///
/// # Errors
///
/// When the store cannot be reached or migrated.
pub async fn migrate(config: &Config) -> anyhow::Result<Migrated> {
    match config.storage.backend {
        Backend::Memory => anyhow::bail!("the memory backend has no schema"),
        Backend::Sqlite => SqliteStore::migrate(&settings::sqlite(config)).await.context("cannot migrate"),
        Backend::Postgres => PostgresStore::migrate(&settings::postgres(config)?).await.context("cannot migrate"),
    }
}

/// Copies an SQLite database into a new file while it is in use; the copy's bytes.
///
/// # Errors
///
/// When there is no such database or no room, when the file is there already, and for other backends, whose own tools do it.
pub async fn backup(config: &Config, to: &Path) -> anyhow::Result<u64> {
    match config.storage.backend {
        Backend::Memory => anyhow::bail!("the memory backend keeps nothing that could be copied"),
        Backend::Sqlite => SqliteStore::backup(&settings::sqlite(config), to).await.context("cannot copy the database"),
        Backend::Postgres => {
            anyhow::bail!("copy a PostgreSQL database with pg_dump: deploy/README.md has the commands")
        }
    }
}

async fn try_open(config: &Config) -> anyhow::Result<Result<Arc<dyn Store>, StoreError>> {
    fn shared(store: impl Store + 'static) -> Arc<dyn Store> {
        Arc::new(store)
    }
    Ok(match config.storage.backend {
        Backend::Memory => Ok(shared(settings::memory(config))),
        Backend::Sqlite => SqliteStore::open_writer(&settings::sqlite(config)).await.map(shared),
        Backend::Postgres => PostgresStore::connect_writer(&settings::postgres(config)?).await.map(shared),
    })
}

//! The dead letters of the one-process program: a file beside the database, read where it lies, while the program runs or not.

use std::path::PathBuf;

use anyhow::{Context, bail};
use reflow_tracing_bus::LocalBus;
use reflow_tracing_service::Config;
use reflow_tracing_service::config::Backend;
use reflow_tracing_writer::dead_letters::tell;

/// Where they are kept: beside the database. With the memory backend nothing outlives the process, dead letters included.
pub(crate) fn folder(config: &Config) -> Option<PathBuf> {
    let beside = config.storage.sqlite.database_path.parent();
    match config.storage.backend {
        Backend::Memory => None,
        Backend::Sqlite | Backend::Postgres => beside.map(|folder| folder.join("dead-letters")),
    }
}

/// Prints the newest, one JSON object a line, newest first.
///
/// # Errors
///
/// When their file cannot be read, or they are kept in the memory of a process.
pub async fn print(config: &Config, limit: usize) -> anyhow::Result<()> {
    let Some(folder) = folder(config) else {
        bail!(
            "the memory backend keeps dead letters in the memory of its process: `reflow_bus_dead_letters` counts them"
        );
    };
    let at = folder.display().to_string();
    let read = LocalBus::read_dead_letters(folder, limit).await;
    let (letters, kept) = read.with_context(|| format!("cannot read the dead letters in {at}"))?;
    tell(&letters, kept)
}

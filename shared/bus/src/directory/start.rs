//! How a service gets its directory at its start.

use std::sync::Arc;

use anyhow::Context;
use reflow_tracing_service::Service;

use super::{Directory, DirectoryOptions, MemoryDirectory, RedisDirectory, RedisOptions};
use crate::watch_directory;

/// The directory that services share where the configuration names a Redis, else what this one knows by itself; measured.
///
/// # Errors
///
/// When Redis is configured in a way that cannot work. One that is away is no error.
pub fn start_directory(service: &Service) -> anyhow::Result<Arc<dyn Directory>> {
    let config = &service.config;
    let directory: Arc<dyn Directory> = match RedisOptions::of(config) {
        Some(options) => Arc::new(RedisDirectory::try_new(options).context("cannot use Redis")?),
        None => Arc::new(MemoryDirectory::new(DirectoryOptions::of(config))),
    };
    watch_directory(&service.metrics, directory.clone())?;
    Ok(directory)
}

//! The directory that collectors share: Redis behind a cache of the process.
//!
//! Guarantee: a call waits at most the timeout for Redis, and not at all while it is down; then the cache alone answers, and
//! what was told meanwhile is written to Redis when it is next looked up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moka::sync::Cache;
use tokio::time::Instant;
use uuid::Uuid;

use super::calls::{Calls, name_of};
use super::watchman::Watchman;
use super::{Directory, DirectoryOptions, DirectoryStats, Key, TraceEntry};
use crate::error::BusError;
use crate::stats::add;

/// What Redis did not know a moment ago it is not asked again for so long.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);

/// Settings of a [`RedisDirectory`].
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://[user:password@]host:port[/db]`. Never printed.
    pub url: String,
    /// No call waits longer for Redis (50 ms: a round trip takes a tenth of a millisecond, a batch must not wait for a sick one).
    pub timeout: Duration,
    /// Connections (8).
    pub max_connections: usize,
    /// The cache in front.
    pub directory: DirectoryOptions,
}

impl RedisOptions {
    /// What the configuration says, where there is a Redis.
    pub fn of(config: &reflow_tracing_service::config::Config) -> Option<Self> {
        let url = config.redis.url.as_ref()?;
        let directory = DirectoryOptions::of(config);
        Some(Self { timeout: config.redis.timeout(), directory, ..Self::new(url.expose()) })
    }

    /// The defaults for a server.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            timeout: Duration::from_millis(50),
            max_connections: 8,
            directory: DirectoryOptions::default(),
        }
    }
}

impl fmt::Debug for RedisOptions {
    /// Without the url, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("timeout", &self.timeout)
            .field("max_connections", &self.max_connections)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// The shared directory. Clones share cache and connections.
#[derive(Clone)]
pub struct RedisDirectory {
    calls: Calls,
    /// An entry in use is told to Redis again after so long, that it does not run out there.
    fresh: Duration,
    cache: Cache<Key, Cached>,
    /// Traces that Redis did not know a moment ago.
    unknown: Cache<Key, ()>,
    stats: Arc<DirectoryStats>,
    watchman: Watchman,
}

#[derive(Clone)]
struct Cached {
    entry: TraceEntry,
    /// When Redis last had it from us or we from it; none while it has never.
    shared_at: Option<Instant>,
}

impl RedisDirectory {
    /// A directory; connects when first used. Fails with [`crate::BusErrorKind::Setup`] for a url that is none.
    pub fn try_new(options: RedisOptions) -> Result<Self, BusError> {
        let calls = Calls::try_new(&options)?;
        let DirectoryOptions { lifetime, max_entries } = options.directory;
        let stats = Arc::new(DirectoryStats::default());
        Ok(Self {
            cache: Cache::builder().max_capacity(max_entries).time_to_idle(lifetime).build(),
            unknown: Cache::builder().max_capacity(max_entries).time_to_live(UNKNOWN_FOR).build(),
            watchman: Watchman::new(calls.clone(), Arc::clone(&stats)),
            fresh: lifetime / 2,
            calls,
            stats,
        })
    }

    /// The counters, shareable.
    pub fn shared_stats(&self) -> Arc<DirectoryStats> {
        Arc::clone(&self.stats)
    }

    async fn write(&self, key: Key, entry: TraceEntry) {
        let shared_at = match serde_json::to_string(&entry) {
            Ok(value) => self.call(self.calls.set(&name_of(&key), value)).await.map(|()| Instant::now()),
            // A struct of strings always serialises.
            Err(_) => None,
        };
        self.cache.insert(key, Cached { entry, shared_at });
    }

    /// Runs a call, unless Redis is known to be down.
    async fn call<T>(&self, call: impl Future<Output = Result<T, String>>) -> Option<T> {
        if !self.watchman.is_open() {
            add(&self.stats.skipped, 1);
            return None;
        }
        call.await.map_err(|error| self.watchman.failed(&error)).ok()
    }
}

#[async_trait]
impl Directory for RedisDirectory {
    async fn get(&self, tenant: &str, trace_id: Uuid) -> Option<TraceEntry> {
        let key = (tenant.to_owned(), trace_id);
        if let Some(cached) = self.cache.get(&key) {
            add(&self.stats.cache_hits, 1);
            // An entry in use must not run out in Redis, and one that never got there, or that Redis lost, gets there now.
            let is_shared = cached.shared_at.is_some_and(|at| at.elapsed() < self.fresh);
            if !is_shared && self.watchman.is_open() {
                self.write(key, cached.entry.clone()).await;
            }
            return Some(cached.entry);
        }
        if self.unknown.contains_key(&key) {
            add(&self.stats.misses, 1);
            return None;
        }
        let Some(found) = self.call(self.calls.fetch(&name_of(&key))).await else {
            add(&self.stats.misses, 1);
            return None;
        };
        // What cannot be read was not written by us: it is unknown, and the next put replaces it.
        match found.and_then(|value| serde_json::from_str::<TraceEntry>(&value).ok()) {
            Some(entry) => {
                add(&self.stats.shared_hits, 1);
                self.cache.insert(key, Cached { entry: entry.clone(), shared_at: Some(Instant::now()) });
                Some(entry)
            }
            None => {
                add(&self.stats.misses, 1);
                self.unknown.insert(key, ());
                None
            }
        }
    }

    async fn put(&self, tenant: &str, trace_id: Uuid, entry: TraceEntry) {
        let key = (tenant.to_owned(), trace_id);
        self.unknown.invalidate(&key);
        self.write(key, entry).await;
    }

    fn stats(&self) -> &DirectoryStats {
        &self.stats
    }
}

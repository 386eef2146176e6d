//! The trace directory: which flow a trace belongs to, shared between collectors, and with query services, which show it live.
//!
//! A program names its flow once, when it starts a trace; later batches of the trace may come to another collector, which then
//! has to find out. [`MemoryDirectory`] knows what its own process was told; [`RedisDirectory`] puts Redis behind such a
//! cache.
//!
//! Guarantee: never an error and never a long wait. An unknown flow costs precision of routing, nothing else, so a
//! directory that cannot answer says "unknown" and counts it.

mod calls;
mod memory;
mod redis;
mod start;
mod watchman;

pub use self::memory::MemoryDirectory;
pub use self::redis::{RedisDirectory, RedisOptions};
pub use self::start::start_directory;

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What collectors must know of a trace to route its chunks. Kept as JSON; unknown fields are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEntry {
    /// What the program called itself.
    pub flow_id: String,
    /// Flow id without a generated tail.
    pub flow_name: String,
    /// The trace's own id, where the key is an id as sent that was adopted into another trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Uuid>,
}

/// Settings that every directory has.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryOptions {
    /// An entry is forgotten so long after its last use (1 h: longer than a trace pauses).
    pub lifetime: Duration,
    /// Entries kept in the process (100,000: some tens of megabytes); the least useful go first.
    pub max_entries: u64,
}

impl DirectoryOptions {
    /// What the configuration says.
    pub fn of(config: &reflow_tracing_service::config::Config) -> Self {
        Self { lifetime: config.redis.trace_ttl(), ..Self::default() }
    }
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self { lifetime: Duration::from_secs(3600), max_entries: 100_000 }
    }
}

/// What a directory counted.
#[derive(Debug, Default)]
pub struct DirectoryStats {
    /// Look-ups that the process's own cache answered.
    pub cache_hits: AtomicU64,
    /// Look-ups that Redis answered.
    pub shared_hits: AtomicU64,
    /// Look-ups that found nothing.
    pub misses: AtomicU64,
    /// Look-ups and writes that did without Redis because it was down.
    pub skipped: AtomicU64,
    /// Calls to Redis that failed or took too long.
    pub errors: AtomicU64,
    /// Redis is down as far as we know, and the cache alone answers.
    pub degraded: AtomicBool,
}

/// Which flow a trace belongs to.
#[async_trait]
pub trait Directory: Send + Sync {
    /// What is known of a trace.
    async fn get(&self, tenant: &str, trace_id: Uuid) -> Option<TraceEntry>;

    /// Tells the others of a trace. The last word wins.
    async fn put(&self, tenant: &str, trace_id: Uuid, entry: TraceEntry);

    /// What it counted.
    fn stats(&self) -> &DirectoryStats;
}

/// A trace among all tenants'.
type Key = (String, Uuid);

//! The directory of one process.

use async_trait::async_trait;
use moka::sync::Cache;
use uuid::Uuid;

use super::{Directory, DirectoryOptions, DirectoryStats, Key, TraceEntry};
use crate::stats::add;

/// A bounded cache with a lifetime: what one process was told itself.
pub struct MemoryDirectory {
    entries: Cache<Key, TraceEntry>,
    stats: DirectoryStats,
}

impl MemoryDirectory {
    /// An empty directory.
    pub fn new(options: DirectoryOptions) -> Self {
        let entries = Cache::builder().max_capacity(options.max_entries).time_to_idle(options.lifetime).build();
        Self { entries, stats: DirectoryStats::default() }
    }
}

#[async_trait]
impl Directory for MemoryDirectory {
    async fn get(&self, tenant: &str, trace_id: Uuid) -> Option<TraceEntry> {
        let found = self.entries.get(&(tenant.to_owned(), trace_id));
        add(if found.is_some() { &self.stats.cache_hits } else { &self.stats.misses }, 1);
        found
    }

    async fn put(&self, tenant: &str, trace_id: Uuid, entry: TraceEntry) {
        self.entries.insert((tenant.to_owned(), trace_id), entry);
    }

    fn stats(&self) -> &DirectoryStats {
        &self.stats
    }
}

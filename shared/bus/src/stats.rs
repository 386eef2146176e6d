//! What the bus counted: one set of counters for both implementations, exported by [`crate::watch_bus`].
//!
//! Guarantee: counters only grow, gauges are exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters (they only grow) and gauges of one bus.
#[derive(Debug, Default)]
pub struct BusStats {
    /// Chunks whose publish was acknowledged.
    pub published: AtomicU64,
    /// Bytes of them, encoded.
    pub published_bytes: AtomicU64,
    /// Attempts to publish after the first, for whatever reason.
    pub publish_retries: AtomicU64,
    /// How often a publish found the bus full and had to wait.
    pub full_waits: AtomicU64,
    /// Publishes that the server had already (recognised by chunk id).
    pub duplicates: AtomicU64,
    /// Gauge: publishes under way.
    pub publishing: AtomicU64,
    /// Deliveries handed to consumers.
    pub delivered: AtomicU64,
    /// Bytes of them.
    pub delivered_bytes: AtomicU64,
    /// Deliveries among them that were not the first of their message.
    pub redelivered: AtomicU64,
    /// Deliveries acknowledged.
    pub acked: AtomicU64,
    /// Deliveries given back for later.
    pub naked: AtomicU64,
    /// Deliveries terminated.
    pub terminated: AtomicU64,
    /// Pull requests that were lost (bus away) and made again.
    pub pull_retries: AtomicU64,
    /// Dead letters written.
    pub dead_lettered: AtomicU64,
    /// Connections made again after a loss.
    pub reconnects: AtomicU64,
    /// Streams or the consumer were gone at run time and declared again.
    pub repairs: AtomicU64,
    /// Gauge: live tails.
    pub tails: AtomicU64,
    /// Chunks put into tails.
    pub tail_chunks: AtomicU64,
    /// Chunks that tails are known to have missed.
    pub tail_missed: AtomicU64,
    /// Times that tails may have missed an unknown number of chunks.
    pub tail_gaps: AtomicU64,
}

/// Adds to a counter. Relaxed: counters order nothing.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// Holds a gauge up by one while it lives.
pub(crate) struct Gauge {
    stats: Arc<BusStats>,
    which: fn(&BusStats) -> &AtomicU64,
}

impl Gauge {
    pub(crate) fn up(stats: &Arc<BusStats>, which: fn(&BusStats) -> &AtomicU64) -> Self {
        add(which(stats), 1);
        Self { stats: Arc::clone(stats), which }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        (self.which)(&self.stats).fetch_sub(1, Ordering::Relaxed);
    }
}

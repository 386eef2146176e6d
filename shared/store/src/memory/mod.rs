//! The memory backend: for trying things out and for tests. The same rules as the SQL backends, from the same `merge` module, over maps.
//!
//! Guarantee: the behaviour of the others, but for durability ([`StoreWriter::durable`] says so) and room: when there are more traces
//! than allowed, whole traces go, and are counted.

mod read;
mod state;
mod upkeep;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reflow_tracing_chunk::Chunk;

use crate::{
    CommitOutcome, CompactOutcome, CompactPolicy, Limits, RetentionOutcome, RetentionPolicy, StoreError, StoreWriter,
};
use state::State;

/// Which trace goes when there is no room for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EvictionPolicy {
    /// The one that was written to the longest ago.
    #[default]
    Lru,
    /// The one that was begun the longest ago.
    Fifo,
}

/// A store that forgets when the process ends.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    trace_idle_us: i64,
}

impl MemoryStore {
    /// Keeps at most `max_traces` traces (at least one), with default limits and 15 minutes of idle time.
    pub fn new(max_traces: usize, eviction: EvictionPolicy) -> Self {
        Self::with_limits(max_traces, eviction, Limits::default(), Duration::from_secs(15 * 60))
    }

    /// With limits and an idle time of the caller's.
    pub fn with_limits(max_traces: usize, eviction: EvictionPolicy, limits: Limits, trace_idle: Duration) -> Self {
        let state = Arc::new(Mutex::new(State::new(max_traces.max(1), eviction, limits)));
        Self { state, trace_idle_us: i64::try_from(trace_idle.as_micros()).unwrap_or(i64::MAX) }
    }

    /// Traces that had to make room so far.
    pub fn evicted(&self) -> u64 {
        self.state().evicted
    }

    /// Every change is complete before anything can panic: a poisoned lock holds a whole state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StoreWriter for MemoryStore {
    async fn commit(&self, chunks: &[Chunk], now_us: i64) -> Result<CommitOutcome, StoreError> {
        Ok(self.state().commit(chunks, now_us))
    }

    async fn probe(&self, _: i64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn compact(&self, policy: &CompactPolicy, now_us: i64) -> Result<CompactOutcome, StoreError> {
        upkeep::compact(self, policy, now_us).await
    }

    async fn retain(&self, policy: &RetentionPolicy, now_us: i64) -> Result<RetentionOutcome, StoreError> {
        Ok(self.state().retain(policy, now_us))
    }

    fn durable(&self) -> bool {
        false
    }
}

//! The store: keeps chunks, one summary row a trace, and per-minute rollups; three backends, one behaviour.
//!
//! Guarantee: every write is a merge. A chunk may come at any time, in any order, from any writer, twice: the store ends up the
//! same. What [`StoreWriter::commit`] has returned `Ok` for is durable (as durable as the backend: the memory store says so by
//! [`StoreWriter::durable`]).
//!
//! Left out on purpose: opening payloads (except in compaction), rendering answers, retrying (the writer does).

mod error;
mod limits;
mod memory;
mod merge;
mod model;
mod postgres;
mod reading;
mod sql;
mod sqlite;
mod status;

pub use error::{StoreError, StoreErrorKind};
pub use limits::Limits;
pub use memory::{EvictionPolicy, MemoryStore};
pub use model::*;
pub use postgres::{PostgresOptions, PostgresReader, PostgresStore};
pub use sql::migration::Migrated;
pub use sqlite::{SqliteJournalMode, SqliteOptions, SqliteReader, SqliteStore, SqliteSynchronous};
pub use status::{TraceStatus, status_of};

pub(crate) use reading::reading_half;

use async_trait::async_trait;
use reflow_tracing_chunk::Chunk;
use uuid::Uuid;

/// Everything a store can do: [`StoreWriter`] and [`StoreReader`].
pub trait Store: StoreWriter + StoreReader {}
impl<T: StoreWriter + StoreReader> Store for T {}

/// The writing half. Held by writers alone.
#[async_trait]
pub trait StoreWriter: Send + Sync {
    /// Commits chunks in one transaction: `seen` first, and only what is new goes on to chunks, summaries and rollups.
    ///
    /// All or nothing: after an error none of them is stored. Deadlocks and serialisation failures are tried again inside.
    /// An error of kind [`StoreErrorKind::Rejected`] means that the backend can never store some chunk of the batch; the
    /// caller narrows it down by committing one by one.
    async fn commit(&self, chunks: &[Chunk], now_us: i64) -> Result<CommitOutcome, StoreError>;

    /// Commits one row that changes nothing: whether the store takes anything at all, when it has not taken chunks.
    async fn probe(&self, now_us: i64) -> Result<(), StoreError>;

    /// Merges the small chunks of traces that have ended (or are idle) since before `policy.idle_before_us`, and sets exact counts
    /// under the trace's row lock. Bounded work a call; `more` tells whether there is more to do.
    async fn compact(&self, policy: &CompactPolicy, now_us: i64) -> Result<CompactOutcome, StoreError>;

    /// Removes what is older or more than the policy allows; prunes `seen` after `dedupe_horizon`; makes partitions ahead.
    async fn retain(&self, policy: &RetentionPolicy, now_us: i64) -> Result<RetentionOutcome, StoreError>;

    /// Whether a commit survives a crash of the process.
    fn durable(&self) -> bool;
}

/// The reading half. Held by query services; never writes.
#[async_trait]
pub trait StoreReader: Send + Sync {
    /// Summary of a trace by its id, or by an id under which its events were sent. Idle time is as the store was opened with.
    async fn find_trace(&self, tenant: &str, id: Uuid, now_us: i64) -> Result<Option<TraceSummary>, StoreError>;

    /// Chunks of a trace that have events, in order of (first event time, chunk id), after `after`, until `max_bytes` of payload are
    /// gathered (at least one chunk if there is one).
    async fn trace_chunks(
        &self,
        tenant: &str,
        trace_id: Uuid,
        after: Option<ChunkCursor>,
        max_bytes: usize,
    ) -> Result<ChunkPage, StoreError>;

    /// Summaries that match, newest start first (then by trace id, descending), with the true total.
    async fn query(&self, filter: &TraceFilter, page: &Page, now_us: i64) -> Result<QueryPage, StoreError>;

    /// Versions of a flow by flow id or flow name, newest first.
    async fn flow_versions(&self, tenant: &str, flow: &str) -> Result<Vec<FlowVersionRow>, StoreError>;

    /// Heads of many traces at once; unknown traces are left out. Idle time is as the store was opened with.
    async fn heads(&self, tenant: &str, ids: &[Uuid], now_us: i64) -> Result<Vec<TraceHead>, StoreError>;

    /// Per-actor counts of the events of one trace that are still there, by actor id.
    async fn trace_actors(&self, tenant: &str, trace_id: Uuid) -> Result<Vec<ActorRow>, StoreError>;

    /// Rollups over a time range, summed over writer slots (and minutes, when `by_minute` is false).
    async fn rollups(&self, query: &RollupQuery) -> Result<Vec<RollupRow>, StoreError>;

    /// Rows, bytes and age of the newest chunk. Exact, and so not cheap: whole indexes are read. For a look now and then, not for
    /// every scrape.
    async fn stats(&self) -> Result<StoreStats, StoreError>;
}

//! What goes in and out of a store. Times are µs since the epoch.

use bytes::Bytes;
use reflow_tracing_chunk::{EndMark, ErrorMark, Header, LeftOut, TimeStats, Version};
use reflow_tracing_protocol::ExecutionStatus;
use uuid::Uuid;

use crate::TraceStatus;

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitOutcome {
    /// Chunks that were new.
    pub stored: usize,
    /// Chunks that had been seen before and changed nothing.
    pub duplicates: usize,
    /// Events in the new chunks.
    pub events: u64,
    /// Rows written, all tables.
    pub rows: u64,
}

/// One row a trace, merged by minima, maxima, sums and ors only.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSummary {
    /// The trace.
    pub trace_id: Uuid,
    /// Its tenant.
    pub tenant: String,
    /// Flow id as sent: the one that came with the earliest `started_us` (least string on a tie; a chunk without a start mark counts as latest).
    pub flow_id: Option<String>,
    /// Flow id without a generated tail.
    pub flow_name: Option<String>,
    /// Execution id where told.
    pub execution_id: Option<Uuid>,
    /// Version of the flow where told.
    pub version: Option<Version>,
    /// Metadata as JSON where told.
    pub metadata_json: Option<String>,
    /// Least event time, else least received time.
    pub start_us: i64,
    /// Greatest event time, where there are events.
    pub end_us: Option<i64>,
    /// Events counted. Exact for v2 batches always; for v1 sessions once `exact`.
    pub event_count: u64,
    /// Events that are still there: less than `event_count` when retention removed some.
    pub stored_events: u64,
    /// Events that sampling left out, an estimate: `event_count` and this are what happened, as far as programs did not drop it.
    pub left_out: u64,
    /// Bit mask of event types.
    pub event_types: u32,
    /// `ActorFailed` events.
    pub failures: u64,
    /// The earliest failure.
    pub first_error: Option<ErrorMark>,
    /// Explicit end (greatest time wins).
    pub ended: Option<EndMark>,
    /// Greatest time at which the peer closed its session.
    pub closed_us: Option<i64>,
    /// Least received time.
    pub first_received_us: i64,
    /// Greatest received time of a chunk WITH events or a start mark (a close mark alone does not count as activity).
    pub last_received_us: i64,
    /// No event is counted twice: nothing in the trace came as single v1 frames, or compaction has compared all its events.
    pub exact: bool,
    /// What each client said it recorded, sorted by client id.
    pub clients: Vec<ClientRow>,
    /// Computed at reading.
    pub status: TraceStatus,
}

/// What passing events of a trace are told apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceHead {
    /// The trace.
    pub trace_id: Uuid,
    /// Its status.
    pub status: TraceStatus,
    /// Its flow id, as in [`TraceSummary`].
    pub flow_id: Option<String>,
    /// Its flow id without a generated tail.
    pub flow_name: Option<String>,
}

impl From<TraceSummary> for TraceHead {
    fn from(summary: TraceSummary) -> Self {
        let TraceSummary { trace_id, status, flow_id, flow_name, .. } = summary;
        Self { trace_id, status, flow_id, flow_name }
    }
}

/// What a v2 client said of its stream, merged: sums and maxima.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRow {
    /// The client.
    pub client_id: String,
    /// Greatest `sequence + events + rejected`: what it had recorded, dropped ones included.
    pub recorded: u64,
    /// Sum of events stored.
    pub stored: u64,
    /// Greatest `dropped`.
    pub dropped: u64,
    /// Sum of events the server refused.
    pub rejected: u64,
}

/// Where a page of chunks ended: (first event time, chunk id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkCursor(pub i64, pub Uuid);

/// A chunk as stored.
#[derive(Clone, Debug)]
pub struct StoredChunk {
    /// Its header, without `sent_ids`: the ids as sent are kept beside the summary.
    pub header: Header,
    /// Its payload, still compressed.
    pub payload: Bytes,
}

/// Some chunks of a trace.
#[derive(Clone, Debug)]
pub struct ChunkPage {
    /// In order of (first event time, chunk id).
    pub chunks: Vec<StoredChunk>,
    /// Where to go on; `None` at the end.
    pub next: Option<ChunkCursor>,
}

/// Which traces. Every field narrows; `None` does not.
#[derive(Clone, Debug, Default)]
pub struct TraceFilter {
    /// Tenant, always.
    pub tenant: String,
    /// Exact flow id, or exact flow name.
    pub flow: Option<String>,
    /// Execution id; a trace that was told none has its trace id as execution id.
    pub execution_id: Option<Uuid>,
    /// `start_us` within, both ends included.
    pub start_us: Option<(i64, i64)>,
    /// With a chunk of events or a start mark received at or after this.
    pub active_since_us: Option<i64>,
    /// Status; `Failed` with an empty error matches any failure, else the error must be equal. `Pending` matches nothing.
    pub status: Option<ExecutionStatus>,
    /// Some event has this actor id.
    pub actor: Option<String>,
    /// Idle time after which a trace counts as ended.
    pub trace_idle_us: i64,
}

/// Which part of the matches.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// At most so many; 0 only counts.
    pub limit: usize,
    /// Skip so many (v1).
    pub offset: usize,
    /// Go on after this (start_us, trace_id) (v2, keyset).
    pub after: Option<(i64, Uuid)>,
}

/// A page of summaries.
#[derive(Clone, Debug)]
pub struct QueryPage {
    /// Newest start first.
    pub traces: Vec<TraceSummary>,
    /// How many match in all, whatever the page.
    pub total: u64,
}

/// A version under which a flow ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowVersionRow {
    /// The version.
    pub version: Version,
    /// First time it was seen (received).
    pub first_us: i64,
    /// Last time it was seen (received).
    pub last_us: i64,
}

/// Counts of one actor in one trace, over the events that retention has left.
#[derive(Clone, Debug, PartialEq)]
pub struct ActorRow {
    /// Actor id; `other` gathers those over the cardinality limit.
    pub actor: String,
    /// Events.
    pub events: u64,
    /// Failures.
    pub failures: u64,
    /// Bytes of messages.
    pub bytes: u64,
    /// Bit mask of event types.
    pub event_types: u32,
    /// Execution times where measured.
    pub time: TimeStats,
    /// What sampling left out beside these.
    pub left_out: LeftOut,
}

/// Which rollup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RollupKind {
    /// Per flow name.
    Flow,
    /// Per flow name and actor.
    Actor,
    /// Per flow name and edge.
    Edge,
}

/// A question to the rollups.
#[derive(Clone, Debug)]
pub struct RollupQuery {
    /// Tenant.
    pub tenant: String,
    /// Which table.
    pub kind: RollupKind,
    /// One flow name, or all. Chunks whose flow was not known when they came are under `_`.
    pub flow_name: Option<String>,
    /// First minute (received time), µs, rounded down.
    pub from_us: i64,
    /// End, exclusive.
    pub to_us: i64,
    /// One row a minute rather than one over all.
    pub by_minute: bool,
}

/// A rollup row, summed over writer slots.
#[derive(Clone, Debug, PartialEq)]
pub struct RollupRow {
    /// Start of the minute, or of the range.
    pub minute_us: i64,
    /// Flow name, `_` while unknown, `other` over the cardinality limit.
    pub flow_name: String,
    /// Actor (`Actor`), sending actor (`Edge`), empty (`Flow`).
    pub actor: String,
    /// Out-port (`Edge`), else empty.
    pub from_port: String,
    /// Receiving actor (`Edge`), else empty.
    pub to_actor: String,
    /// In-port (`Edge`), else empty.
    pub to_port: String,
    /// Events (flow, actor) or messages (edge).
    pub count: u64,
    /// Failures.
    pub failures: u64,
    /// Bytes of messages.
    pub bytes: u64,
    /// Execution times where measured.
    pub time: TimeStats,
    /// What sampling left out beside these.
    pub left_out: LeftOut,
}

/// Which ended traces to compact.
#[derive(Clone, Debug)]
pub struct CompactPolicy {
    /// Only traces whose last activity lies before this.
    pub idle_before_us: i64,
    /// Only traces with at least so many chunks since they were last compacted (at least 2). Traces that are not `exact` are looked
    /// through in any case.
    pub min_chunks: usize,
    /// A merged chunk's events stay under this before compression; chunks of half of it and more are left alone.
    pub max_chunk_bytes: usize,
    /// At most so many traces a call.
    pub max_traces: usize,
    /// Idle time after which a trace counts as ended.
    pub trace_idle_us: i64,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactOutcome {
    /// Traces compacted.
    pub traces: usize,
    /// Chunks removed.
    pub chunks_removed: usize,
    /// Chunks written.
    pub chunks_written: usize,
    /// Events that were in twice.
    pub duplicate_events: u64,
    /// Traces whose chunks could not be read; they stay as they are.
    pub failed: usize,
    /// There is more to do.
    pub more: bool,
}

/// What may stay.
#[derive(Clone, Debug)]
pub struct RetentionPolicy {
    /// Chunks whose day (of insertion) ended longer ago than this go, whole days; rollups and flow versions of that age too.
    pub max_age_us: Option<i64>,
    /// Above so many payload bytes the oldest hours go, never the open one.
    pub max_bytes: Option<u64>,
    /// Chunk ids older than this are forgotten, whole days: beyond it a chunk that comes again counts again.
    pub dedupe_horizon_us: i64,
}

/// What a retention run removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionOutcome {
    /// Chunks removed.
    pub chunks: u64,
    /// Summaries removed (no event left).
    pub traces: u64,
    /// `seen` entries removed.
    pub seen: u64,
    /// Payload bytes removed.
    pub bytes: u64,
}

/// The size of the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreStats {
    /// Rows by table name.
    pub rows: Vec<(&'static str, u64)>,
    /// Bytes of everything, tables and indexes.
    pub bytes: u64,
    /// Traces.
    pub traces: u64,
    /// Events counted over all summaries.
    pub events: u64,
    /// Received time of the newest chunk.
    pub newest_received_us: Option<i64>,
}

//! Chunks to commit.

use bytes::Bytes;
use reflow_tracing_chunk::{
    ActorStats, Chunk, ChunkBuilder, ClientMark, EdgeStats, EndMark, EndStatus, ErrorMark, EventKind, Header, KindSet,
    Origin, TimeStats, Version,
};
use reflow_tracing_protocol::codec::Codec;
use reflow_tracing_store::{CompactPolicy, Page, RetentionPolicy, Store, TraceFilter, TraceSummary};
use serde_json::json;
use uuid::Uuid;

pub const TENANT: &str = "default";
pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;
/// Start of a day.
pub const T0: i64 = 20_000 * DAY;
/// Idle time in all tests.
pub const IDLE_US: i64 = 15 * MINUTE;

pub fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// A header with `events` events of one actor, received at `received_us`, and a payload that says nothing.
pub fn chunk(trace: u128, chunk: u128, received_us: i64, events: u32) -> Chunk {
    let header = Header {
        version: 1,
        chunk_id: id(chunk).as_bytes().to_vec(),
        trace_id: id(trace).as_bytes().to_vec(),
        tenant: TENANT.to_owned(),
        received_us,
        first_event_us: (events > 0).then_some(received_us - 5),
        last_event_us: (events > 0).then_some(received_us - 1),
        event_count: events,
        event_types: if events > 0 { KindSet::from_iter([EventKind::MessageSent]).0 } else { 0 },
        actors: if events > 0 { vec![actor("source", u64::from(events))] } else { Vec::new() },
        raw_size: 100 * events,
        origin: Origin::V2Batch.into(),
        ..Header::default()
    };
    let payload = if events > 0 { Bytes::from(vec![b'x'; 10 * events as usize]) } else { Bytes::new() };
    Chunk { header, payload }
}

pub fn actor(name: &str, events: u64) -> ActorStats {
    let mut time = TimeStats::default();
    time.add(1000 * events);
    ActorStats {
        actor: name.to_owned(),
        events,
        failures: 0,
        bytes: 10 * events,
        time: Some(time),
        event_types: 16,
        left_out: None,
    }
}

pub fn edge(from: &str, to: &str, count: u64) -> EdgeStats {
    EdgeStats {
        from_actor: from.to_owned(),
        from_port: "out".to_owned(),
        to_actor: to.to_owned(),
        to_port: "in".to_owned(),
        count,
        bytes: 24 * count,
        time: None,
        left_out: None,
    }
}

/// Changes a chunk's header in passing.
pub trait With: Sized {
    fn with(self, change: impl FnOnce(&mut Header)) -> Self;

    fn flow(self, flow_id: &str, flow_name: &str) -> Self {
        self.with(|header| {
            header.flow_id = Some(flow_id.to_owned());
            header.flow_name = Some(flow_name.to_owned());
        })
    }

    fn started(self, at_us: i64) -> Self {
        self.with(|header| header.started_us = Some(at_us))
    }

    fn closed(self, at_us: i64) -> Self {
        self.with(|header| header.closed_us = Some(at_us))
    }

    fn ended(self, at_us: i64, status: EndStatus, error: &str) -> Self {
        self.with(|header| header.ended = Some(EndMark { at_us, status: status.into(), error: error.to_owned() }))
    }

    fn failed(self, at_us: i64, message: &str) -> Self {
        self.with(|header| {
            header.failures += 1;
            header.first_error = Some(ErrorMark { at_us, message: message.to_owned() });
        })
    }

    fn sent_as(self, ids: &[u128]) -> Self {
        self.with(|header| header.sent_ids = ids.iter().flat_map(|number| *id(*number).as_bytes()).collect())
    }

    fn client(self, client_id: &str, sequence: u64, dropped: u64, rejected: u32) -> Self {
        self.with(|header| {
            header.client = Some(ClientMark { client_id: client_id.to_owned(), sequence, dropped, rejected });
        })
    }

    fn versioned(self, major: u32, git_hash: Option<&str>) -> Self {
        self.with(|header| {
            let git_hash = git_hash.map(str::to_owned);
            header.flow_version =
                Some(Version { major, minor: 2, patch: 3, git_hash, timestamp_us: header.received_us });
        })
    }

    fn actors(self, actors: Vec<ActorStats>) -> Self {
        self.with(|header| header.actors = actors)
    }
}

impl With for Chunk {
    fn with(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.header);
        self
    }
}

/// A chunk with a real payload: one `ActorStarted` (or `ActorFailed`) a number, which is its event id and its second after `T0`.
pub fn real_chunk(trace: u128, chunk: u128, received_us: i64, origin: Origin, events: &[(u128, bool)]) -> Chunk {
    let mut builder = ChunkBuilder::new(id(chunk), id(trace), TENANT, received_us, origin);
    for (number, failed) in events {
        let at = chrono::DateTime::from_timestamp_micros(T0 + *number as i64 * SECOND).expect("in range");
        let event = json!({
            "event_id": id(*number),
            "timestamp": at.to_rfc3339(),
            "event_type": if *failed { "ActorFailed" } else { "ActorStarted" },
            "actor_id": format!("actor-{}", number % 3),
            "data": {
                "port": null, "message": null, "state_diff": null,
                "error": if *failed { json!(format!("error {number}")) } else { json!(null) },
                "performance_metrics": {
                    "execution_time_ns": 5, "memory_usage_bytes": 0, "cpu_usage_percent": 0.0, "queue_depth": 0,
                    "throughput_msgs_per_sec": 0.0,
                },
                "custom_attributes": {},
            },
            "causality": {
                "parent_event_id": null, "root_cause_event_id": id(*number), "dependency_chain": [], "span_id": "s",
            },
        });
        builder.push_event(&event.to_string()).expect("a valid event");
    }
    builder.build(Codec::Zstd, 1).expect("a chunk")
}

pub fn filter() -> TraceFilter {
    TraceFilter { tenant: TENANT.to_owned(), trace_idle_us: IDLE_US, ..TraceFilter::default() }
}

pub fn first(limit: usize) -> Page {
    Page { limit, ..Page::default() }
}

pub fn compact_policy(now_us: i64) -> CompactPolicy {
    CompactPolicy {
        idle_before_us: now_us - MINUTE,
        min_chunks: 2,
        max_chunk_bytes: 1 << 20,
        max_traces: 1_000,
        trace_idle_us: IDLE_US,
    }
}

pub fn keep(max_age_us: Option<i64>, max_bytes: Option<u64>) -> RetentionPolicy {
    RetentionPolicy { max_age_us, max_bytes, dedupe_horizon_us: 7 * DAY }
}

/// The summary of a trace that must exist.
pub async fn summary(store: &dyn Store, trace: u128, now_us: i64) -> TraceSummary {
    find(store, trace, now_us).await.expect("the trace exists")
}

pub async fn find(store: &dyn Store, trace: u128, now_us: i64) -> Option<TraceSummary> {
    store.find_trace(TENANT, id(trace), now_us).await.expect("answers")
}

/// Commits what must be accepted.
pub async fn commit(store: &dyn Store, chunks: &[Chunk], now_us: i64) -> reflow_tracing_store::CommitOutcome {
    store.commit(chunks, now_us).await.expect("commits")
}

/// All chunks of a trace, page by page.
pub async fn all_chunks(store: &dyn Store, trace: u128, max_bytes: usize) -> Vec<reflow_tracing_store::StoredChunk> {
    let mut chunks = Vec::new();
    let mut after = None;
    loop {
        let mut page = store.trace_chunks(TENANT, id(trace), after, max_bytes).await.expect("answers");
        chunks.append(&mut page.chunks);
        after = page.next;
        if after.is_none() {
            return chunks;
        }
    }
}

/// Rows of a table, by [`reflow_tracing_store::StoreStats`]; 0 where the backend has no such table.
pub async fn rows(store: &dyn Store, table: &str) -> u64 {
    let stats = store.stats().await.expect("answers");
    stats.rows.iter().find(|(name, _)| *name == table).map_or(0, |(_, rows)| *rows)
}

//! A store that a test can change between two pages.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use reflow_tracing_chunk::{Chunk, ChunkBuilder, Origin, Version};
use reflow_tracing_protocol::{ExecutionStatus, TraceEvent, codec::Codec};
use reflow_tracing_store::*;
use uuid::Uuid;

pub const NOW_US: i64 = 1_800_000_000_000_000;

/// What a test may do before a page of chunks is read.
type BeforePage = Box<dyn Fn(&mut State, usize) + Send>;

#[derive(Default)]
pub struct State {
    pub traces: Vec<TraceSummary>,
    pub chunks: Vec<Chunk>,
    pub pages: usize,
}

#[derive(Default)]
pub struct FakeReader {
    pub state: Mutex<State>,
    pub before_page: Mutex<Option<BeforePage>>,
    pub chunks_a_page: usize,
    pub fail: Option<StoreErrorKind>,
}

impl FakeReader {
    pub fn with(traces: Vec<TraceSummary>, chunks: Vec<Chunk>) -> Self {
        Self { state: Mutex::new(State { traces, chunks, pages: 0 }), chunks_a_page: 1_000, ..Self::default() }
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.fail {
            Some(kind) => Err(StoreError::new(kind, "read", "password=hunter2")),
            None => Ok(()),
        }
    }
}

pub fn summary(trace_id: Uuid, start_us: i64, chunks: &[Chunk]) -> TraceSummary {
    let events = chunks.iter().map(|chunk| u64::from(chunk.header.event_count)).sum();
    TraceSummary {
        trace_id,
        tenant: "default".into(),
        flow_id: Some("orders_123456789".into()),
        flow_name: Some("orders".into()),
        execution_id: None,
        version: None,
        metadata_json: None,
        start_us,
        end_us: Some(start_us + 5),
        event_count: events,
        stored_events: events,
        left_out: 0,
        event_types: 1,
        failures: 0,
        first_error: None,
        ended: None,
        closed_us: None,
        first_received_us: start_us,
        last_received_us: start_us,
        exact: false,
        clients: Vec::new(),
        status: TraceStatus { status: ExecutionStatus::Running, inferred: false },
    }
}

pub fn event(actor: &str) -> TraceEvent {
    TraceEvent::message_sent(actor.to_owned(), "out".into(), "T".into(), 7)
}

pub fn at(mut event: TraceEvent, us: i64) -> TraceEvent {
    event.timestamp = chrono::DateTime::from_timestamp_micros(us).unwrap();
    event
}

pub fn chunk(trace_id: Uuid, events: &[String]) -> Chunk {
    let mut builder = ChunkBuilder::new(Uuid::now_v7(), trace_id, "default", NOW_US, Origin::V1Session);
    for event in events {
        builder.push_event(event).unwrap();
    }
    builder.build(Codec::Zstd, 1).unwrap()
}

pub fn json(event: &TraceEvent) -> String {
    serde_json::to_string(event).unwrap()
}

#[async_trait]
impl StoreReader for FakeReader {
    async fn find_trace(&self, tenant: &str, id: Uuid, _: i64) -> Result<Option<TraceSummary>, StoreError> {
        self.check()?;
        let state = self.state.lock().unwrap();
        Ok(state.traces.iter().find(|trace| trace.trace_id == id && trace.tenant == tenant).cloned())
    }

    async fn trace_chunks(
        &self,
        _: &str,
        id: Uuid,
        after: Option<ChunkCursor>,
        _: usize,
    ) -> Result<ChunkPage, StoreError> {
        self.check()?;
        let mut state = self.state.lock().unwrap();
        let page = state.pages;
        state.pages += 1;
        if let Some(change) = &*self.before_page.lock().unwrap() {
            change(&mut state, page);
        }
        let place =
            |chunk: &Chunk| ChunkCursor(chunk.header.first_event_us.unwrap_or_default(), chunk.header.chunk_uuid());
        let mut found: Vec<&Chunk> = state
            .chunks
            .iter()
            .filter(|chunk| chunk.header.trace_uuid() == id && after.is_none_or(|after| place(chunk) > after))
            .collect();
        found.sort_by_key(|chunk| place(chunk));
        let next = found.get(self.chunks_a_page - 1).filter(|_| found.len() > self.chunks_a_page).map(|c| place(c));
        found.truncate(self.chunks_a_page);
        let stored = |chunk: &Chunk| StoredChunk { header: chunk.header.clone(), payload: chunk.payload.clone() };
        Ok(ChunkPage { chunks: found.into_iter().map(stored).collect(), next })
    }

    async fn query(&self, filter: &TraceFilter, page: &Page, _: i64) -> Result<QueryPage, StoreError> {
        self.check()?;
        let state = self.state.lock().unwrap();
        let mut all: Vec<_> = state
            .traces
            .iter()
            .filter(|trace| filter.active_since_us.is_none_or(|since_us| trace.last_received_us >= since_us))
            .filter(|trace| filter.flow.is_none() || filter.flow == trace.flow_id || filter.flow == trace.flow_name)
            .cloned()
            .collect();
        all.sort_by_key(|trace| std::cmp::Reverse((trace.start_us, trace.trace_id)));
        let total = all.len() as u64;
        let after = |trace: &TraceSummary| page.after.is_none_or(|after| (trace.start_us, trace.trace_id) < after);
        let traces = all.into_iter().filter(after).skip(page.offset).take(page.limit).collect();
        Ok(QueryPage { traces, total })
    }

    async fn flow_versions(&self, _: &str, flow: &str) -> Result<Vec<FlowVersionRow>, StoreError> {
        self.check()?;
        let version = |minor| Version { major: 1, minor, timestamp_us: NOW_US, ..Version::default() };
        let row = |minor| FlowVersionRow { version: version(minor), first_us: 0, last_us: 0 };
        Ok(if flow == "orders" { vec![row(2), row(1)] } else { Vec::new() })
    }

    async fn heads(&self, _: &str, ids: &[Uuid], _: i64) -> Result<Vec<TraceHead>, StoreError> {
        self.check()?;
        let state = self.state.lock().unwrap();
        let known = state.traces.iter().filter(|trace| ids.contains(&trace.trace_id));
        Ok(known.cloned().map(TraceHead::from).collect())
    }

    async fn trace_actors(&self, _: &str, _: Uuid) -> Result<Vec<ActorRow>, StoreError> {
        Ok(Vec::new())
    }

    async fn rollups(&self, _: &RollupQuery) -> Result<Vec<RollupRow>, StoreError> {
        Ok(Vec::new())
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        Ok(StoreStats::default())
    }
}

/// Asks, and gives the answer as it came.
pub async fn pieces(reader: &Arc<FakeReader>, question: &reflow_tracing_session::Question) -> Vec<bytes::Bytes> {
    use futures_util::TryStreamExt;
    use reflow_tracing_bus::HistoryHandler;
    let metrics = reflow_tracing_service::Metrics::try_new("test").unwrap();
    let options = crate::HistoryOptions { trace_idle: std::time::Duration::from_secs(900), clock: || NOW_US };
    let metrics = crate::QueryMetrics::register(&metrics).unwrap();
    let service = crate::HistoryService::new(reader.clone(), options, metrics);
    let answer = service.answer(serde_json::to_vec(question).unwrap().into()).await.unwrap();
    answer.try_collect().await.unwrap()
}

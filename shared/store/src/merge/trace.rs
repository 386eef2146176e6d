//! The summary row of a trace, as a merge: minima, maxima, sums and ors only.
//!
//! Guarantee: `merge` is associative and commutative, and so is its SQL twin in `sql::merge_set`; the behavioural suite holds the two
//! against each other.

use prost::Message;
use reflow_tracing_chunk::{Header, LeftOut, Origin};
use reflow_tracing_protocol::ExecutionStatus;
use uuid::Uuid;

use super::marks::{self, greatest, least};
use super::names::key_text;
use crate::{ClientRow, TraceStatus, TraceSummary, status_of};

/// Which flow a chunk said the trace belongs to. The least wins: earliest start, then least id, then least name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FlowMark {
    /// Time of the start mark that came with it; `i64::MAX` when none did.
    pub rank_us: i64,
    pub id: String,
    pub name: String,
}

/// What a chunk, a batch of chunks or a stored row says of a trace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TraceRow {
    pub trace_id: Uuid,
    pub tenant: String,
    pub flow: Option<FlowMark>,
    /// Least of those told.
    pub execution_id: Option<Uuid>,
    /// [`marks::ranked`]; the least wins.
    pub version: Option<Vec<u8>>,
    /// [`marks::ranked`]; the least wins.
    pub metadata: Option<Vec<u8>>,
    pub first_event_us: Option<i64>,
    pub last_event_us: Option<i64>,
    pub first_received_us: i64,
    /// Received time of the last chunk with events or a start mark.
    pub last_active_us: Option<i64>,
    pub event_count: u64,
    pub stored_events: u64,
    /// What sampling left out beside `event_count`, in thousandths of events.
    pub left_out_milli: u64,
    pub event_types: u32,
    pub failures: u64,
    /// [`marks::error_key`]; the least wins.
    pub first_error: Option<Vec<u8>>,
    /// [`marks::end_key`]; the greatest wins.
    pub ended: Option<Vec<u8>>,
    pub closed_us: Option<i64>,
    /// No chunk in it may hold an event twice that was not counted out.
    pub exact: bool,
    /// Chunks that compaction has not been over.
    pub loose_chunks: u64,
}

impl TraceRow {
    /// What one chunk says.
    pub fn of(header: &Header) -> Self {
        let rank_us = header.started_us.unwrap_or(i64::MAX);
        let has_events = header.event_count > 0;
        let flow_id = header.flow_id.as_deref().or(header.flow_name.as_deref());
        let flow = flow_id.map(|id| FlowMark {
            rank_us,
            id: key_text(id).into_owned(),
            name: key_text(header.flow_name.as_deref().unwrap_or(id)).into_owned(),
        });
        let events = u64::from(header.event_count);
        Self {
            trace_id: header.trace_uuid(),
            tenant: key_text(&header.tenant).into_owned(),
            flow,
            execution_id: header.execution_uuid(),
            version: header.flow_version.as_ref().map(|version| marks::ranked(rank_us, &version.encode_to_vec())),
            metadata: header.metadata_json.as_ref().map(|json| marks::ranked(rank_us, json.as_bytes())),
            first_event_us: header.first_event_us,
            last_event_us: header.last_event_us,
            first_received_us: header.received_us,
            last_active_us: (has_events || header.started_us.is_some()).then_some(header.received_us),
            event_count: events,
            stored_events: events,
            left_out_milli: header.left_out().events_milli,
            event_types: header.event_types,
            failures: u64::from(header.failures),
            first_error: header.first_error.as_ref().map(marks::error_key),
            ended: header.ended.as_ref().map(marks::end_key),
            closed_us: header.closed_us,
            exact: !has_events || header.origin() != Origin::V1Session,
            loose_chunks: 1,
        }
    }

    /// Takes in what another chunk of the same trace says.
    pub fn merge(&mut self, other: Self) {
        least(&mut self.flow, other.flow);
        least(&mut self.execution_id, other.execution_id);
        least(&mut self.version, other.version);
        least(&mut self.metadata, other.metadata);
        least(&mut self.first_event_us, other.first_event_us);
        greatest(&mut self.last_event_us, other.last_event_us);
        self.first_received_us = self.first_received_us.min(other.first_received_us);
        greatest(&mut self.last_active_us, other.last_active_us);
        self.event_count += other.event_count;
        self.stored_events += other.stored_events;
        self.left_out_milli = self.left_out_milli.saturating_add(other.left_out_milli);
        self.event_types |= other.event_types;
        self.failures += other.failures;
        least(&mut self.first_error, other.first_error);
        greatest(&mut self.ended, other.ended);
        greatest(&mut self.closed_us, other.closed_us);
        self.exact &= other.exact;
        self.loose_chunks += other.loose_chunks;
    }

    pub fn start_us(&self) -> i64 {
        self.first_event_us.unwrap_or(self.first_received_us)
    }

    /// Received time by which status judges: a trace of nothing but a close mark was last heard of when it was first heard of.
    pub fn last_received_us(&self) -> i64 {
        self.last_active_us.unwrap_or(self.first_received_us)
    }

    /// The row as a reader sees it.
    pub fn summary(self, clients: Vec<ClientRow>, now_us: i64, trace_idle_us: i64) -> TraceSummary {
        let (start_us, last_received_us) = (self.start_us(), self.last_received_us());
        let (flow_id, flow_name) = self.flow.map(|flow| (flow.id, flow.name)).unzip();
        let mut summary = TraceSummary {
            trace_id: self.trace_id,
            tenant: self.tenant,
            flow_id,
            flow_name,
            execution_id: self.execution_id,
            version: self.version.as_deref().and_then(marks::read_ranked_version),
            metadata_json: self.metadata.as_deref().and_then(marks::read_ranked_text),
            start_us,
            end_us: self.last_event_us,
            event_count: self.event_count,
            stored_events: self.stored_events,
            left_out: LeftOut { events_milli: self.left_out_milli, ..LeftOut::default() }.events(),
            event_types: self.event_types,
            failures: self.failures,
            first_error: self.first_error.as_deref().and_then(marks::read_error),
            ended: self.ended.as_deref().and_then(marks::read_end),
            closed_us: self.closed_us,
            first_received_us: self.first_received_us,
            last_received_us,
            exact: self.exact,
            clients,
            status: TraceStatus { status: ExecutionStatus::Running, inferred: false },
        };
        summary.status = status_of(&summary, now_us, trace_idle_us);
        summary
    }
}

//! Requests and responses of protocol v1, both generations, as published.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ExecutionId, ExecutionStatus, FlowId, FlowTrace, FlowVersion, TraceEvent, TraceEventType, TraceId};

/// A request, newer generation of v1.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "published so: boxing a field would change the type")]
pub enum TracingRequest {
    /// Begin a trace.
    StartTrace {
        /// The flow.
        flow_id: FlowId,
        /// Its version.
        version: FlowVersion,
    },
    /// Record an event.
    RecordEvent {
        /// The trace it belongs to.
        trace_id: TraceId,
        /// The event.
        event: TraceEvent,
    },
    /// Get a trace with its events.
    GetTrace {
        /// The trace.
        trace_id: TraceId,
    },
    /// Find traces.
    QueryTraces {
        /// Which.
        query: TraceQuery,
    },
    /// Get the versions under which a flow ran.
    GetFlowVersions {
        /// The flow.
        flow_id: FlowId,
    },
    /// Are you there?
    Ping,
    /// Send events as they happen.
    Subscribe {
        /// Which.
        filters: SubscriptionFilters,
    },
    /// Send them no more.
    Unsubscribe,
}

/// A response, newer generation of v1.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum TracingResponse {
    /// To `StartTrace`.
    TraceStarted {
        /// The trace.
        trace_id: TraceId,
    },
    /// To `RecordEvent`, `Subscribe` and `Unsubscribe`.
    EventRecorded {
        /// Whether it was.
        success: bool,
        /// Why not.
        error: Option<String>,
    },
    /// To `GetTrace`.
    TraceData {
        /// The trace, if there is one.
        trace: Option<FlowTrace>,
    },
    /// To `QueryTraces`.
    QueryResults {
        /// A page of traces.
        traces: Vec<FlowTrace>,
        /// How many match in all.
        total_count: usize,
    },
    /// To `GetFlowVersions`.
    FlowVersions {
        /// The versions, newest first.
        versions: Vec<FlowVersion>,
    },
    /// To `Ping`.
    Pong,
    /// An event, to a subscriber.
    EventNotification {
        /// The trace it belongs to.
        trace_id: TraceId,
        /// The event.
        event: TraceEvent,
    },
    /// A refusal.
    Error {
        /// What was wrong and what to do.
        message: String,
        /// Its kind.
        code: ErrorCode,
    },
}

/// Kind of a refusal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ErrorCode {
    /// There is no such thing.
    NotFound,
    /// The request is wrong.
    InvalidRequest,
    /// The store failed.
    StorageError,
    /// The frame cannot be read.
    SerializationError,
    /// Not allowed.
    Unauthorized,
    /// The server failed.
    InternalError,
}

/// Which events a subscriber wants. Every field narrows; `None` does not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SubscriptionFilters {
    /// Of these flows.
    pub flow_ids: Option<Vec<FlowId>>,
    /// Of these actors.
    pub actor_ids: Option<Vec<String>>,
    /// Of these types; `"*"` as `to_actor` or `to_port` of `DataFlow` matches any.
    pub event_types: Option<Vec<TraceEventType>>,
    /// Of traces with one of these statuses.
    pub status_filter: Option<Vec<ExecutionStatus>>,
}

/// Which traces. Every field narrows; `None` does not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TraceQuery {
    /// Of this flow.
    pub flow_id: Option<FlowId>,
    /// Of this execution.
    pub execution_id: Option<ExecutionId>,
    /// Started within, both ends included.
    pub time_range: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// With this status; `Failed` with an empty error matches any failure.
    pub status: Option<ExecutionStatus>,
    /// With an event of this actor.
    pub actor_filter: Option<String>,
    /// At most so many; 100 when absent; 0 only counts.
    pub limit: Option<usize>,
    /// Skip so many.
    pub offset: Option<usize>,
}

/// A request, older generation of v1.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum TraceMessage {
    /// Store a whole trace.
    StoreTrace {
        /// The trace.
        trace: FlowTrace,
    },
    /// Find traces.
    QueryTraces {
        /// Which.
        query: TraceQuery,
    },
    /// Get a trace with its events.
    GetTrace {
        /// The trace.
        trace_id: TraceId,
    },
    /// Send events as they happen.
    Subscribe {
        /// Which.
        filter: SubscriptionFilters,
    },
    /// Get the server's figures.
    GetMetrics,
}

/// A response, older generation of v1.
#[derive(Debug, Clone, Serialize, Deserialize)]
// Only where pointers have 64 bits.
#[cfg_attr(
    not(target_arch = "wasm32"),
    expect(clippy::large_enum_variant, reason = "published so: boxing a field would change the type")
)]
pub enum TraceResponse {
    /// To `StoreTrace`.
    TraceStored {
        /// The trace.
        trace_id: TraceId,
    },
    /// To `QueryTraces`.
    TracesFound {
        /// A page of traces.
        traces: Vec<FlowTrace>,
    },
    /// To `GetTrace`.
    TraceData {
        /// The trace.
        trace: FlowTrace,
    },
    /// A refusal.
    Error {
        /// What was wrong and what to do.
        message: String,
    },
    /// To `GetMetrics`.
    Metrics {
        /// The figures.
        data: serde_json::Value,
    },
}

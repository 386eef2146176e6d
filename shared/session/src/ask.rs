//! What a session asks of history, in one process or over the bus.

use reflow_tracing_protocol::TraceQuery;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// In whose words the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dialect {
    /// `TracingResponse` of 0.2.1.
    V1,
    /// `TraceResponse` of 0.2.1, the older generation.
    V1Older,
    /// v2.
    V2,
}

/// A question to history. The answer to everything but [`Ask::Statuses`], [`Ask::Flows`] and [`Ask::Chunks`] is one whole response frame, JSON in the
/// dialect, in pieces: refusals included. An error of the stream means that there is no answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    /// Tenant.
    pub tenant: String,
    /// In whose words to answer.
    pub dialect: Dialect,
    /// Echoed in the answer where given.
    pub request_id: Option<Box<RawValue>>,
    /// Answers above this are refused with an error that says how to narrow the question, bytes.
    pub max_answer_bytes: usize,
    /// Where in which trace of the services' own it was asked ([`reflow_tracing_service::spans`]), if that is exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What.
    pub ask: Ask,
}

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// A trace with its events, by its id or an id under which its events were sent. v1: `TraceData`.
    GetTrace {
        /// The id.
        trace_id: Uuid,
    },
    /// Traces, newest start first. v1: whole traces with their events (as the published server answers); v2: summaries, and `next`
    /// to go on with.
    QueryTraces {
        /// Which.
        query: TraceQuery,
        /// v2: `next` of the page before.
        after: Option<String>,
    },
    /// Versions of a flow. `FlowVersions`.
    GetFlowVersions {
        /// Flow id or flow name.
        flow_id: String,
    },
    /// Statuses of traces, for live filters: a JSON array of `[trace_id, ExecutionStatus]`; unknown traces are left out.
    Statuses {
        /// Which.
        trace_ids: Vec<Uuid>,
    },
    /// Flows of traces, for live filters: a JSON array of `[trace_id, flow_id, flow_name]`; traces that are unknown or have none are left
    /// out.
    Flows {
        /// Which.
        trace_ids: Vec<Uuid>,
    },
    /// Chunks received at or after a time, for `since`: encoded chunks, each after its length (u32, little endian), by received time. A length of 0
    /// stands where something may be missing.
    Chunks {
        /// From, µs since the epoch.
        since_us: i64,
    },
}

impl Ask {
    /// What it is counted under, in metrics and spans.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::GetTrace { .. } => "get_trace",
            Self::QueryTraces { .. } => "query_traces",
            Self::GetFlowVersions { .. } => "get_flow_versions",
            Self::Statuses { .. } => "statuses",
            Self::Flows { .. } => "flows",
            Self::Chunks { .. } => "chunks",
        }
    }
}

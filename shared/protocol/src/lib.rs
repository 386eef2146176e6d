//! The wire protocol of Reflow Tracing.
//!
//! The types at the root are those of the published crate 0.2.1, field for field: none of them is `non_exhaustive`, so a new
//! field or variant would break the programs that build them. They define protocol v1: JSON text frames, one externally
//! tagged [`TracingRequest`] (or the older [`TraceMessage`]) a frame. Everything newer is in [`wire`], whose types read v1
//! JSON as well; [`codec`] has the compression both use.

#[cfg(feature = "client")]
pub mod client;
pub mod codec;
mod event;
mod ids;
mod messages;
mod span;
mod trace;
pub mod wire;

pub use event::{
    CausalityInfo, MessageSnapshot, PerformanceMetrics, StateDiff, StateDiffType, TraceEvent, TraceEventData,
    TraceEventType,
};
pub use ids::{EventId, ExecutionId, FlowId, TraceId};
pub use messages::{
    ErrorCode, SubscriptionFilters, TraceMessage, TraceQuery, TraceResponse, TracingRequest, TracingResponse,
};
pub use trace::{ExecutionStatus, FlowTrace, FlowVersion, TraceMetadata};

/// The WebSocket sub-protocol that chooses v2.
pub const SUBPROTOCOL_V2: &str = "reflow-tracing.v2";

/// The header of a handshake's answer that announces the limits, as JSON of [`wire::Limits`].
pub const LIMITS_HEADER: &str = "reflow-tracing-limits";

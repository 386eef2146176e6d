//! A trace as a whole, as published.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ExecutionId, FlowId, TraceEvent, TraceId};

/// Version of a flow.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FlowVersion {
    /// Semantic version, major.
    pub major: u32,
    /// Semantic version, minor.
    pub minor: u32,
    /// Semantic version, patch.
    pub patch: u32,
    /// Commit of the program.
    pub git_hash: Option<String>,
    /// When the version was made; the published client sends the time of the call.
    pub timestamp: DateTime<Utc>,
}

/// One execution of a flow with its events.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FlowTrace {
    /// The trace.
    pub trace_id: TraceId,
    /// What the program called itself.
    pub flow_id: FlowId,
    /// The execution; the trace id where the program told none.
    pub execution_id: ExecutionId,
    /// Version of the flow; 0.0.0 where the program told none.
    pub version: FlowVersion,
    /// Least event time.
    pub start_time: DateTime<Utc>,
    /// Greatest event time, once the trace has ended.
    pub end_time: Option<DateTime<Utc>>,
    /// How it went.
    pub status: ExecutionStatus,
    /// Its events, by time.
    pub events: Vec<TraceEvent>,
    /// Where it ran; empty strings where the program told nothing.
    pub metadata: TraceMetadata,
}

/// Status of an execution.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq, Hash)]
pub enum ExecutionStatus {
    /// Not started.
    Pending,
    /// Under way.
    Running,
    /// Ended well.
    Completed,
    /// Ended with an error.
    Failed {
        /// The first error.
        error: String,
    },
    /// Ended by somebody.
    Cancelled,
}

/// Where a trace ran.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TraceMetadata {
    /// User.
    pub user_id: Option<String>,
    /// Session.
    pub session_id: Option<String>,
    /// Environment, such as `production`.
    pub environment: String,
    /// Host.
    pub hostname: String,
    /// Process.
    pub process_id: u32,
    /// Thread.
    pub thread_id: String,
    /// Anything else.
    pub tags: HashMap<String, String>,
}

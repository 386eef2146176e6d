//! Traces and events as servers tell them, of any protocol version, into the published types.
//!
//! What was not measured is null in v2 and can only be 0 in the published types; what is not known is what v1 says then: the trace
//! id, 0.0.0, empty strings. [`TraceSummary`] keeps the difference.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Result, TracingError};
use crate::{ExecutionId, ExecutionStatus, FlowId, FlowTrace, FlowVersion, TraceEvent, TraceId, TraceMetadata};

/// A trace without its events, and what the server counted of it. `None` is "not known", never zero.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TraceSummary {
    /// The trace.
    pub trace_id: TraceId,
    /// What the program called itself.
    pub flow_id: Option<FlowId>,
    /// The name it is grouped by.
    pub flow_name: Option<String>,
    /// The execution.
    pub execution_id: Option<ExecutionId>,
    /// Version of the flow.
    pub version: Option<FlowVersion>,
    /// Least event time.
    pub start_time: DateTime<Utc>,
    /// Greatest event time, once ended.
    pub end_time: Option<DateTime<Utc>>,
    /// How it went.
    pub status: ExecutionStatus,
    /// Where it ran.
    pub metadata: Option<TraceMetadata>,
    /// What the server counted; `None` from a v1 server.
    #[serde(rename = "summary")]
    pub counted: Option<TraceCounts>,
}

/// What the server counted of a trace.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TraceCounts {
    /// Nobody ended the trace; it is merely idle.
    pub status_inferred: bool,
    /// Events counted.
    pub event_count: u64,
    /// Events that are still there.
    pub stored_events: u64,
    /// Events that happened: those counted, and an estimate of those that sampling left out beside them. `None` from servers that do not
    /// tell.
    #[serde(default)]
    pub estimated_events: Option<u64>,
    /// Whether events that were sent twice are known not to be counted twice.
    pub exact: bool,
    /// `ActorFailed` events.
    pub failures: u64,
    /// Types of its events.
    pub event_types: Vec<String>,
    /// When the server received the first.
    pub first_received: DateTime<Utc>,
    /// When the server received the last.
    pub last_received: DateTime<Utc>,
    /// What each v2 client recorded, and what became of it.
    pub clients: Vec<ClientAccount>,
}

/// What one client recorded of a trace, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClientAccount {
    /// The client.
    pub client_id: String,
    /// Events it recorded.
    pub recorded: u64,
    /// Of these, stored.
    pub present: u64,
    /// Not stored: the sum of the next three.
    pub missing: u64,
    /// Dropped by the client, whose buffer was full.
    pub dropped: u64,
    /// Refused by the server, one by one.
    pub rejected: u64,
    /// Under way, or lost with the client.
    pub not_arrived: u64,
}

/// A page of traces.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TracePage {
    /// Newest start first.
    pub traces: Vec<TraceSummary>,
    /// How many match in all.
    pub total: u64,
    /// Pass it to go on after this page; `None` on the last, and from v1 servers (use `offset` there).
    pub next: Option<String>,
}

/// A trace with its events and what the server counted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TraceDetails {
    /// Its head.
    pub summary: TraceSummary,
    /// Its events, by time. Figures that were not measured are 0 here.
    pub events: Vec<TraceEvent>,
}

#[derive(Deserialize)]
struct Events<'a> {
    #[serde(borrow)]
    events: Option<Vec<&'a RawValue>>,
}

/// The head of a trace.
pub(crate) fn summary_of(raw: &str) -> Result<TraceSummary> {
    let mut summary: TraceSummary = serde_json::from_str(raw)?;
    // v1 has no other way to say that it does not know.
    if summary.flow_id.as_ref().is_some_and(|flow| flow.0.is_empty()) {
        summary.flow_id = None;
    }
    Ok(summary)
}

/// A trace with its events; `None` if the text has none, as the summaries of v2.
pub(crate) fn details_of(raw: &str) -> Result<Option<TraceDetails>> {
    let Events { events: Some(events) } = serde_json::from_str(raw)? else { return Ok(None) };
    let events = events.into_iter().map(|event| event_of(event.get())).collect::<Result<_>>()?;
    Ok(Some(TraceDetails { summary: summary_of(raw)?, events }))
}

/// An event; figures that are null or missing are 0.
pub(crate) fn event_of(raw: &str) -> Result<TraceEvent> {
    if let Ok(event) = serde_json::from_str(raw) {
        return Ok(event);
    }
    let mut event: Value = serde_json::from_str(raw)?;
    let zeros =
        ["execution_time_ns", "memory_usage_bytes", "cpu_usage_percent", "queue_depth", "throughput_msgs_per_sec"];
    if let Some(data) = event.get_mut("data") {
        if data["performance_metrics"].is_null() {
            data["performance_metrics"] = Value::Object(serde_json::Map::new());
        }
        for name in zeros {
            let figure = &mut data["performance_metrics"][name];
            if figure.is_null() {
                *figure = Value::from(0);
            }
        }
        if let Some(message) = data.get_mut("message")
            && message.is_object()
            && message["size_bytes"].is_null()
        {
            message["size_bytes"] = Value::from(0);
        }
    }
    serde_json::from_value(event).map_err(TracingError::from)
}

impl From<TraceDetails> for FlowTrace {
    /// What is not known is what v1 says then.
    fn from(details: TraceDetails) -> Self {
        let TraceDetails { summary, events } = details;
        let unknown = || FlowVersion { major: 0, minor: 0, patch: 0, git_hash: None, timestamp: summary.start_time };
        let id: Uuid = summary.trace_id.0;
        Self {
            flow_id: summary.flow_id.unwrap_or_else(|| FlowId(String::new())),
            execution_id: summary.execution_id.unwrap_or(ExecutionId(id)),
            version: summary.version.unwrap_or_else(unknown),
            start_time: summary.start_time,
            end_time: summary.end_time,
            status: summary.status,
            events,
            metadata: summary.metadata.unwrap_or_else(|| TraceMetadata {
                user_id: None,
                session_id: None,
                environment: String::new(),
                hostname: String::new(),
                process_id: 0,
                thread_id: String::new(),
                tags: Default::default(),
            }),
            trace_id: TraceId(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_were_not_measured_are_zero_in_published_types() {
        let mut event = serde_json::to_value(TraceEvent::message_sent("a".into(), "p".into(), "T".into(), 5)).unwrap();
        event["data"]["performance_metrics"] = Value::Null;
        event["data"]["message"]["size_bytes"] = Value::Null;
        let event = event_of(&event.to_string()).unwrap();
        assert_eq!((event.data.performance_metrics.queue_depth, event.data.message.unwrap().size_bytes), (0, 0));
        assert!(event_of(r#"{"event_id":1}"#).is_err());
    }

    #[test]
    fn a_summary_is_no_trace_and_unknown_is_none() {
        let raw = r#"{"trace_id":"018f0000-0000-7000-8000-000000000001","flow_id":null,"flow_name":null,"execution_id":null,
            "version":null,"start_time":"2026-01-01T00:00:00Z","end_time":null,"status":"Running","metadata":null,
            "summary":{"status_inferred":false,"event_count":3,"stored_events":3,"exact":true,"failures":0,
            "event_types":["ActorCreated"],"first_received":"2026-01-01T00:00:00Z","last_received":"2026-01-01T00:00:00Z",
            "clients":[]}}"#;
        assert!(details_of(raw).unwrap().is_none());
        let summary = summary_of(raw).unwrap();
        assert_eq!((summary.counted.as_ref().unwrap().event_count, summary.version.is_none()), (3, true));
        assert_eq!(summary.counted.as_ref().unwrap().estimated_events, None, "a server of before");
        let trace: FlowTrace = TraceDetails { summary, events: Vec::new() }.into();
        assert_eq!((trace.version.major, trace.execution_id.0), (0, trace.trace_id.0));
    }
}

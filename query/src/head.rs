//! A trace without its events, as JSON in both dialects.
//!
//! v1 is what 0.2.1 can read: what events do not tell is the trace id, 0.0.0 and empty strings there. v2 says null, and adds
//! what else is known.

use chrono::{DateTime, Utc};
use reflow_tracing_chunk::{KindSet, Version};
use reflow_tracing_protocol::{ExecutionStatus, FlowVersion, TraceMetadata};
use reflow_tracing_store::{ClientRow, TraceSummary};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

#[derive(Serialize)]
struct V1Head<'a> {
    trace_id: Uuid,
    flow_id: &'a str,
    execution_id: Uuid,
    version: FlowVersion,
    start_time: DateTime<Utc>,
    end_time: Option<DateTime<Utc>>,
    status: &'a ExecutionStatus,
    metadata: TraceMetadata,
}

#[derive(Serialize)]
struct V2Head<'a> {
    trace_id: Uuid,
    flow_id: Option<&'a str>,
    flow_name: Option<&'a str>,
    execution_id: Option<Uuid>,
    version: Option<FlowVersion>,
    start_time: DateTime<Utc>,
    end_time: Option<DateTime<Utc>>,
    status: &'a ExecutionStatus,
    metadata: Option<&'a RawValue>,
    summary: Summary<'a>,
}

/// What v2 tells of a trace beyond the published type.
#[derive(Serialize)]
struct Summary<'a> {
    /// Nobody ended or closed the trace; it is merely idle.
    status_inferred: bool,
    /// Events counted.
    event_count: u64,
    /// Events that are still there.
    stored_events: u64,
    /// Events that happened, an estimate where programs sample: those counted, and those that sampling left out beside them.
    estimated_events: u64,
    /// Whether events that were sent twice are known not to be counted twice.
    exact: bool,
    failures: u64,
    event_types: Vec<&'static str>,
    first_received: DateTime<Utc>,
    last_received: DateTime<Utc>,
    clients: Vec<Client<'a>>,
}

/// What a v2 client recorded, and what became of it.
#[derive(Serialize)]
struct Client<'a> {
    client_id: &'a str,
    recorded: u64,
    present: u64,
    /// Recorded and not present: dropped, rejected, or not arrived.
    missing: u64,
    /// Dropped by the client, whose buffer was full.
    dropped: u64,
    /// Refused by the server, one by one.
    rejected: u64,
    /// Neither dropped nor refused: under way, or lost with the client.
    not_arrived: u64,
}

/// The head as a JSON object without its closing brace, so that events can follow.
pub(crate) fn open_head(summary: &TraceSummary, v1: bool) -> Result<String, serde_json::Error> {
    let mut head = if v1 { v1_head(summary) } else { v2_head(summary) }?;
    head.pop();
    Ok(head)
}

/// A v2 summary as a whole JSON object.
pub(crate) fn v2_summary(summary: &TraceSummary) -> Result<String, serde_json::Error> {
    v2_head(summary)
}

/// A version as published.
pub(crate) fn flow_version(version: &Version) -> FlowVersion {
    FlowVersion {
        major: version.major,
        minor: version.minor,
        patch: version.patch,
        git_hash: version.git_hash.clone(),
        timestamp: time(version.timestamp_us),
    }
}

fn v1_head(summary: &TraceSummary) -> Result<String, serde_json::Error> {
    let unknown = || Version { timestamp_us: summary.start_us, ..Version::default() };
    serde_json::to_string(&V1Head {
        trace_id: summary.trace_id,
        flow_id: summary.flow_id.as_deref().unwrap_or_default(),
        execution_id: summary.execution_id.unwrap_or(summary.trace_id),
        version: flow_version(&summary.version.clone().unwrap_or_else(unknown)),
        start_time: time(summary.start_us),
        end_time: end_time(summary),
        status: &summary.status.status,
        metadata: metadata(summary),
    })
}

fn v2_head(summary: &TraceSummary) -> Result<String, serde_json::Error> {
    serde_json::to_string(&V2Head {
        trace_id: summary.trace_id,
        flow_id: summary.flow_id.as_deref(),
        flow_name: summary.flow_name.as_deref(),
        execution_id: summary.execution_id,
        version: summary.version.as_ref().map(flow_version),
        start_time: time(summary.start_us),
        end_time: end_time(summary),
        status: &summary.status.status,
        metadata: summary.metadata_json.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        summary: Summary {
            status_inferred: summary.status.inferred,
            event_count: summary.event_count,
            stored_events: summary.stored_events,
            estimated_events: summary.event_count.saturating_add(summary.left_out),
            exact: summary.exact,
            failures: summary.failures,
            event_types: KindSet(summary.event_types).iter().map(|kind| kind.name()).collect(),
            first_received: time(summary.first_received_us),
            last_received: time(summary.last_received_us),
            clients: summary.clients.iter().map(client).collect(),
        },
    })
}

fn client(row: &ClientRow) -> Client<'_> {
    let missing = row.recorded.saturating_sub(row.stored);
    Client {
        client_id: &row.client_id,
        recorded: row.recorded,
        present: row.stored,
        missing,
        dropped: row.dropped,
        rejected: row.rejected,
        not_arrived: missing.saturating_sub(row.dropped).saturating_sub(row.rejected),
    }
}

/// When the trace ended: its greatest event time, or without events when somebody said so.
fn end_time(summary: &TraceSummary) -> Option<DateTime<Utc>> {
    if matches!(summary.status.status, ExecutionStatus::Running | ExecutionStatus::Pending) {
        return None;
    }
    let told = || summary.ended.as_ref().map(|end| end.at_us).or(summary.closed_us);
    summary.end_us.or_else(told).map(time)
}

fn metadata(summary: &TraceSummary) -> TraceMetadata {
    let told = summary.metadata_json.as_deref().and_then(|text| serde_json::from_str(text).ok());
    told.unwrap_or_else(|| TraceMetadata {
        user_id: None,
        session_id: None,
        environment: String::new(),
        hostname: String::new(),
        process_id: 0,
        thread_id: String::new(),
        tags: Default::default(),
    })
}

/// µs since the epoch as a date; what no date can hold is the nearest that can.
fn time(us: i64) -> DateTime<Utc> {
    let edge = if us < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
    DateTime::from_timestamp_micros(us).unwrap_or(edge)
}

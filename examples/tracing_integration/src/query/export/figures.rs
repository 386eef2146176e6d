//! A trace with its figures as they were measured: what was not is nothing, and not the zero that the published types have for it.
//!
//! The fields are those of the protocol, in its order: a reader of them who takes null figures reads these.

use chrono::{DateTime, Utc};
use reflow_tracing_protocol::{
    CausalityInfo, EventId, ExecutionId, ExecutionStatus, FlowId, FlowTrace, FlowVersion, MessageSnapshot,
    PerformanceMetrics, StateDiff, TraceEvent, TraceEventData, TraceEventType, TraceId, TraceMetadata,
};
use serde::Serialize;
use std::collections::HashMap;

use crate::query::analysis::{all_zero, measured_size};

/// What was measured of an event.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) execution_time_ns: Option<u64>,
    pub(super) memory_usage_bytes: Option<u64>,
    pub(super) cpu_usage_percent: Option<f32>,
    pub(super) queue_depth: Option<u64>,
    pub(super) throughput_msgs_per_sec: Option<f64>,
}

/// A whole trace.
#[derive(Serialize)]
pub(super) struct Trace<'a> {
    trace_id: &'a TraceId,
    flow_id: &'a FlowId,
    execution_id: &'a ExecutionId,
    version: &'a FlowVersion,
    start_time: &'a DateTime<Utc>,
    end_time: &'a Option<DateTime<Utc>>,
    status: &'a ExecutionStatus,
    events: Vec<Event<'a>>,
    metadata: &'a TraceMetadata,
}

/// An event.
#[derive(Serialize)]
pub(super) struct Event<'a> {
    event_id: &'a EventId,
    timestamp: &'a DateTime<Utc>,
    event_type: &'a TraceEventType,
    actor_id: &'a str,
    data: Data<'a>,
    causality: &'a CausalityInfo,
}

#[derive(Serialize)]
struct Data<'a> {
    port: &'a Option<String>,
    message: Option<Message<'a>>,
    state_diff: &'a Option<StateDiff>,
    error: &'a Option<String>,
    performance_metrics: Figures,
    custom_attributes: &'a HashMap<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Message<'a> {
    message_type: &'a str,
    size_bytes: Option<u64>,
    checksum: &'a str,
    serialized_data: &'a [u8],
}

impl Figures {
    pub(super) fn of(metrics: &PerformanceMetrics) -> Self {
        let measured = !all_zero(metrics);
        let positive = |number: u64| (number > 0).then_some(number);
        Self {
            execution_time_ns: positive(metrics.execution_time_ns),
            memory_usage_bytes: positive(metrics.memory_usage_bytes as u64),
            cpu_usage_percent: measured.then_some(metrics.cpu_usage_percent),
            queue_depth: measured.then_some(metrics.queue_depth as u64),
            throughput_msgs_per_sec: measured.then_some(metrics.throughput_msgs_per_sec),
        }
    }
}

impl<'a> From<&'a FlowTrace> for Trace<'a> {
    fn from(trace: &'a FlowTrace) -> Self {
        let FlowTrace { trace_id, flow_id, execution_id, version, start_time, end_time, status, events, metadata } =
            trace;
        let events = events.iter().map(Event::from).collect();
        Self { trace_id, flow_id, execution_id, version, start_time, end_time, status, events, metadata }
    }
}

impl<'a> From<&'a TraceEvent> for Event<'a> {
    fn from(event: &'a TraceEvent) -> Self {
        let TraceEvent { event_id, timestamp, event_type, actor_id, data, causality } = event;
        let TraceEventData { port, message, state_diff, error, performance_metrics, custom_attributes } = data;
        let (message, performance_metrics) = (message.as_ref().map(Message::from), Figures::of(performance_metrics));
        let data = Data { port, message, state_diff, error, performance_metrics, custom_attributes };
        Self { event_id, timestamp, event_type, actor_id, data, causality }
    }
}

impl<'a> From<&'a MessageSnapshot> for Message<'a> {
    fn from(message: &'a MessageSnapshot) -> Self {
        let size_bytes = measured_size(message);
        let MessageSnapshot { message_type, size_bytes: _, checksum, serialized_data } = message;
        Self { message_type, size_bytes, checksum, serialized_data }
    }
}

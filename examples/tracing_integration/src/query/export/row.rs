//! One event as a row: flat, with what was not measured left empty.

use reflow_tracing_protocol::{FlowTrace, TraceEvent, TraceEventType};

use super::figures::Figures;
use crate::query::analysis::measured_size;

/// A value of a row; `None` is "not there" or "not measured".
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A text.
    Text(Option<String>),
    /// A whole number.
    Whole(Option<i64>),
    /// A number.
    Real(Option<f64>),
    /// µs since 1970.
    Time(i64),
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// [`Value::Text`]
    Text,
    /// [`Value::Whole`]
    Whole,
    /// [`Value::Real`]
    Real,
    /// [`Value::Time`]
    Time,
}

/// Name, kind, where the value comes from.
type Column = (&'static str, Kind, fn(&FlowTrace, &TraceEvent) -> Value);

/// The columns, in order.
pub(super) const COLUMNS: &[Column] = &[
    ("trace_id", Kind::Text, |trace, _| text(&trace.trace_id.0.to_string())),
    ("flow_id", Kind::Text, |trace, _| text(&trace.flow_id.0)),
    ("event_id", Kind::Text, |_, event| text(&event.event_id.0.to_string())),
    ("timestamp", Kind::Time, |_, event| Value::Time(event.timestamp.timestamp_micros())),
    ("event_type", Kind::Text, |_, event| text(event.event_type.name())),
    ("actor_id", Kind::Text, |_, event| text(&event.actor_id)),
    ("port", Kind::Text, |_, event| Value::Text(event.data.port.clone())),
    ("to_actor", Kind::Text, |_, event| Value::Text(target(event).map(|(actor, _)| actor.clone()))),
    ("to_port", Kind::Text, |_, event| Value::Text(target(event).map(|(_, port)| port.clone()))),
    ("message_type", Kind::Text, |_, event| {
        Value::Text(event.data.message.as_ref().map(|message| message.message_type.clone()))
    }),
    ("size_bytes", Kind::Whole, |_, event| whole(event.data.message.as_ref().and_then(measured_size))),
    ("error", Kind::Text, |_, event| Value::Text(event.data.error.clone())),
    ("execution_time_ns", Kind::Whole, |_, event| whole(figures(event).execution_time_ns)),
    ("memory_usage_bytes", Kind::Whole, |_, event| whole(figures(event).memory_usage_bytes)),
    ("cpu_usage_percent", Kind::Real, |_, event| Value::Real(figures(event).cpu_usage_percent.map(f64::from))),
    ("queue_depth", Kind::Whole, |_, event| whole(figures(event).queue_depth)),
    ("throughput_msgs_per_sec", Kind::Real, |_, event| Value::Real(figures(event).throughput_msgs_per_sec)),
    ("parent_event_id", Kind::Text, |_, event| {
        Value::Text(event.causality.parent_event_id.as_ref().map(|id| id.0.to_string()))
    }),
    ("root_cause_event_id", Kind::Text, |_, event| text(&event.causality.root_cause_event_id.0.to_string())),
    ("span_id", Kind::Text, |_, event| text(&event.causality.span_id)),
    ("state_diff", Kind::Text, |_, event| {
        Value::Text(event.data.state_diff.as_ref().and_then(|diff| serde_json::to_string(diff).ok()))
    }),
    ("custom_attributes", Kind::Text, |_, event| {
        let attributes = &event.data.custom_attributes;
        Value::Text((!attributes.is_empty()).then(|| serde_json::to_string(attributes).ok()).flatten())
    }),
];

/// The values of an event, one a column.
pub(super) fn values(trace: &FlowTrace, event: &TraceEvent) -> impl Iterator<Item = Value> {
    COLUMNS.iter().map(move |(_, _, value)| value(trace, event))
}

fn text(text: &str) -> Value {
    Value::Text(Some(text.to_owned()))
}

fn whole(number: Option<u64>) -> Value {
    Value::Whole(number.map(|number| i64::try_from(number).unwrap_or(i64::MAX)))
}

fn figures(event: &TraceEvent) -> Figures {
    Figures::of(&event.data.performance_metrics)
}

fn target(event: &TraceEvent) -> Option<(&String, &String)> {
    match &event.event_type {
        TraceEventType::DataFlow { to_actor, to_port } => Some((to_actor, to_port)),
        _ => None,
    }
}

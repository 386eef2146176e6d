//! Traces for the tests of this folder: as published programs send them, and as measured ones.

use chrono::{DateTime, TimeDelta, Utc};
use reflow_tracing_protocol::wire::SAMPLE_RATE;
use reflow_tracing_protocol::{
    ExecutionId, ExecutionStatus, FlowId, FlowTrace, FlowVersion, TraceEvent, TraceEventType, TraceId, TraceMetadata,
};

/// `generator` → `sink`, three messages, one of which fails; nothing is measured.
pub fn published() -> FlowTrace {
    let mut events = vec![TraceEvent::actor_created("generator".into()), TraceEvent::actor_created("sink".into())];
    for number in 0..3 {
        let kind = "Discriminant(5)".to_owned();
        events.push(TraceEvent::message_sent("generator".into(), "out".into(), kind.clone(), 24));
        events.push(flow("generator", "out", "sink", "in", &kind, 24));
        events.push(match number {
            1 => TraceEvent::actor_failed("sink".into(), "no luck".into()),
            _ => TraceEvent::actor_completed("sink".into()),
        });
    }
    trace("published", events)
}

/// `worker` → `done`, so many runs of 1, 2, 3… µs with 10 bytes each.
pub fn measured(runs: u64) -> FlowTrace {
    let mut events = Vec::new();
    for run in 1..=runs {
        let mut completed = TraceEvent::actor_completed("worker".into());
        completed.data.performance_metrics.execution_time_ns = run * 1_000;
        completed.data.performance_metrics.memory_usage_bytes = 4096;
        events.push(completed);
        events.push(flow("worker", "out", "done", "in", "String", 10));
    }
    trace("measured", events)
}

/// One message along a connection.
pub fn flow(from: &str, port: &str, to: &str, to_port: &str, kind: &str, size: usize) -> TraceEvent {
    TraceEvent::data_flow(from.into(), port.into(), to.into(), to_port.into(), kind.into(), size)
}

/// The event as one that was recorded with this chance.
pub fn sampled(mut event: TraceEvent, rate: f64) -> TraceEvent {
    event.data.custom_attributes.insert(SAMPLE_RATE.to_owned(), rate.into());
    event
}

/// `worker` → `done`: 10 runs of 1 µs and 10 messages of 8 bytes, a tenth of what there was of each, and one failure of 5 µs, which are
/// always recorded.
pub fn one_in_ten() -> FlowTrace {
    let run = |mut event: TraceEvent, ns| {
        event.data.performance_metrics.execution_time_ns = ns;
        event
    };
    let mut events = vec![run(TraceEvent::actor_failed("worker".into(), "no luck".into()), 5_000)];
    for _ in 0..10 {
        events.push(sampled(run(TraceEvent::actor_completed("worker".into()), 1_000), 0.1));
        events.push(sampled(flow("worker", "out", "done", "in", "String", 8), 0.1));
    }
    trace("sampled", events)
}

/// A trace of these connections, a message each.
pub fn connections(edges: &[(&str, &str)]) -> FlowTrace {
    trace("connections", edges.iter().map(|(from, to)| flow(from, "out", to, "in", "String", 1)).collect())
}

/// A trace of these events, a millisecond apart.
pub fn trace(flow_id: &str, mut events: Vec<TraceEvent>) -> FlowTrace {
    let start: DateTime<Utc> = "2026-01-31T12:00:00Z".parse().unwrap();
    for (index, event) in events.iter_mut().enumerate() {
        event.timestamp = start + TimeDelta::milliseconds(index as i64);
    }
    let failed = events.iter().any(|event| event.event_type == TraceEventType::ActorFailed);
    FlowTrace {
        trace_id: TraceId::new(),
        flow_id: FlowId::new(flow_id),
        execution_id: ExecutionId::new(),
        version: FlowVersion { major: 1, minor: 0, patch: 0, git_hash: None, timestamp: start },
        start_time: start,
        end_time: Some(start + TimeDelta::milliseconds(events.len() as i64)),
        status: if failed { ExecutionStatus::Failed { error: "no luck".into() } } else { ExecutionStatus::Completed },
        events,
        metadata: TraceMetadata {
            user_id: None,
            session_id: None,
            environment: String::new(),
            hostname: String::new(),
            process_id: 0,
            thread_id: String::new(),
            tags: Default::default(),
        },
    }
}

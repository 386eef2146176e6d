//! Records what the actors do, with figures in every event.
//!
//! A network can trace itself (see `simple_client`), but knows neither times nor states. Here the actors tell: each event says how
//! long its run has taken so far, how many messages wait, how many runs a second its actor manages, and how much memory and
//! processor the program uses; and each names the event that led to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use reflow_tracing_protocol::client::TracingClient;
use reflow_tracing_protocol::{
    CausalityInfo, EventId, MessageSnapshot, PerformanceMetrics, StateDiff, TraceEvent, TraceEventData, TraceEventType,
    TraceId,
};
use uuid::Uuid;

use super::order::Cause;
use crate::shared::process::Used;

/// Age at which the figures of the process are taken anew: reading them costs more than an event.
const FRESH: Duration = Duration::from_millis(20);

/// Records for all actors of the pipeline.
pub struct Recorder {
    client: Arc<TracingClient>,
    trace_id: TraceId,
    started: Instant,
    cpu_before: f64,
    process: Mutex<(Instant, Option<Used>)>,
    /// Runs of each actor, and when its first began.
    runs: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

/// One run of an actor.
#[derive(Clone, Copy)]
pub struct Run {
    /// Whose.
    pub actor: &'static str,
    /// When it began.
    pub began: Instant,
    /// Messages that waited then.
    pub waiting: usize,
}

/// What happened, beside the type.
#[derive(Default)]
pub struct Details {
    /// The port it happened at.
    pub port: Option<String>,
    /// The message.
    pub message: Option<MessageSnapshot>,
    /// How the state changed.
    pub state_diff: Option<StateDiff>,
    /// What went wrong.
    pub error: Option<String>,
    /// Anything else.
    pub attributes: Vec<(&'static str, serde_json::Value)>,
}

impl Recorder {
    /// Records into this trace.
    pub fn new(client: Arc<TracingClient>, trace_id: TraceId) -> Self {
        let (now, used) = (Instant::now(), Used::ours());
        Self {
            client,
            trace_id,
            started: now,
            cpu_before: used.map_or(0.0, |used| used.cpu_seconds),
            process: Mutex::new((now, used)),
            runs: Mutex::default(),
        }
    }

    /// Begins a run.
    pub fn begin(&self, actor: &'static str, waiting: usize) -> Run {
        let began = Instant::now();
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.entry(actor).or_insert((began, 0)).1 += 1;
        Run { actor, began, waiting }
    }

    /// Begins what is no run: that an actor or a connection is made.
    pub fn making(&self, actor: &'static str) -> Run {
        Run { actor, began: Instant::now(), waiting: 0 }
    }

    /// Runs of an actor so far.
    pub fn runs(&self, actor: &str) -> u64 {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).get(actor).map_or(0, |(_, runs)| *runs)
    }

    /// Records an event and gives the cause of what comes after it.
    pub fn record(&self, run: &Run, event_type: TraceEventType, details: Details, cause: &Cause) -> Cause {
        let id = Uuid::now_v7();
        let event = TraceEvent {
            event_id: EventId(id),
            timestamp: Utc::now(),
            event_type,
            actor_id: run.actor.to_owned(),
            data: TraceEventData {
                port: details.port,
                message: details.message,
                state_diff: details.state_diff,
                error: details.error,
                performance_metrics: self.figures(run),
                custom_attributes: details
                    .attributes
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            },
            causality: CausalityInfo {
                parent_event_id: cause.chain.last().copied().map(EventId),
                root_cause_event_id: EventId(cause.root.unwrap_or(id)),
                dependency_chain: cause.chain.iter().copied().map(EventId).collect(),
                span_id: cause.span.clone(),
            },
        };
        // Only a client that is shut down refuses, and then the program is at its end.
        let _ = self.client.record(&self.trace_id, event);
        cause.then(id)
    }

    fn figures(&self, run: &Run) -> PerformanceMetrics {
        let (used, now) = (self.process(), Instant::now());
        let elapsed = now.duration_since(self.started).as_secs_f64();
        let (first, runs) =
            *self.runs.lock().unwrap_or_else(PoisonError::into_inner).get(run.actor).unwrap_or(&(self.started, 0));
        let active = now.duration_since(first).as_secs_f64();
        PerformanceMetrics {
            execution_time_ns: u64::try_from(run.began.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1),
            memory_usage_bytes: used.map_or(0, |used| used.memory_bytes as usize),
            cpu_usage_percent: match used {
                Some(used) if elapsed > 0.0 => ((used.cpu_seconds - self.cpu_before) * 100.0 / elapsed) as f32,
                _ => 0.0,
            },
            queue_depth: run.waiting,
            throughput_msgs_per_sec: if active > 0.0 { runs as f64 / active } else { 0.0 },
        }
    }

    fn process(&self) -> Option<Used> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if process.0.elapsed() >= FRESH {
            *process = (Instant::now(), Used::ours());
        }
        process.1
    }
}

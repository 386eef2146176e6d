//! What the events of some traces tell about each actor's performance.
//!
//! Only what was measured is told. A program that measures nothing sends five zeros a event, and a server fills zeros in for what is
//! missing where the published types have no room for "unknown": an event whose five figures are all zero has none, and a single
//! execution time or memory size of zero is none either. Messages are counted by `DataFlow` alone where there is any, because
//! `reflow_network` records a message twice, as `MessageSent` and as `DataFlow`; a size under the type `Discriminant(…)`
//! is that of an enum and no measurement.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use reflow_tracing_protocol::{FlowTrace, MessageSnapshot, PerformanceMetrics, TraceEvent, TraceEventType as Type};

/// An actor over all its traces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActorPerformance {
    /// Runs that ended well.
    pub completed: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Messages that came in.
    pub messages_in: u64,
    /// Messages that went out.
    pub messages_out: u64,
    /// Bytes that went out, of the messages whose size was measured.
    pub bytes_out: Option<u64>,
    /// Changes of state.
    pub state_changes: u64,
    /// Measured times of runs, ns, sorted.
    pub run_ns: Vec<u64>,
    /// Most memory in use, bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Most processor in use, percent.
    pub cpu_peak_percent: Option<f32>,
    /// Most messages waiting.
    pub queue_peak: Option<u64>,
    /// From its first event to its last, summed over its traces, ns.
    pub active_ns: u64,
    /// The first error it failed with.
    pub first_error: Option<String>,
}

impl ActorPerformance {
    /// Runs.
    pub fn runs(&self) -> u64 {
        self.completed + self.failed
    }

    /// The measured time that `quantile` (0 to 1) of the runs stayed within, ns.
    pub fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        let last = self.run_ns.len().checked_sub(1)?;
        let rank = (quantile * self.run_ns.len() as f64).ceil() as usize;
        self.run_ns.get(rank.saturating_sub(1).min(last)).copied()
    }

    /// Measured time of all runs, ns.
    pub fn busy_ns(&self) -> Option<u64> {
        (!self.run_ns.is_empty()).then(|| self.run_ns.iter().fold(0, |sum: u64, ns| sum.saturating_add(*ns)))
    }

    /// Runs a second between its first event and its last; none where there is no time between them.
    pub fn runs_per_second(&self) -> Option<f64> {
        (self.active_ns > 0 && self.runs() > 0).then(|| self.runs() as f64 * 1e9 / self.active_ns as f64)
    }

    fn measured(&mut self, metrics: &PerformanceMetrics) {
        if all_zero(metrics) {
            return;
        }
        let memory = metrics.memory_usage_bytes as u64;
        if memory > 0 {
            self.memory_peak_bytes = self.memory_peak_bytes.max(Some(memory));
        }
        if metrics.cpu_usage_percent > 0.0 {
            self.cpu_peak_percent = Some(
                self.cpu_peak_percent.map_or(metrics.cpu_usage_percent, |peak| peak.max(metrics.cpu_usage_percent)),
            );
        }
        self.queue_peak = self.queue_peak.max(Some(metrics.queue_depth as u64));
    }

    fn ran(&mut self, metrics: &PerformanceMetrics) {
        if metrics.execution_time_ns > 0 {
            self.run_ns.push(metrics.execution_time_ns);
        }
    }
}

/// All actors of some traces.
#[derive(Clone, Debug, Default)]
pub struct Analysis {
    /// By name.
    pub actors: BTreeMap<String, ActorPerformance>,
    /// Traces looked at.
    pub traces: u64,
    /// Events looked at.
    pub events: u64,
    /// Times from a trace's start to its end, ns, of those that ended, sorted.
    pub trace_ns: Vec<u64>,
}

impl Analysis {
    /// Looks at one more trace.
    pub fn add(&mut self, trace: &FlowTrace) {
        self.traces += 1;
        self.events += trace.events.len() as u64;
        if let Some(end) = trace.end_time {
            self.trace_ns.extend(nanos_between(trace.start_time, end));
        }
        let by_flow = trace.events.iter().any(|event| matches!(event.event_type, Type::DataFlow { .. }));
        let mut spans: BTreeMap<&str, (DateTime<Utc>, DateTime<Utc>)> = BTreeMap::new();
        for event in &trace.events {
            self.take(event, by_flow);
            let span = spans.entry(&event.actor_id).or_insert((event.timestamp, event.timestamp));
            *span = (span.0.min(event.timestamp), span.1.max(event.timestamp));
        }
        for (actor, (first, last)) in spans {
            self.actor(actor).active_ns += nanos_between(first, last).unwrap_or(0);
        }
    }

    /// Sorts what was measured: before this, quantiles mean nothing.
    pub fn finish(&mut self) {
        for actor in self.actors.values_mut() {
            actor.run_ns.sort_unstable();
        }
        self.trace_ns.sort_unstable();
    }

    /// Actors, those with the most measured time first, then those with the most runs.
    pub fn busiest_first(&self) -> Vec<(&str, &ActorPerformance)> {
        let mut actors: Vec<_> = self.actors.iter().map(|(name, actor)| (name.as_str(), actor)).collect();
        actors.sort_by_key(|(_, actor)| std::cmp::Reverse((actor.busy_ns(), actor.runs())));
        actors
    }

    /// The actor with the most measured time, and its share of all that was measured, percent.
    pub fn bottleneck(&self) -> Option<(&str, f64)> {
        let all: u64 = self.actors.values().filter_map(ActorPerformance::busy_ns).sum();
        let (name, actor) = self.busiest_first().into_iter().next()?;
        Some((name, actor.busy_ns()? as f64 * 100.0 / all as f64))
    }

    fn take(&mut self, event: &TraceEvent, by_flow: bool) {
        let metrics = &event.data.performance_metrics;
        let actor = self.actor(&event.actor_id);
        actor.measured(metrics);
        match &event.event_type {
            Type::ActorCompleted => {
                actor.completed += 1;
                actor.ran(metrics);
            }
            Type::ActorFailed => {
                actor.failed += 1;
                actor.ran(metrics);
                if actor.first_error.is_none() {
                    actor.first_error.clone_from(&event.data.error);
                }
            }
            Type::StateChanged => actor.state_changes += 1,
            Type::MessageSent if !by_flow => {
                actor.messages_out += 1;
                actor.bytes_out = sum(actor.bytes_out, event.data.message.as_ref());
            }
            Type::MessageReceived if !by_flow => actor.messages_in += 1,
            Type::DataFlow { to_actor, .. } => {
                actor.messages_out += 1;
                actor.bytes_out = sum(actor.bytes_out, event.data.message.as_ref());
                self.actor(to_actor).messages_in += 1;
            }
            _ => {}
        }
    }

    fn actor(&mut self, name: &str) -> &mut ActorPerformance {
        self.actors.entry(name.to_owned()).or_default()
    }
}

/// What a program sends that measured nothing.
pub fn all_zero(metrics: &PerformanceMetrics) -> bool {
    metrics.execution_time_ns == 0
        && metrics.memory_usage_bytes == 0
        && metrics.cpu_usage_percent == 0.0
        && metrics.queue_depth == 0
        && metrics.throughput_msgs_per_sec == 0.0
}

/// A message's size, where it was measured.
pub fn measured_size(message: &MessageSnapshot) -> Option<u64> {
    (!message.message_type.starts_with("Discriminant(")).then_some(message.size_bytes as u64)
}

/// Adds a message's size to a sum, where it was measured.
pub fn sum(so_far: Option<u64>, message: Option<&MessageSnapshot>) -> Option<u64> {
    match message.and_then(measured_size) {
        Some(size) => Some(so_far.unwrap_or(0).saturating_add(size)),
        None => so_far,
    }
}

fn nanos_between(start: DateTime<Utc>, end: DateTime<Utc>) -> Option<u64> {
    (end - start).num_nanoseconds().and_then(|nanos| u64::try_from(nanos).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::samples;

    fn analysis(traces: &[FlowTrace]) -> Analysis {
        let mut analysis = Analysis::default();
        traces.iter().for_each(|trace| analysis.add(trace));
        analysis.finish();
        analysis
    }

    #[test]
    fn a_message_that_was_recorded_twice_counts_once() {
        let analysis = analysis(&[samples::published()]);
        let (from, to) = (&analysis.actors["generator"], &analysis.actors["sink"]);
        assert_eq!((from.messages_out, to.messages_in), (3, 3));
    }

    #[test]
    fn what_was_not_measured_is_not_told() {
        let analysis = analysis(&[samples::published()]);
        let actor = &analysis.actors["sink"];
        assert_eq!((actor.completed, actor.failed), (2, 1));
        assert_eq!(actor.first_error.as_deref(), Some("no luck"));
        assert_eq!((actor.busy_ns(), actor.quantile_ns(0.5), actor.memory_peak_bytes), (None, None, None));
        assert_eq!((actor.queue_peak, analysis.actors["generator"].bytes_out), (None, None));
        assert!(analysis.bottleneck().is_none());
    }

    #[test]
    fn measured_runs_give_quantiles_and_the_bottleneck() {
        let analysis = analysis(&[samples::measured(100)]);
        let actor = &analysis.actors["worker"];
        let quantiles = [0.0, 0.5, 0.95, 0.99, 1.0].map(|quantile| actor.quantile_ns(quantile).unwrap() / 1_000);
        assert_eq!(quantiles, [1, 50, 95, 99, 100]);
        assert_eq!(actor.bytes_out, Some(100 * 10));
        assert_eq!(actor.memory_peak_bytes, Some(4096));
        let (name, share) = analysis.bottleneck().unwrap();
        assert_eq!(name, "worker");
        assert!((share - 100.0).abs() < 1e-9);
    }

    #[test]
    fn several_traces_are_added_up() {
        let traces = [samples::measured(10), samples::measured(5)];
        let analysis = analysis(&traces);
        assert_eq!((analysis.traces, analysis.actors["worker"].runs()), (2, 15));
        assert_eq!(analysis.trace_ns.len(), 2);
        assert!(analysis.actors["worker"].runs_per_second().unwrap() > 0.0);
    }
}

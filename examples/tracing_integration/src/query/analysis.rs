//! What the events of some traces tell about each actor's performance.
//!
//! Only what was measured is told. A program that measures nothing sends five zeros a event, and a server fills zeros in for what is
//! missing where the published types have no room for "unknown": an event whose five figures are all zero has none, and a single
//! execution time or memory size of zero is none either. Messages are counted by `DataFlow` alone where there is any, because
//! `reflow_network` records a message twice, as `MessageSent` and as `DataFlow`; a size under the type `Discriminant(…)`
//! is that of an enum and no measurement.
//!
//! An event that sampling has kept stands for those that it left out, in counts, sums and quantiles alike. Otherwise failures, which are always
//! recorded, would seem to be most of what an actor does.

use std::collections::BTreeMap;
use std::ops::Add;

use chrono::{DateTime, Utc};
use reflow_tracing_protocol::{FlowTrace, MessageSnapshot, PerformanceMetrics, TraceEvent, TraceEventType as Type};

use super::tally::{Tally, weight};

/// An actor over all its traces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActorPerformance {
    /// Runs that ended well.
    pub completed: Tally,
    /// Runs that failed.
    pub failed: Tally,
    /// Messages that came in.
    pub messages_in: Tally,
    /// Messages that went out.
    pub messages_out: Tally,
    /// Bytes that went out, of the messages whose size was measured.
    pub bytes_out: Option<Tally>,
    /// Changes of state.
    pub state_changes: Tally,
    /// Measured times of runs, ns, sorted, each with the number of runs that it stands for.
    pub run_ns: Vec<(u64, f64)>,
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
    pub fn runs(&self) -> Tally {
        self.completed + self.failed
    }

    /// The measured time that `quantile` (0 to 1) of the runs stayed within, ns.
    pub fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        let rank = quantile * self.run_ns.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut within = 0.0;
        let reaches = |(_, weight): &&(u64, f64)| {
            within += weight;
            within >= rank
        };
        self.run_ns.iter().find(reaches).or(self.run_ns.last()).map(|(ns, _)| *ns)
    }

    /// Measured time of all runs, ns.
    pub fn busy_ns(&self) -> Option<Tally> {
        let mut busy = Tally::default();
        self.run_ns.iter().for_each(|(ns, weight)| busy.take(*ns, *weight));
        (!self.run_ns.is_empty()).then_some(busy)
    }

    /// Runs a second between its first event and its last; none where there is no time between them.
    pub fn runs_per_second(&self) -> Option<f64> {
        let runs = self.runs().estimate();
        (self.active_ns > 0 && runs > 0).then(|| runs as f64 * 1e9 / self.active_ns as f64)
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

    fn sent(&mut self, event: &TraceEvent, weight: f64) {
        self.messages_out.count(weight);
        add_size(&mut self.bytes_out, event, weight);
    }

    fn ran(&mut self, metrics: &PerformanceMetrics, weight: f64) {
        if metrics.execution_time_ns > 0 {
            self.run_ns.push((metrics.execution_time_ns, weight));
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
    pub events: Tally,
    /// Times from a trace's start to its end, ns, of those that ended, sorted.
    pub trace_ns: Vec<u64>,
}

impl Analysis {
    /// Looks at one more trace.
    pub fn add(&mut self, trace: &FlowTrace) {
        self.traces += 1;
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
            actor.run_ns.sort_unstable_by_key(|(ns, _)| *ns);
        }
        self.trace_ns.sort_unstable();
    }

    /// Actors, those with the most measured time first, then those with the most runs.
    pub fn busiest_first(&self) -> Vec<(&str, &ActorPerformance)> {
        let mut actors: Vec<_> = self.actors.iter().map(|(name, actor)| (name.as_str(), actor)).collect();
        let busy = |actor: &ActorPerformance| (actor.busy_ns().map(Tally::estimate), actor.runs().estimate());
        actors.sort_by_key(|(_, actor)| std::cmp::Reverse(busy(actor)));
        actors
    }

    /// The actor with the most measured time, and its share of all that was measured, percent.
    pub fn bottleneck(&self) -> Option<(&str, f64)> {
        let all = self.actors.values().filter_map(ActorPerformance::busy_ns).fold(Tally::default(), Tally::add);
        let (name, actor) = self.busiest_first().into_iter().next()?;
        Some((name, actor.busy_ns()?.estimate() as f64 * 100.0 / all.estimate() as f64))
    }

    fn take(&mut self, event: &TraceEvent, by_flow: bool) {
        let (metrics, weight) = (&event.data.performance_metrics, weight(event));
        self.events.count(weight);
        let actor = self.actor(&event.actor_id);
        actor.measured(metrics);
        match &event.event_type {
            Type::ActorCompleted => {
                actor.completed.count(weight);
                actor.ran(metrics, weight);
            }
            Type::ActorFailed => {
                actor.failed.count(weight);
                actor.ran(metrics, weight);
                if actor.first_error.is_none() {
                    actor.first_error.clone_from(&event.data.error);
                }
            }
            Type::StateChanged => actor.state_changes.count(weight),
            Type::MessageSent if !by_flow => actor.sent(event, weight),
            Type::MessageReceived if !by_flow => actor.messages_in.count(weight),
            Type::DataFlow { to_actor, .. } => {
                actor.sent(event, weight);
                self.actor(to_actor).messages_in.count(weight);
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

/// Adds the size of an event's message to a sum, where it was measured.
pub fn add_size(sum: &mut Option<Tally>, event: &TraceEvent, weight: f64) {
    if let Some(size) = event.data.message.as_ref().and_then(measured_size) {
        sum.get_or_insert_default().take(size, weight);
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
        assert_eq!((from.messages_out, to.messages_in), (3.into(), 3.into()));
    }

    #[test]
    fn what_was_not_measured_is_not_told() {
        let analysis = analysis(&[samples::published()]);
        let actor = &analysis.actors["sink"];
        assert_eq!((actor.completed, actor.failed), (2.into(), 1.into()));
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
        assert_eq!(actor.bytes_out, Some((100 * 10).into()));
        assert_eq!(actor.memory_peak_bytes, Some(4096));
        let (name, share) = analysis.bottleneck().unwrap();
        assert_eq!(name, "worker");
        assert!((share - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_sampled_event_stands_for_those_that_were_left_out() {
        let analysis = analysis(&[samples::one_in_ten()]);
        let (worker, done) = (&analysis.actors["worker"], &analysis.actors["done"]);
        let both = |tally: Tally| (tally.counted(), tally.estimate());
        assert_eq!((both(worker.completed), both(worker.failed), both(worker.runs())), ((10, 100), (1, 1), (11, 101)));
        assert_eq!((both(worker.messages_out), both(done.messages_in)), ((10, 100), (10, 100)));
        assert_eq!(worker.bytes_out.map(both), Some((80, 800)));
        assert_eq!(worker.busy_ns().map(both), Some((15_000, 105_000)));
        assert_eq!(both(analysis.events), (21, 201));
        // One run in a hundred failed and took longer, not one in eleven.
        assert_eq!([0.95, 0.99, 1.0].map(|quantile| worker.quantile_ns(quantile).unwrap()), [1_000, 1_000, 5_000]);
        // 101 runs in the 20 ms between the first event and the last of the worker.
        assert!((worker.runs_per_second().unwrap() - 101.0 / 0.020).abs() < 1e-6, "{:?}", worker.runs_per_second());
    }

    #[test]
    fn several_traces_are_added_up() {
        let traces = [samples::measured(10), samples::measured(5)];
        let analysis = analysis(&traces);
        assert_eq!((analysis.traces, analysis.actors["worker"].runs()), (2, 15.into()));
        assert_eq!(analysis.trace_ns.len(), 2);
        assert!(analysis.actors["worker"].runs_per_second().unwrap() > 0.0);
    }
}

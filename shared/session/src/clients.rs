//! What a server has to do with its clients beside their requests: it sends them sampling rules, and asks for their own figures.
//!
//! Only v2 sessions see any of it, and only those that have recorded are asked for figures. A figure in a report is an increment, so
//! the counters here are sums over all clients, whichever server they reported to. Names come from the code alone: what a client
//! calls itself is no label.

use std::time::Duration;

use prometheus::{Counter, IntCounter, IntCounterVec};
use reflow_tracing_protocol::wire::{ClientReport, Response, SamplingRule};
use reflow_tracing_service::metrics::{MetricDoc, MetricError, Metrics};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::answer::{Answer, text};

/// More than this in one report is no count of anything: it is taken for this much, so that nobody can make a counter wrap.
const MOST: u64 = 1 << 40;

const REPORTS: MetricDoc =
    MetricDoc::counter("reflow_client_reports_total", &[], "reports that clients sent of themselves");
const EVENTS: MetricDoc = MetricDoc::counter(
    "reflow_client_events_total",
    &["result"],
    "events by what clients say became of them: recorded, acked, rejected, sampled_out (on purpose, not recorded)",
);
const DROPPED: MetricDoc = MetricDoc::counter(
    "reflow_client_dropped_events_total",
    &["reason"],
    "events that clients dropped: buffer_full, spool, too_large, refused, closed (shut down), unwritable",
);
const BATCHES: MetricDoc =
    MetricDoc::counter("reflow_client_batches_total", &["result"], "batches of clients: sent, resent, acked");
const BYTES: MetricDoc = MetricDoc::counter(
    "reflow_client_event_bytes_total",
    &["stage"],
    "bytes of events in clients: raw (as JSON), compressed",
);
const CONNECTIONS: MetricDoc = MetricDoc::counter(
    "reflow_client_connections_total",
    &["result"],
    "connections of clients: made, failed (attempts), lost",
);
const ERRORS: MetricDoc =
    MetricDoc::counter("reflow_client_server_errors_total", &[], "errors that clients were answered");
const ACKS: MetricDoc = MetricDoc::counter("reflow_client_acks_total", &[], "acks that clients took the time of");
const ACK_SECONDS: MetricDoc = MetricDoc::counter(
    "reflow_client_ack_seconds_total",
    &[],
    "sum of the times from sending a batch to its ack, as clients measured them, in seconds",
);

/// The declarations of all of them, for the documentation.
pub(crate) const CLIENT_METRICS: [MetricDoc; 9] =
    [REPORTS, EVENTS, DROPPED, BATCHES, BYTES, CONNECTIONS, ERRORS, ACKS, ACK_SECONDS];

/// What clients told of themselves.
#[derive(Clone, Debug)]
pub(crate) struct ClientMetrics {
    reports: IntCounter,
    events: IntCounterVec,
    dropped: IntCounterVec,
    batches: IntCounterVec,
    bytes: IntCounterVec,
    connections: IntCounterVec,
    errors: IntCounter,
    acks: IntCounter,
    ack_seconds: Counter,
}

impl ClientMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, MetricError> {
        let clients = Self {
            reports: metrics.counter(&REPORTS)?,
            events: metrics.counters(&EVENTS)?,
            dropped: metrics.counters(&DROPPED)?,
            batches: metrics.counters(&BATCHES)?,
            bytes: metrics.counters(&BYTES)?,
            connections: metrics.counters(&CONNECTIONS)?,
            errors: metrics.counter(&ERRORS)?,
            acks: metrics.counter(&ACKS)?,
            ack_seconds: metrics.float_counter(&ACK_SECONDS)?,
        };
        // At 0 from the start: a counter that appears with its first event has no increase that a dashboard could show.
        clients.tally(&ClientReport::default());
        Ok(clients)
    }

    /// Adds a report.
    pub(crate) fn add(&self, report: &ClientReport) {
        self.reports.inc();
        self.tally(report);
    }

    fn tally(&self, report: &ClientReport) {
        for (counters, label, more) in [
            (&self.events, "recorded", report.events_recorded),
            (&self.events, "acked", report.events_acked),
            (&self.events, "rejected", report.events_rejected),
            (&self.events, "sampled_out", report.events_sampled_out),
            (&self.dropped, "buffer_full", report.dropped_buffer_full),
            (&self.dropped, "spool", report.dropped_spool),
            (&self.dropped, "too_large", report.dropped_too_large),
            (&self.dropped, "refused", report.dropped_refused),
            (&self.dropped, "closed", report.dropped_closed),
            (&self.dropped, "unwritable", report.dropped_unwritable),
            (&self.batches, "sent", report.batches_sent),
            (&self.batches, "resent", report.batches_resent),
            (&self.batches, "acked", report.batches_acked),
            (&self.bytes, "raw", report.bytes_before_compression),
            (&self.bytes, "compressed", report.bytes_after_compression),
            (&self.connections, "made", report.connections),
            (&self.connections, "failed", report.connect_failures),
            (&self.connections, "lost", report.connections_lost),
        ] {
            counters.with_label_values(&[label]).inc_by(more.min(MOST));
        }
        self.errors.inc_by(report.server_errors.min(MOST));
        self.acks.inc_by(report.ack_latency_count.min(MOST));
        self.ack_seconds.inc_by(Duration::from_micros(report.ack_latency_sum_us.min(MOST)).as_secs_f64());
    }
}

/// The frame that sends the rules; none where there are none.
pub(crate) fn sampling(rules: &[SamplingRule]) -> Option<Answer> {
    (!rules.is_empty()).then(|| text(&Response::Sampling { rules: rules.to_vec() }))
}

/// When a session is asked for its client's figures next.
#[derive(Debug, Default)]
pub(crate) struct Reports(Option<Interval>);

impl Reports {
    /// The session has recorded: from now on it is asked, every `interval`.
    pub(crate) fn begin(&mut self, every: Option<Duration>) {
        if let (None, Some(every)) = (&self.0, every) {
            let mut interval = interval_at(Instant::now() + every, every);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            self.0 = Some(interval);
        }
    }

    /// Returns when it is time to ask; never where nobody asks.
    pub(crate) async fn due(&mut self) {
        match &mut self.0 {
            Some(interval) => {
                interval.tick().await;
            }
            None => std::future::pending().await,
        }
    }

    /// The frame that asks.
    pub(crate) fn question() -> Answer {
        text(&Response::ReportMetrics)
    }
}

//! What sessions count. The documented table is in ARCHITECTURE.md; a test holds the two together.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, exponential_buckets, histogram_opts,
    opts,
};

/// Metrics of all sessions of a process.
#[derive(Clone, Debug)]
pub struct SessionMetrics {
    pub(crate) connections: IntGauge,
    pub(crate) connections_total: IntCounterVec,
    pub(crate) sessions_ended: IntCounterVec,
    pub(crate) frames: IntCounterVec,
    pub(crate) received_bytes: IntCounter,
    pub(crate) sent_bytes: IntCounter,
    pub(crate) events: IntCounterVec,
    pub(crate) refused: IntCounterVec,
    pub(crate) batches: IntCounterVec,
    pub(crate) publish_seconds: Histogram,
    pub(crate) gather_events: Histogram,
    pub(crate) budget_bytes: IntGauge,
    pub(crate) viewers: IntGauge,
    pub(crate) live_events: IntCounter,
    pub(crate) live_missed: IntCounter,
    pub(crate) questions: IntCounterVec,
}

impl SessionMetrics {
    /// Registers all of them.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::with_opts(opts!(name, help))?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let counters = |name: &str, help: &str, label: &str| -> prometheus::Result<IntCounterVec> {
            let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::with_opts(opts!(name, help))?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let histogram = |opts: HistogramOpts| -> prometheus::Result<Histogram> {
            let histogram = Histogram::with_opts(opts)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        Ok(Self {
            connections: gauge("reflow_session_connections", "WebSocket sessions open now")?,
            connections_total: counters(
                "reflow_session_connections_total",
                "connections by what became of them: v1, v2, http, refused_limit, refused_handshake",
                "result",
            )?,
            sessions_ended: counters(
                "reflow_session_ended_total",
                "sessions ended, by reason: peer, idle, slow, frame, drain, error",
                "reason",
            )?,
            frames: counters("reflow_session_frames_total", "frames received, by request", "request")?,
            received_bytes: counter("reflow_session_received_bytes_total", "bytes of frames received")?,
            sent_bytes: counter("reflow_session_sent_bytes_total", "bytes of frames sent")?,
            events: counters(
                "reflow_session_events_total",
                "events by result: accepted (durable) or refused (with a reason to the client)",
                "result",
            )?,
            refused: counters(
                "reflow_session_refused_total",
                "frames, batches and events refused, by reason",
                "reason",
            )?,
            batches: counters("reflow_session_batches_total", "v2 batches by result", "result")?,
            publish_seconds: histogram(histogram_opts!(
                "reflow_session_publish_seconds",
                "time until a chunk is durable, from its being built",
                exponential_buckets(0.0005, 2.0, 16)?
            ))?,
            gather_events: histogram(histogram_opts!(
                "reflow_session_gather_events",
                "v1 frames gathered into one publish",
                exponential_buckets(1.0, 2.0, 12)?
            ))?,
            budget_bytes: gauge("reflow_session_budget_bytes", "bytes of the process's byte budget in use")?,
            viewers: gauge("reflow_session_live_viewers", "live subscriptions open now")?,
            live_events: counter("reflow_session_live_events_total", "events sent to live viewers")?,
            live_missed: counter(
                "reflow_session_live_missed_total",
                "events (or, where nobody knows how many, gaps) that live viewers were too slow for and were told of",
            )?,
            questions: counters("reflow_session_questions_total", "questions to history, by result", "result")?,
        })
    }
}

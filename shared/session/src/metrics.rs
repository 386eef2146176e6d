//! What sessions count.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use reflow_tracing_service::metrics::{COUNT_BUCKETS, MetricDoc, MetricError, Metrics, SECONDS_BUCKETS};

use crate::clients::{CLIENT_METRICS, ClientMetrics};

const CONNECTIONS: MetricDoc = MetricDoc::gauge("reflow_session_connections", &[], "WebSocket sessions open now");
const CONNECTIONS_TOTAL: MetricDoc = MetricDoc::counter(
    "reflow_session_connections_total",
    &["result"],
    "connections by what became of them: v1, v2, http, refused_limit, refused_handshake",
);
const ENDED: MetricDoc = MetricDoc::counter(
    "reflow_session_ended_total",
    &["reason"],
    "sessions ended: peer, idle, slow, slow_frame, frame, drain",
);
const FRAMES: MetricDoc =
    MetricDoc::counter("reflow_session_frames_total", &["request"], "frames received, by request");
const RECEIVED_BYTES: MetricDoc =
    MetricDoc::counter("reflow_session_received_bytes_total", &[], "bytes of frames received");
const SENT_BYTES: MetricDoc = MetricDoc::counter("reflow_session_sent_bytes_total", &[], "bytes of frames sent");
const EVENTS: MetricDoc = MetricDoc::counter(
    "reflow_session_events_total",
    &["result"],
    "events accepted (durable) and refused (with a reason to the client)",
);
const REFUSED: MetricDoc =
    MetricDoc::counter("reflow_session_refused_total", &["reason"], "frames, batches and events refused, by reason");
const BATCHES: MetricDoc =
    MetricDoc::counter("reflow_session_batches_total", &["result"], "v2 batches: recorded, refused, too_large");
const LOSSY_BATCHES: MetricDoc = MetricDoc::counter(
    "reflow_session_lossy_batches_total",
    &[],
    "v2 batches recorded whose client says that it had to drop events of their trace",
);
const PUBLISH: MetricDoc = MetricDoc::histogram(
    "reflow_session_publish_seconds",
    &[],
    SECONDS_BUCKETS,
    "time from a chunk's being built until it is durable",
);
const GATHER: MetricDoc =
    MetricDoc::histogram("reflow_session_gather_frames", &[], COUNT_BUCKETS, "v1 frames gathered into one publish");
const BUDGET: MetricDoc =
    MetricDoc::gauge("reflow_session_budget_bytes", &[], "bytes in use of the byte budget that sessions share");
const DECOMPRESSED: MetricDoc = MetricDoc::gauge(
    "reflow_session_decompressed_bytes",
    &[],
    "bytes being decompressed, and of events and traces that came compressed, of the room that sessions share for them",
);
const VIEWERS: MetricDoc = MetricDoc::gauge("reflow_session_live_viewers", &[], "live subscriptions open now");
const LIVE_EVENTS: MetricDoc =
    MetricDoc::counter("reflow_session_live_events_total", &[], "events sent to live viewers");
const LIVE_MISSED: MetricDoc = MetricDoc::counter(
    "reflow_session_live_missed_total",
    &[],
    "events that live viewers were too slow for and were told of; a gap of unknown size counts one",
);
const QUESTIONS: MetricDoc =
    MetricDoc::counter("reflow_session_questions_total", &["result"], "questions to history, by result");

/// The declarations of all of them, for the documentation.
pub fn session_metrics() -> Vec<MetricDoc> {
    let own = [
        CONNECTIONS,
        CONNECTIONS_TOTAL,
        ENDED,
        FRAMES,
        RECEIVED_BYTES,
        SENT_BYTES,
        EVENTS,
        REFUSED,
        BATCHES,
        LOSSY_BATCHES,
        PUBLISH,
        GATHER,
        BUDGET,
        DECOMPRESSED,
        VIEWERS,
        LIVE_EVENTS,
        LIVE_MISSED,
        QUESTIONS,
    ];
    own.into_iter().chain(CLIENT_METRICS).collect()
}

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
    pub(crate) accepted: IntCounter,
    pub(crate) refused: IntCounterVec,
    pub(crate) batches: IntCounterVec,
    pub(crate) lossy_batches: IntCounter,
    pub(crate) publish_seconds: Histogram,
    pub(crate) gather_frames: Histogram,
    pub(crate) budget_bytes: IntGauge,
    pub(crate) decompressed_bytes: IntGauge,
    pub(crate) viewers: IntGauge,
    pub(crate) live_events: IntCounter,
    pub(crate) live_missed: IntCounter,
    pub(crate) questions: IntCounterVec,
    pub(crate) clients: ClientMetrics,
}

impl SessionMetrics {
    /// Registers and documents all of them.
    ///
    /// # Errors
    ///
    /// When another metric has one of the names.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricError> {
        let events = metrics.counters(&EVENTS)?;
        // At 0 from the start: a counter that appears with its first event has no increase that an alert could see.
        events.with_label_values(&["refused"]);
        Ok(Self {
            connections: metrics.gauge(&CONNECTIONS)?,
            connections_total: metrics.counters(&CONNECTIONS_TOTAL)?,
            sessions_ended: metrics.counters(&ENDED)?,
            frames: metrics.counters(&FRAMES)?,
            received_bytes: metrics.counter(&RECEIVED_BYTES)?,
            sent_bytes: metrics.counter(&SENT_BYTES)?,
            accepted: events.with_label_values(&["accepted"]),
            events,
            refused: metrics.counters(&REFUSED)?,
            batches: metrics.counters(&BATCHES)?,
            lossy_batches: metrics.counter(&LOSSY_BATCHES)?,
            publish_seconds: metrics.histogram(&PUBLISH)?,
            gather_frames: metrics.histogram(&GATHER)?,
            budget_bytes: metrics.gauge(&BUDGET)?,
            decompressed_bytes: metrics.gauge(&DECOMPRESSED)?,
            viewers: metrics.gauge(&VIEWERS)?,
            live_events: metrics.counter(&LIVE_EVENTS)?,
            live_missed: metrics.counter(&LIVE_MISSED)?,
            questions: metrics.counters(&QUESTIONS)?,
            clients: ClientMetrics::register(metrics)?,
        })
    }
}

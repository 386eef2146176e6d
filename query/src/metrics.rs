//! What a query service measures.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge};
use reflow_tracing_bus::{Side, directory_metrics};
use reflow_tracing_service::metrics::{MetricDoc, MetricError, Metrics, SECONDS_BUCKETS};

const QUESTIONS: MetricDoc = MetricDoc::counter(
    "reflow_query_questions_total",
    &["kind", "result"],
    "questions to history, by what was asked and whether it was answered, refused (the client's fault) or failed (ours)",
);
const SECONDS: MetricDoc = MetricDoc::histogram(
    "reflow_query_question_seconds",
    &["kind"],
    SECONDS_BUCKETS,
    "time from a question to the first byte of its answer",
);
const BYTES: MetricDoc =
    MetricDoc::counter("reflow_query_answer_bytes_total", &[], "bytes of answers whose frame was ready to be sent");
const RUNNING: MetricDoc = MetricDoc::gauge("reflow_query_questions_running", &[], "questions being answered");

/// Everything this crate measures.
pub fn query_metrics() -> Vec<MetricDoc> {
    let own = [QUESTIONS, SECONDS, BYTES, RUNNING];
    own.into_iter().chain(Side::Tails.metrics()).chain(directory_metrics()).collect()
}

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With an answer, also when that is "there is no such trace".
    Answered,
    /// The client asked for what it cannot have.
    Refused,
    /// The store or this service failed.
    Failed,
}

impl Outcome {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Counters of one query service.
#[derive(Clone)]
pub struct QueryMetrics {
    questions: IntCounterVec,
    seconds: HistogramVec,
    bytes: IntCounter,
    running: IntGauge,
}

/// Counts a question as running while it lives.
pub(crate) struct Running(IntGauge);

impl QueryMetrics {
    /// Registers them.
    ///
    /// # Errors
    ///
    /// When one of the names is taken by another kind of metric.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricError> {
        Ok(Self {
            questions: metrics.counters(&QUESTIONS)?,
            seconds: metrics.histograms(&SECONDS)?,
            bytes: metrics.counter(&BYTES)?,
            running: metrics.gauge(&RUNNING)?,
        })
    }

    pub(crate) fn running(&self) -> Running {
        self.running.inc();
        Running(self.running.clone())
    }

    pub(crate) fn answered(&self, kind: &'static str, outcome: Outcome, took: Duration) {
        self.questions.with_label_values(&[kind, outcome.label()]).inc();
        self.seconds.with_label_values(&[kind]).observe(took.as_secs_f64());
    }

    pub(crate) fn bytes(&self, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

//! What a query service measures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge};
use reflow_tracing_bus::BusStats;
use reflow_tracing_service::metrics::{MetricDoc, MetricError, Metrics, SECONDS_BUCKETS};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

/// Between two looks at the counts of the bus.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

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

type Read = fn(&BusStats) -> &AtomicU64;

const TAIL_COUNTERS: [(MetricDoc, Read); 4] = [
    (
        MetricDoc::counter("reflow_bus_reconnects_total", &[], "connections to the bus made again after a loss"),
        |stats| &stats.reconnects,
    ),
    (MetricDoc::counter("reflow_bus_tail_chunks_total", &[], "chunks put into live tails"), |stats| &stats.tail_chunks),
    (
        MetricDoc::counter(
            "reflow_bus_tail_missed_chunks_total",
            &[],
            "chunks that live tails are known to have missed",
        ),
        |stats| &stats.tail_missed,
    ),
    (
        MetricDoc::counter(
            "reflow_bus_tail_gaps_total",
            &[],
            "times that live tails missed nobody knows how many chunks",
        ),
        |stats| &stats.tail_gaps,
    ),
];

const TAILS: MetricDoc = MetricDoc::gauge("reflow_bus_tails", &[], "live tails open");

/// Everything this crate measures.
pub fn query_metrics() -> Vec<MetricDoc> {
    let bus = TAIL_COUNTERS.iter().map(|(doc, _)| *doc);
    [QUESTIONS, SECONDS, BYTES, RUNNING, TAILS].into_iter().chain(bus).collect()
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
        let result = match outcome {
            Outcome::Answered => "answered",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        };
        self.questions.with_label_values(&[kind, result]).inc();
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

/// Takes over what the bus counts of its tails.
pub(crate) struct TailSampler {
    bus: Arc<BusStats>,
    counters: Vec<(IntCounter, Read)>,
    tails: IntGauge,
}

impl TailSampler {
    pub fn register(metrics: &Metrics, bus: Arc<BusStats>) -> Result<Self, MetricError> {
        let counters = TAIL_COUNTERS.iter().map(|(doc, read)| Ok((metrics.counter(doc)?, *read)));
        Ok(Self { counters: counters.collect::<Result<_, MetricError>>()?, tails: metrics.gauge(&TAILS)?, bus })
    }

    /// Samples until `stop`, and once more then.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.sample();
        }
        self.sample();
    }

    fn sample(&self) {
        for (counter, read) in &self.counters {
            counter.inc_by(read(&self.bus).load(Relaxed).saturating_sub(counter.get()));
        }
        self.tails.set(i64::try_from(self.bus.tails.load(Relaxed)).unwrap_or(i64::MAX));
    }
}

/// The answer to `GetMetrics`: every counter and gauge by name, or by name and labels where it has some. Histograms are told
/// by count and sum. What was not measured is not there.
pub fn figures(metrics: &Metrics) -> Value {
    let mut out = Map::new();
    for family in metrics.registry().gather() {
        for metric in family.get_metric() {
            let labels: Vec<String> =
                metric.get_label().iter().map(|label| format!("{}={}", label.name(), label.value())).collect();
            let name = match labels.is_empty() {
                true => family.name().to_owned(),
                false => format!("{}{{{}}}", family.name(), labels.join(",")),
            };
            let value = match family.get_field_type() {
                prometheus::proto::MetricType::COUNTER => json!(metric.get_counter().get_value()),
                prometheus::proto::MetricType::GAUGE => json!(metric.get_gauge().get_value()),
                prometheus::proto::MetricType::HISTOGRAM => {
                    let histogram = metric.get_histogram();
                    json!({"count": histogram.get_sample_count(), "sum": histogram.get_sample_sum()})
                }
                _ => continue,
            };
            out.insert(name, value);
        }
    }
    Value::Object(out)
}

//! What a writer measures.
//!
//! Guarantee: a gauge that could not be measured has no value, rather than zero or its last one.

use std::time::Duration;

use prometheus::{GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use reflow_tracing_bus::{Lag, Side};
use reflow_tracing_service::metrics::{COUNT_BUCKETS, MetricDoc, MetricError, Metrics, SECONDS_BUCKETS};
use reflow_tracing_store::{CommitOutcome, CompactOutcome, RetentionOutcome, StoreStats};

const COMMITS: MetricDoc = MetricDoc::counter(
    "reflow_writer_commits_total",
    &["result"],
    "transactions by result: ok, or the kind of error (unavailable, full, rejected, schema, locked, corrupt, timeout)",
);
const COMMIT_SECONDS: MetricDoc =
    MetricDoc::histogram("reflow_writer_commit_seconds", &[], SECONDS_BUCKETS, "time of a transaction");
const COMMIT_CHUNKS: MetricDoc =
    MetricDoc::histogram("reflow_writer_commit_chunks", &[], COUNT_BUCKETS, "chunks in a transaction");
const CHUNKS: MetricDoc = MetricDoc::counter("reflow_writer_stored_chunks_total", &[], "chunks stored, each once");
const EVENTS: MetricDoc = MetricDoc::counter("reflow_writer_stored_events_total", &[], "events stored");
const BYTES: MetricDoc =
    MetricDoc::counter("reflow_writer_committed_bytes_total", &[], "bytes of chunks committed, as on the bus");
const ROWS: MetricDoc = MetricDoc::counter("reflow_writer_stored_rows_total", &[], "rows written, all tables");
const DUPLICATES: MetricDoc =
    MetricDoc::counter("reflow_writer_duplicate_chunks_total", &[], "chunks that had been stored before: no harm");
const REDELIVERIES: MetricDoc =
    MetricDoc::counter("reflow_writer_redelivered_chunks_total", &[], "deliveries that were not a chunk's first");
const NAKS: MetricDoc = MetricDoc::counter(
    "reflow_writer_naks_total",
    &["reason"],
    "chunks given back for later: store (it is away), failing (this chunk), dead_letters (they cannot be written)",
);
const DEAD: MetricDoc = MetricDoc::counter(
    "reflow_writer_dead_letters_total",
    &["reason"],
    "chunks moved to the dead letters: undecodable, rejected (by the store), failing (while others are stored)",
);
const ANSWERS_LOST: MetricDoc = MetricDoc::counter(
    "reflow_writer_answers_lost_total",
    &[],
    "acks, naks and terminations that did not reach the bus: those chunks come again",
);
const PULL_ERRORS: MetricDoc =
    MetricDoc::counter("reflow_writer_pull_errors_total", &[], "times that the bus could not be asked for chunks");
const STORE_AWAY: MetricDoc =
    MetricDoc::gauge("reflow_writer_store_away", &[], "1 while the store takes nothing, so that pulling is paused");
const LAG_MESSAGES: MetricDoc =
    MetricDoc::gauge("reflow_bus_lag_messages", &[], "chunks in the bus that no writer has acknowledged");
const LAG_BYTES: MetricDoc = MetricDoc::gauge("reflow_bus_lag_bytes", &[], "bytes of them");
const LIMIT_BYTES: MetricDoc = MetricDoc::gauge(
    "reflow_bus_limit_bytes",
    &[],
    "bytes of chunks that fit into the bus; at that, sessions wait and clients are pushed back",
);
const LAG_OLDEST: MetricDoc =
    MetricDoc::gauge("reflow_bus_lag_oldest_seconds", &[], "age of the oldest of them; no value while there is none");
const DEAD_KEPT: MetricDoc = MetricDoc::gauge("reflow_bus_dead_letters", &[], "dead letters kept");
const STORE_ROWS: MetricDoc = MetricDoc::gauge("reflow_store_rows", &["table"], "rows in the store");
const STORE_BYTES: MetricDoc =
    MetricDoc::gauge("reflow_store_size_bytes", &[], "bytes of the store, tables and indexes");
const STORE_TRACES: MetricDoc = MetricDoc::gauge("reflow_store_traces", &[], "traces in the store");
const STORE_EVENTS: MetricDoc =
    MetricDoc::gauge("reflow_store_events", &[], "events counted over all traces in the store");
const NEWEST_AGE: MetricDoc = MetricDoc::gauge(
    "reflow_store_newest_age_seconds",
    &[],
    "how long ago the newest stored chunk was received, when the store was last looked at",
);
const COMPACTED: MetricDoc = MetricDoc::counter(
    "reflow_writer_compaction_total",
    &["what"],
    "work of compaction: traces, chunks_removed, chunks_written, duplicate_events (sent twice, now once)",
);
const RETAINED: MetricDoc = MetricDoc::counter(
    "reflow_writer_retention_removed_total",
    &["what"],
    "what retention removed: chunks, traces, bytes, seen (remembered chunk ids)",
);
const TASK_RUNS: MetricDoc = MetricDoc::counter(
    "reflow_writer_task_runs_total",
    &["task", "result"],
    "background runs of compaction, retention, lag and stats by result: ok, error, panic",
);
const TASK_SECONDS: MetricDoc =
    MetricDoc::histogram("reflow_writer_task_seconds", &["task"], SECONDS_BUCKETS, "time of a background run");

/// Everything this crate measures.
pub fn writer_metrics() -> Vec<MetricDoc> {
    let own = [
        COMMITS,
        COMMIT_SECONDS,
        COMMIT_CHUNKS,
        CHUNKS,
        EVENTS,
        BYTES,
        ROWS,
        DUPLICATES,
        REDELIVERIES,
        NAKS,
        DEAD,
        ANSWERS_LOST,
        PULL_ERRORS,
        STORE_AWAY,
        LAG_MESSAGES,
        LAG_BYTES,
        LIMIT_BYTES,
        LAG_OLDEST,
        DEAD_KEPT,
        STORE_ROWS,
        STORE_BYTES,
        STORE_TRACES,
        STORE_EVENTS,
        NEWEST_AGE,
        COMPACTED,
        RETAINED,
        TASK_RUNS,
        TASK_SECONDS,
    ];
    own.into_iter().chain(Side::Consuming.metrics()).collect()
}

/// Counters and gauges of one writer.
#[derive(Clone)]
pub struct WriterMetrics {
    commits: IntCounterVec,
    commit_seconds: Histogram,
    commit_chunks: Histogram,
    chunks: IntCounter,
    events: IntCounter,
    bytes: IntCounter,
    rows: IntCounter,
    duplicates: IntCounter,
    pub(crate) redeliveries: IntCounter,
    naks: IntCounterVec,
    dead: IntCounterVec,
    pub(crate) answers_lost: IntCounter,
    pub(crate) pull_errors: IntCounter,
    pub(crate) store_away: IntGauge,
    lag: [IntGaugeVec; 4],
    lag_oldest: GaugeVec,
    store_rows: IntGaugeVec,
    store: [IntGaugeVec; 3],
    newest_age: GaugeVec,
    compacted: IntCounterVec,
    retained: IntCounterVec,
    task_runs: IntCounterVec,
    task_seconds: HistogramVec,
}

impl WriterMetrics {
    /// Registers them.
    ///
    /// # Errors
    ///
    /// When one of the names is taken by another kind of metric.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricError> {
        let (commits, dead) = (metrics.counters(&COMMITS)?, metrics.counters(&DEAD)?);
        // At 0 from the start: a counter that appears with its first event has no increase that an alert could see.
        commits.with_label_values(&["full"]);
        for reason in ["undecodable", "rejected", "failing"] {
            dead.with_label_values(&[reason]);
        }
        Ok(Self {
            commits,
            commit_seconds: metrics.histogram(&COMMIT_SECONDS)?,
            commit_chunks: metrics.histogram(&COMMIT_CHUNKS)?,
            chunks: metrics.counter(&CHUNKS)?,
            events: metrics.counter(&EVENTS)?,
            bytes: metrics.counter(&BYTES)?,
            rows: metrics.counter(&ROWS)?,
            duplicates: metrics.counter(&DUPLICATES)?,
            redeliveries: metrics.counter(&REDELIVERIES)?,
            naks: metrics.counters(&NAKS)?,
            dead,
            answers_lost: metrics.counter(&ANSWERS_LOST)?,
            pull_errors: metrics.counter(&PULL_ERRORS)?,
            store_away: metrics.gauge(&STORE_AWAY)?,
            lag: [
                metrics.gauges(&LAG_MESSAGES)?,
                metrics.gauges(&LAG_BYTES)?,
                metrics.gauges(&LIMIT_BYTES)?,
                metrics.gauges(&DEAD_KEPT)?,
            ],
            lag_oldest: seconds_or_nothing(metrics, &LAG_OLDEST)?,
            store_rows: metrics.gauges(&STORE_ROWS)?,
            store: [metrics.gauges(&STORE_BYTES)?, metrics.gauges(&STORE_TRACES)?, metrics.gauges(&STORE_EVENTS)?],
            newest_age: seconds_or_nothing(metrics, &NEWEST_AGE)?,
            compacted: metrics.counters(&COMPACTED)?,
            retained: metrics.counters(&RETAINED)?,
            task_runs: metrics.counters(&TASK_RUNS)?,
            task_seconds: metrics.histograms(&TASK_SECONDS)?,
        })
    }

    pub(crate) fn committed(&self, outcome: &CommitOutcome, chunks: usize, bytes: usize, took: Duration) {
        self.commits.with_label_values(&["ok"]).inc();
        self.commit_seconds.observe(took.as_secs_f64());
        self.commit_chunks.observe(chunks as f64);
        self.chunks.inc_by(outcome.stored as u64);
        self.duplicates.inc_by(outcome.duplicates as u64);
        self.events.inc_by(outcome.events);
        self.rows.inc_by(outcome.rows);
        self.bytes.inc_by(bytes as u64);
    }

    pub(crate) fn commit_failed(&self, result: &'static str) {
        self.commits.with_label_values(&[result]).inc();
    }

    pub(crate) fn nak(&self, reason: &'static str) {
        self.naks.with_label_values(&[reason]).inc();
    }

    pub(crate) fn dead_letter(&self, reason: &'static str) {
        self.dead.with_label_values(&[reason]).inc();
    }

    /// How far the writers are behind; `None` when nobody knows.
    pub(crate) fn lag(&self, lag: Option<&Lag>) {
        for (gauge, value) in self.lag.iter().zip([
            lag.map(|lag| lag.messages),
            lag.map(|lag| lag.bytes),
            lag.and_then(|lag| lag.limit_bytes),
            lag.map(|lag| lag.dead_letters),
        ]) {
            show(gauge, value);
        }
        show_seconds(&self.lag_oldest, lag.and_then(|lag| lag.oldest).map(|age| age.as_secs_f64()));
    }

    /// The size of the store; `None` when nobody knows.
    pub(crate) fn store(&self, stats: Option<&StoreStats>, now_us: i64) {
        self.store_rows.reset();
        for (table, rows) in stats.iter().flat_map(|stats| &stats.rows) {
            self.store_rows.with_label_values(&[*table]).set(whole(*rows));
        }
        for (gauge, value) in self.store.iter().zip([
            stats.map(|stats| stats.bytes),
            stats.map(|stats| stats.traces),
            stats.map(|stats| stats.events),
        ]) {
            show(gauge, value);
        }
        let newest_us = stats.and_then(|stats| stats.newest_received_us);
        show_seconds(&self.newest_age, newest_us.map(|us| now_us.saturating_sub(us).max(0) as f64 / 1e6));
    }

    pub(crate) fn compacted(&self, outcome: &CompactOutcome) {
        for (what, count) in [
            ("traces", outcome.traces as u64),
            ("chunks_removed", outcome.chunks_removed as u64),
            ("chunks_written", outcome.chunks_written as u64),
            ("duplicate_events", outcome.duplicate_events),
        ] {
            self.compacted.with_label_values(&[what]).inc_by(count);
        }
    }

    pub(crate) fn retained(&self, outcome: &RetentionOutcome) {
        for (what, count) in
            [("chunks", outcome.chunks), ("traces", outcome.traces), ("bytes", outcome.bytes), ("seen", outcome.seen)]
        {
            self.retained.with_label_values(&[what]).inc_by(count);
        }
    }

    pub(crate) fn task(&self, task: &'static str, result: &'static str, took: Duration) {
        self.task_runs.with_label_values(&[task, result]).inc();
        self.task_seconds.with_label_values(&[task]).observe(took.as_secs_f64());
    }
}

/// A gauge of fractions that has no value until it is set.
fn seconds_or_nothing(metrics: &Metrics, doc: &MetricDoc) -> Result<GaugeVec, MetricError> {
    let refused = |source| MetricError::Registry { name: doc.name, source };
    doc.check()?;
    let gauge = GaugeVec::new(Opts::new(doc.name, doc.help), doc.labels).map_err(refused)?;
    metrics.registry().register(Box::new(gauge.clone())).map_err(refused)?;
    metrics.document(&[*doc]);
    Ok(gauge)
}

fn show(gauge: &IntGaugeVec, value: Option<u64>) {
    match value {
        Some(value) => gauge.with_label_values::<&str>(&[]).set(whole(value)),
        None => gauge.reset(),
    }
}

fn show_seconds(gauge: &GaugeVec, value: Option<f64>) {
    match value {
        Some(value) => gauge.with_label_values::<&str>(&[]).set(value),
        None => gauge.reset(),
    }
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

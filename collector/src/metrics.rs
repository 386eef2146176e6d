//! What a collector measures beside its sessions: the bus and the directory.
//!
//! Both count by themselves; the counts are taken over once a second, so that nothing in the path of an event waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus::{IntCounter, IntGauge};
use reflow_tracing_bus::{BusStats, Directory, DirectoryStats};
use reflow_tracing_service::metrics::{MetricDoc, MetricError, Metrics};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

/// Between two looks at the counts.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

type Read<S> = fn(&S) -> &AtomicU64;

const BUS_COUNTERS: [(MetricDoc, Read<BusStats>); 9] = [
    (
        MetricDoc::counter("reflow_bus_published_chunks_total", &[], "chunks whose publish the bus acknowledged"),
        |stats| &stats.published,
    ),
    (MetricDoc::counter("reflow_bus_published_bytes_total", &[], "bytes of them, as on the bus"), |stats| {
        &stats.published_bytes
    }),
    (MetricDoc::counter("reflow_bus_publish_retries_total", &[], "attempts to publish after the first"), |stats| {
        &stats.publish_retries
    }),
    (MetricDoc::counter("reflow_bus_full_waits_total", &[], "publishes that found the bus full and waited"), |stats| {
        &stats.full_waits
    }),
    (
        MetricDoc::counter("reflow_bus_duplicate_chunks_total", &[], "publishes that the bus had already: no harm"),
        |stats| &stats.duplicates,
    ),
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

const BUS_GAUGES: [(MetricDoc, Read<BusStats>); 2] = [
    (MetricDoc::gauge("reflow_bus_publishing_chunks", &[], "publishes under way"), |stats| &stats.publishing),
    (MetricDoc::gauge("reflow_bus_tails", &[], "live tails open"), |stats| &stats.tails),
];

const DIRECTORY_COUNTERS: [(MetricDoc, Read<DirectoryStats>); 5] = [
    (
        MetricDoc::counter(
            "reflow_directory_cache_hits_total",
            &[],
            "flows of traces found in the process's own cache",
        ),
        |stats| &stats.cache_hits,
    ),
    (MetricDoc::counter("reflow_directory_shared_hits_total", &[], "flows of traces found in Redis"), |stats| {
        &stats.shared_hits
    }),
    (MetricDoc::counter("reflow_directory_misses_total", &[], "flows of traces that nobody knew"), |stats| {
        &stats.misses
    }),
    (
        MetricDoc::counter("reflow_directory_skipped_total", &[], "calls that did without Redis because it was down"),
        |stats| &stats.skipped,
    ),
    (
        MetricDoc::counter("reflow_directory_errors_total", &[], "calls to Redis that failed or took too long"),
        |stats| &stats.errors,
    ),
];

const DEGRADED: MetricDoc = MetricDoc::gauge(
    "reflow_directory_degraded",
    &[],
    "1 while Redis is down and the process's own cache answers alone",
);

/// Everything this crate measures.
pub fn collector_metrics() -> Vec<MetricDoc> {
    let bus = BUS_COUNTERS.iter().chain(&BUS_GAUGES).map(|(doc, _)| *doc);
    bus.chain(DIRECTORY_COUNTERS.iter().map(|(doc, _)| *doc)).chain([DEGRADED]).collect()
}

/// Takes over the counts of a bus and a directory.
pub struct Sampler {
    bus: Arc<BusStats>,
    directory: Arc<dyn Directory>,
    bus_counters: Vec<(IntCounter, Read<BusStats>)>,
    bus_gauges: Vec<(IntGauge, Read<BusStats>)>,
    directory_counters: Vec<(IntCounter, Read<DirectoryStats>)>,
    degraded: IntGauge,
}

impl Sampler {
    /// Registers the metrics.
    ///
    /// # Errors
    ///
    /// When one of the names is taken by another kind of metric.
    pub fn register(metrics: &Metrics, bus: Arc<BusStats>, directory: Arc<dyn Directory>) -> Result<Self, MetricError> {
        let bus_counters = BUS_COUNTERS.iter().map(|(doc, read)| Ok((metrics.counter(doc)?, *read)));
        let bus_gauges = BUS_GAUGES.iter().map(|(doc, read)| Ok((metrics.gauge(doc)?, *read)));
        let directory_counters = DIRECTORY_COUNTERS.iter().map(|(doc, read)| Ok((metrics.counter(doc)?, *read)));
        Ok(Self {
            bus_counters: bus_counters.collect::<Result<_, MetricError>>()?,
            bus_gauges: bus_gauges.collect::<Result<_, MetricError>>()?,
            directory_counters: directory_counters.collect::<Result<_, MetricError>>()?,
            degraded: metrics.gauge(&DEGRADED)?,
            bus,
            directory,
        })
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
        for (counter, read) in &self.bus_counters {
            raise(counter, read(&self.bus));
        }
        for (gauge, read) in &self.bus_gauges {
            gauge.set(i64::try_from(read(&self.bus).load(Relaxed)).unwrap_or(i64::MAX));
        }
        let stats = self.directory.stats();
        for (counter, read) in &self.directory_counters {
            raise(counter, read(stats));
        }
        self.degraded.set(stats.degraded.load(Relaxed).into());
    }
}

fn raise(counter: &IntCounter, count: &AtomicU64) {
    counter.inc_by(count.load(Relaxed).saturating_sub(counter.get()));
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

#[cfg(test)]
mod tests {
    use reflow_tracing_bus::{DirectoryOptions, MemoryDirectory};

    use super::*;

    #[tokio::test]
    async fn counts_are_taken_over_and_told() {
        let metrics = Metrics::try_new("test").unwrap();
        let bus = Arc::new(BusStats::default());
        let directory = Arc::new(MemoryDirectory::new(DirectoryOptions::default()));
        let sampler = Sampler::register(&metrics, bus.clone(), directory).unwrap();
        bus.published.store(3, Relaxed);
        bus.tails.store(2, Relaxed);
        sampler.sample();
        bus.published.store(5, Relaxed);
        let stop = CancellationToken::new();
        stop.cancel();
        sampler.run(stop).await;
        let figures = figures(&metrics);
        assert_eq!(
            (&figures["reflow_bus_published_chunks_total"], &figures["reflow_bus_tails"]),
            (&json!(5.0), &json!(2.0))
        );
        assert!(metrics.undocumented().is_empty(), "{:?}", metrics.undocumented());
        for doc in collector_metrics() {
            assert!(doc.check().is_ok(), "{}", doc.name);
        }
    }
}

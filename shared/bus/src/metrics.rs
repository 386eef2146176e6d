//! The metrics of the bus and of the trace directory: declared here once, exported by each service for the side it uses.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus::IntGauge;
use reflow_tracing_service::metrics::{Count, Counts, MetricDoc, MetricError, Metrics, sample};
use tokio_util::sync::CancellationToken;

use crate::{BusStats, Directory, DirectoryStats};

/// What a service does with the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Publishes chunks.
    Publishing,
    /// Pulls chunks to store them.
    Consuming,
    /// Shows chunks live.
    Tails,
}

impl Side {
    fn counts(self) -> &'static [Count<BusStats>] {
        match self {
            Self::Publishing => &PUBLISHING,
            Self::Consuming => &CONSUMING,
            Self::Tails => &TAILS,
        }
    }

    /// What is exported for it.
    pub fn metrics(self) -> impl Iterator<Item = MetricDoc> {
        self.counts().iter().chain(&LINK).map(|(doc, _)| *doc)
    }
}

/// What is exported of a directory.
pub fn directory_metrics() -> impl Iterator<Item = MetricDoc> {
    DIRECTORY.iter().map(|(doc, _)| *doc).chain([DEGRADED])
}

/// Takes over what the bus counts.
pub struct BusSampler {
    stats: Arc<BusStats>,
    counts: Counts<BusStats>,
}

impl BusSampler {
    /// Registers the metrics of the sides that a service uses.
    ///
    /// # Errors
    ///
    /// When one of the names is taken by another kind of metric.
    pub fn register(metrics: &Metrics, stats: Arc<BusStats>, sides: &[Side]) -> Result<Self, MetricError> {
        let counts = sides.iter().flat_map(|side| side.counts()).chain(&LINK);
        Ok(Self { stats, counts: Counts::register(metrics, counts)? })
    }

    /// Samples until `stop`, and once more then.
    pub async fn run(self, stop: CancellationToken) {
        sample(|| self.counts.take(&self.stats), stop).await;
    }
}

/// Takes over what a directory counts.
pub struct DirectorySampler {
    directory: Arc<dyn Directory>,
    counts: Counts<DirectoryStats>,
    degraded: IntGauge,
}

impl DirectorySampler {
    /// Registers the metrics.
    ///
    /// # Errors
    ///
    /// When one of the names is taken by another kind of metric.
    pub fn register(metrics: &Metrics, directory: Arc<dyn Directory>) -> Result<Self, MetricError> {
        Ok(Self { directory, counts: Counts::register(metrics, &DIRECTORY)?, degraded: metrics.gauge(&DEGRADED)? })
    }

    /// Samples until `stop`, and once more then.
    pub async fn run(self, stop: CancellationToken) {
        let take = || {
            let stats = self.directory.stats();
            self.counts.take(stats);
            self.degraded.set(stats.degraded.load(Relaxed).into());
        };
        sample(take, stop).await;
    }
}

const LINK: [Count<BusStats>; 1] = [(
    MetricDoc::counter("reflow_bus_reconnects_total", &[], "connections to the bus made again after a loss"),
    |stats| &stats.reconnects,
)];

const PUBLISHING: [Count<BusStats>; 6] = [
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
    (MetricDoc::gauge("reflow_bus_publishing_chunks", &[], "publishes under way"), |stats| &stats.publishing),
];

const CONSUMING: [Count<BusStats>; 4] = [
    (MetricDoc::counter("reflow_bus_delivered_chunks_total", &[], "deliveries taken from the bus"), |stats| {
        &stats.delivered
    }),
    (MetricDoc::counter("reflow_bus_delivered_bytes_total", &[], "bytes of them"), |stats| &stats.delivered_bytes),
    (
        MetricDoc::counter("reflow_bus_pull_retries_total", &[], "requests for chunks that were lost and made again"),
        |stats| &stats.pull_retries,
    ),
    (
        MetricDoc::counter(
            "reflow_bus_repairs_total",
            &[],
            "times that streams or consumer were gone and declared again",
        ),
        |stats| &stats.repairs,
    ),
];

const TAILS: [Count<BusStats>; 4] = [
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
    (MetricDoc::gauge("reflow_bus_tails", &[], "live tails open"), |stats| &stats.tails),
];

const DIRECTORY: [Count<DirectoryStats>; 5] = [
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DirectoryOptions, MemoryDirectory};

    #[tokio::test]
    async fn counts_are_taken_over_and_told() {
        let metrics = Metrics::try_new("test").unwrap();
        let bus = Arc::new(BusStats::default());
        let directory = Arc::new(MemoryDirectory::new(DirectoryOptions::default()));
        let sides = [Side::Publishing, Side::Consuming, Side::Tails];
        let sampler = BusSampler::register(&metrics, bus.clone(), &sides).unwrap();
        let directory = DirectorySampler::register(&metrics, directory).unwrap();
        bus.published.store(3, Relaxed);
        bus.tails.store(2, Relaxed);
        sampler.counts.take(&bus);
        bus.published.store(5, Relaxed);
        let stop = CancellationToken::new();
        stop.cancel();
        sampler.run(stop.clone()).await;
        directory.run(stop).await;
        let figures = metrics.figures();
        assert_eq!(
            (&figures["reflow_bus_published_chunks_total"], &figures["reflow_bus_tails"]),
            (&5.0.into(), &2.0.into())
        );
        assert_eq!(figures["reflow_directory_degraded"], 0.0);
        assert!(metrics.undocumented().is_empty(), "{:?}", metrics.undocumented());
        for doc in sides.into_iter().flat_map(Side::metrics).chain(directory_metrics()) {
            assert!(doc.check().is_ok(), "{}", doc.name);
        }
    }
}

//! The metrics of the bus and of the trace directory: declared here once, exported by each service for the side it uses.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use reflow_tracing_service::metrics::{Count, MetricDoc, MetricError, Metrics};

use crate::{BusStats, Directory};

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
    DIRECTORY.iter().map(|(doc, _)| *doc)
}

/// Exports what the bus counts, for the sides that a service uses.
///
/// # Errors
///
/// When one of the names is taken.
pub fn watch_bus(metrics: &Metrics, stats: Arc<BusStats>, sides: &[Side]) -> Result<(), MetricError> {
    metrics.watch_counts(stats, sides.iter().flat_map(|side| side.counts()).chain(&LINK).copied())
}

/// Exports what a directory counts.
///
/// # Errors
///
/// When one of the names is taken.
pub fn watch_directory(metrics: &Metrics, directory: Arc<dyn Directory>) -> Result<(), MetricError> {
    metrics.watch_counts(directory, DIRECTORY)
}

const LINK: [Count<BusStats>; 1] = [(
    MetricDoc::counter("reflow_bus_reconnects_total", &[], "connections to the bus made again after a loss"),
    |stats| stats.reconnects.load(Relaxed),
)];

const PUBLISHING: [Count<BusStats>; 6] = [
    (
        MetricDoc::counter("reflow_bus_published_chunks_total", &[], "chunks whose publish the bus acknowledged"),
        |stats| stats.published.load(Relaxed),
    ),
    (MetricDoc::counter("reflow_bus_published_bytes_total", &[], "bytes of them, as on the bus"), |stats| {
        stats.published_bytes.load(Relaxed)
    }),
    (MetricDoc::counter("reflow_bus_publish_retries_total", &[], "attempts to publish after the first"), |stats| {
        stats.publish_retries.load(Relaxed)
    }),
    (MetricDoc::counter("reflow_bus_full_waits_total", &[], "publishes that found the bus full and waited"), |stats| {
        stats.full_waits.load(Relaxed)
    }),
    (
        MetricDoc::counter("reflow_bus_duplicate_chunks_total", &[], "publishes that the bus had already: no harm"),
        |stats| stats.duplicates.load(Relaxed),
    ),
    (MetricDoc::gauge("reflow_bus_publishing_chunks", &[], "publishes under way"), |stats| {
        stats.publishing.load(Relaxed)
    }),
];

const CONSUMING: [Count<BusStats>; 4] = [
    (MetricDoc::counter("reflow_bus_delivered_chunks_total", &[], "deliveries taken from the bus"), |stats| {
        stats.delivered.load(Relaxed)
    }),
    (MetricDoc::counter("reflow_bus_delivered_bytes_total", &[], "bytes of them"), |stats| {
        stats.delivered_bytes.load(Relaxed)
    }),
    (
        MetricDoc::counter("reflow_bus_pull_retries_total", &[], "requests for chunks that were lost and made again"),
        |stats| stats.pull_retries.load(Relaxed),
    ),
    (
        MetricDoc::counter(
            "reflow_bus_repairs_total",
            &[],
            "times that streams or consumer were gone and declared again",
        ),
        |stats| stats.repairs.load(Relaxed),
    ),
];

const TAILS: [Count<BusStats>; 4] = [
    (MetricDoc::counter("reflow_bus_tail_chunks_total", &[], "chunks put into live tails"), |stats| {
        stats.tail_chunks.load(Relaxed)
    }),
    (
        MetricDoc::counter(
            "reflow_bus_tail_missed_chunks_total",
            &[],
            "chunks that live tails are known to have missed",
        ),
        |stats| stats.tail_missed.load(Relaxed),
    ),
    (
        MetricDoc::counter(
            "reflow_bus_tail_gaps_total",
            &[],
            "times that live tails missed nobody knows how many chunks",
        ),
        |stats| stats.tail_gaps.load(Relaxed),
    ),
    (MetricDoc::gauge("reflow_bus_tails", &[], "live tails open"), |stats| stats.tails.load(Relaxed)),
];

const DIRECTORY: [Count<dyn Directory>; 6] = [
    (
        MetricDoc::counter(
            "reflow_directory_cache_hits_total",
            &[],
            "flows of traces found in the process's own cache",
        ),
        |directory| directory.stats().cache_hits.load(Relaxed),
    ),
    (MetricDoc::counter("reflow_directory_shared_hits_total", &[], "flows of traces found in Redis"), |directory| {
        directory.stats().shared_hits.load(Relaxed)
    }),
    (MetricDoc::counter("reflow_directory_misses_total", &[], "flows of traces that nobody knew"), |directory| {
        directory.stats().misses.load(Relaxed)
    }),
    (
        MetricDoc::counter("reflow_directory_skipped_total", &[], "calls that did without Redis because it was down"),
        |directory| directory.stats().skipped.load(Relaxed),
    ),
    (
        MetricDoc::counter("reflow_directory_errors_total", &[], "calls to Redis that failed or took too long"),
        |directory| directory.stats().errors.load(Relaxed),
    ),
    (
        MetricDoc::gauge(
            "reflow_directory_degraded",
            &[],
            "1 while Redis is down and the process's own cache answers alone",
        ),
        |directory| directory.stats().degraded.load(Relaxed).into(),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DirectoryOptions, MemoryDirectory};

    #[test]
    fn counts_are_told_as_they_are_when_asked() {
        let metrics = Metrics::try_new("test").unwrap();
        let bus = Arc::new(BusStats::default());
        let sides = [Side::Publishing, Side::Consuming, Side::Tails];
        watch_bus(&metrics, bus.clone(), &sides).unwrap();
        watch_directory(&metrics, Arc::new(MemoryDirectory::new(DirectoryOptions::default()))).unwrap();
        for (published, tails) in [(3, 2), (5, 0)] {
            bus.published.store(published, Relaxed);
            bus.tails.store(tails, Relaxed);
            let figures = metrics.figures();
            assert_eq!(figures["reflow_bus_published_chunks_total"], published as f64);
            assert_eq!(figures["reflow_bus_tails"], tails as f64);
        }
        assert_eq!(metrics.figures()["reflow_directory_degraded"], 0.0);
        assert!(metrics.undocumented().is_empty(), "{:?}", metrics.undocumented());
        for doc in sides.into_iter().flat_map(Side::metrics).chain(directory_metrics()) {
            assert!(doc.check().is_ok(), "{}", doc.name);
        }
    }
}

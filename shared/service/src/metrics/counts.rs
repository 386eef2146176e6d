//! Counts that a library keeps in atomics, read when somebody scrapes: nothing in the path of an event waits for it, and no
//! figure is older than its scrape.

use std::{collections::HashMap, sync::Arc};

use prometheus::{
    IntCounter, IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::{MetricDoc, MetricKind};

/// A counter or gauge without labels, and how its value is read.
pub type Count<S> = (MetricDoc, fn(&S) -> u64);

pub(super) struct CountsCollector<S: ?Sized> {
    source: Arc<S>,
    counts: Vec<(Count<S>, Desc)>,
}

impl<S: ?Sized> CountsCollector<S> {
    pub fn try_new(source: Arc<S>, counts: Vec<Count<S>>) -> Result<Self, prometheus::Error> {
        let described = |count: Count<S>| {
            let (name, help) = (count.0.name.to_owned(), count.0.help.to_owned());
            Ok((count, Desc::new(name, help, Vec::new(), HashMap::new())?))
        };
        Ok(Self { source, counts: counts.into_iter().map(described).collect::<Result<_, prometheus::Error>>()? })
    }
}

impl<S: ?Sized + Send + Sync> Collector for CountsCollector<S> {
    fn desc(&self) -> Vec<&Desc> {
        self.counts.iter().map(|(_, desc)| desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.counts.iter().flat_map(|((doc, read), _)| told(doc, read(&self.source)).unwrap_or_default()).collect()
    }
}

/// Made for this scrape alone: the count has its place elsewhere, and two scrapes at once cannot add it twice. Fails only for
/// names that [`Desc::new`] refuses as well.
fn told(doc: &MetricDoc, value: u64) -> Result<Vec<MetricFamily>, prometheus::Error> {
    if doc.kind == MetricKind::Gauge {
        let gauge = IntGauge::new(doc.name, doc.help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        return Ok(gauge.collect());
    }
    let counter = IntCounter::new(doc.name, doc.help)?;
    counter.inc_by(value);
    Ok(counter.collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::super::Metrics;
    use super::*;

    const COUNTS: [Count<[AtomicU64; 2]>; 2] = [
        (MetricDoc::counter("reflow_seen_total", &[], "seen"), |both| both[0].load(Relaxed)),
        (MetricDoc::gauge("reflow_open_sessions", &[], "open"), |both| both[1].load(Relaxed)),
    ];

    #[test]
    fn counts_are_told_as_they_are_at_each_scrape() {
        let metrics = Metrics::try_new("test").unwrap();
        let both = Arc::new([AtomicU64::new(3), AtomicU64::new(2)]);
        metrics.watch_counts(both.clone(), COUNTS).unwrap();
        for (seen, open) in [(3, 2), (7, 0)] {
            both[0].store(seen, Relaxed);
            both[1].store(open, Relaxed);
            for _ in 0..2 {
                let text = metrics.render().unwrap();
                assert!(text.contains("# TYPE reflow_seen_total counter\n"), "{text}");
                assert!(text.contains(&format!("\nreflow_seen_total {seen}\n")), "{text}");
                assert!(text.contains(&format!("\nreflow_open_sessions {open}\n")), "{text}");
            }
        }
        assert!(metrics.undocumented().is_empty());
        assert!(metrics.watch_counts(both, COUNTS).is_err(), "one name, two places");
    }
}

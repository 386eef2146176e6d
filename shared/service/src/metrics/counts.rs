//! Counts that a library keeps in atomics, taken over into metrics once a second: nothing in the path of an event waits for it.
//!
//! Guarantee: a counter never goes back; after the end there is one more look, so that nothing is left untold.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus::{IntCounter, IntGauge};
use tokio_util::sync::CancellationToken;

use super::{MetricDoc, MetricError, MetricKind, Metrics};

/// Between two looks at the counts.
const INTERVAL: Duration = Duration::from_secs(1);

/// A metric, and where its value is kept.
pub type Count<S> = (MetricDoc, Read<S>);

type Read<S> = fn(&S) -> &AtomicU64;

/// The metrics of a set of counts `S`.
pub struct Counts<S> {
    counters: Vec<(IntCounter, Read<S>)>,
    gauges: Vec<(IntGauge, Read<S>)>,
}

impl<S: 'static> Counts<S> {
    /// Registers counters and gauges (whatever each is declared as).
    ///
    /// # Errors
    ///
    /// When one of the names is taken by another kind of metric.
    pub fn register<'a>(
        metrics: &Metrics,
        counts: impl IntoIterator<Item = &'a Count<S>>,
    ) -> Result<Self, MetricError> {
        let mut registered = Self { counters: Vec::new(), gauges: Vec::new() };
        for (doc, read) in counts {
            match doc.kind {
                MetricKind::Gauge => registered.gauges.push((metrics.gauge(doc)?, *read)),
                _ => registered.counters.push((metrics.counter(doc)?, *read)),
            }
        }
        Ok(registered)
    }

    /// Takes over what was counted so far.
    pub fn take(&self, counts: &S) {
        for (counter, read) in &self.counters {
            counter.inc_by(read(counts).load(Relaxed).saturating_sub(counter.get()));
        }
        for (gauge, read) in &self.gauges {
            gauge.set(i64::try_from(read(counts).load(Relaxed)).unwrap_or(i64::MAX));
        }
    }
}

/// Calls `take` every second until `stop`, and once more then.
pub async fn sample(take: impl Fn(), stop: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        take();
    }
    take();
}

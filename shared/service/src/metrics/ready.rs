//! Whether the service is ready, asked when somebody scrapes: the gauge can never differ from what `/readyz` answers.

use prometheus::{
    IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::MetricDoc;
use crate::readiness::Readiness;

/// The gauge.
pub const READY: MetricDoc =
    MetricDoc::gauge("reflow_service_ready", &[], "1 while `/readyz` says yes; 0 during the start and from a drain on");

pub(super) struct ReadyCollector {
    readiness: Readiness,
    ready: IntGauge,
}

impl ReadyCollector {
    pub fn try_new(readiness: Readiness) -> Result<Self, prometheus::Error> {
        Ok(Self { readiness, ready: IntGauge::new(READY.name, READY.help)? })
    }
}

impl Collector for ReadyCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.ready.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.ready.set(self.readiness.is_ready().into());
        self.ready.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn the_gauge_says_what_readyz_says() {
        let (metrics, readiness) = (Metrics::try_new("test").unwrap(), Readiness::new());
        metrics.watch_readiness(&readiness).unwrap();
        let told = |value| metrics.render().unwrap().contains(&format!("\n{} {value}\n", READY.name));
        let latch = readiness.latch("bus");
        assert!(told(0));
        latch.set();
        assert!(told(1));
        readiness.drain();
        assert!(told(0) && metrics.undocumented().is_empty());
    }
}

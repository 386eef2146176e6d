//! Metrics: each is declared once as a [`MetricDoc`], and registered from it, so that the documentation cannot differ.
//!
//! A crate lists its metrics as constants; the list is the table in the documentation, and [`Metrics::undocumented`]
//! compares it with what is exported. Registering the same metric twice gives the same one: in the one-process program
//! three services share a registry. Names end in their unit, counters in `_total`; a name that does not is refused.

mod counts;
mod disk;
mod doc;
mod figures;
mod process;
mod ready;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};

pub use counts::Count;
pub use disk::DISK_METRICS;
pub use doc::{BYTES_BUCKETS, COUNT_BUCKETS, MetricDoc, MetricKind, SECONDS_BUCKETS, metrics_table};
pub use process::PROCESS_METRICS;
pub use ready::READY;

use crate::readiness::Readiness;

/// Which build runs; the value is always 1.
pub const BUILD_INFO: MetricDoc =
    MetricDoc::gauge("reflow_build_info", &["service", "version"], "which program and version runs; always 1");

/// A metric that could not be registered: two declarations disagree, or a name lacks its unit.
#[derive(Debug, thiserror::Error)]
pub enum MetricError {
    /// The name breaks the naming rule.
    #[error("metric {name}: {rule}")]
    Name {
        /// The name.
        name: &'static str,
        /// What it breaks.
        rule: &'static str,
    },
    /// Registered before with another kind.
    #[error("metric {0} is registered already as another kind")]
    Kind(&'static str),
    /// The registry refused it.
    #[error("metric {name}: {source}")]
    Registry {
        /// The name.
        name: &'static str,
        /// Why.
        source: prometheus::Error,
    },
}

/// The metrics of one process. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    docs: BTreeMap<&'static str, MetricDoc>,
    registered: BTreeMap<&'static str, Registered>,
}

#[derive(Clone)]
enum Registered {
    Counter(IntCounterVec),
    FloatCounter(CounterVec),
    Gauge(IntGaugeVec),
    FloatGauge(GaugeVec),
    Histogram(HistogramVec),
}

impl Metrics {
    /// A registry with the metrics of the process (memory, processor time, open files) and of the build.
    ///
    /// # Errors
    ///
    /// Never with the declarations in this crate; they go through the same checks as any other.
    pub fn try_new(service: &str) -> Result<Self, MetricError> {
        let metrics = Self { registry: Registry::new(), known: Arc::default() };
        metrics.gauges(&BUILD_INFO)?.with_label_values(&[service, env!("CARGO_PKG_VERSION")]).set(1);
        metrics.document(&PROCESS_METRICS);
        let process =
            process::ProcessCollector::try_new().map_err(|source| MetricError::Registry { name: "process", source })?;
        metrics.register("process", process)?;
        Ok(metrics)
    }

    /// Exports whether the service is ready, as `/readyz` tells it at the moment of the scrape.
    ///
    /// # Errors
    ///
    /// When it is exported already.
    pub fn watch_readiness(&self, readiness: &Readiness) -> Result<(), MetricError> {
        self.document(&[READY]);
        let collector = ready::ReadyCollector::try_new(readiness.clone())
            .map_err(|source| MetricError::Registry { name: READY.name, source })?;
        self.register(READY.name, collector)
    }

    /// Exports how large the file system is that holds a folder, and how much of it is free. Nothing while the folder is
    /// not there.
    ///
    /// # Errors
    ///
    /// When a folder is watched already.
    pub fn watch_disk(&self, folder: &Path) -> Result<(), MetricError> {
        self.document(&DISK_METRICS);
        let collector = disk::DiskCollector::try_new(folder)
            .map_err(|source| MetricError::Registry { name: DISK_METRICS[0].name, source })?;
        self.register(DISK_METRICS[0].name, collector)
    }

    /// Exports counts that a library keeps, as they are at the moment of the scrape.
    ///
    /// # Errors
    ///
    /// When a name breaks the rule or is exported already.
    pub fn watch_counts<S: ?Sized + Send + Sync + 'static>(
        &self,
        source: Arc<S>,
        counts: impl IntoIterator<Item = Count<S>>,
    ) -> Result<(), MetricError> {
        let counts: Vec<Count<S>> = counts.into_iter().collect();
        let docs: Vec<MetricDoc> = counts.iter().map(|(doc, _)| *doc).collect();
        docs.iter().try_for_each(MetricDoc::check)?;
        let name = docs.first().map_or("counts", |doc| doc.name);
        let collector = counts::CountsCollector::try_new(source, counts)
            .map_err(|source| MetricError::Registry { name, source })?;
        self.register(name, collector)?;
        self.document(&docs);
        Ok(())
    }

    /// The registry itself, for crates that register their own. Their declarations go to [`Metrics::document`].
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Adds declarations of metrics that were registered elsewhere.
    pub fn document(&self, docs: &[MetricDoc]) {
        let mut known = self.known();
        for doc in docs {
            known.docs.insert(doc.name, *doc);
        }
    }

    /// A counter without labels.
    ///
    /// # Errors
    ///
    /// As for every registration: the name breaks the rule, or it is taken by another kind.
    pub fn counter(&self, doc: &MetricDoc) -> Result<IntCounter, MetricError> {
        Ok(self.counters(doc)?.with_label_values::<&str>(&[]))
    }

    /// A counter with labels.
    ///
    /// # Errors
    ///
    /// See [`Metrics::counter`].
    pub fn counters(&self, doc: &MetricDoc) -> Result<IntCounterVec, MetricError> {
        let build = || Ok(Registered::Counter(IntCounterVec::new(Opts::new(doc.name, doc.help), doc.labels)?));
        match self.get_or_register(doc, MetricKind::Counter, build)? {
            Registered::Counter(counters) => Ok(counters),
            _ => Err(MetricError::Kind(doc.name)),
        }
    }

    /// A counter of fractions without labels, such as one of seconds.
    ///
    /// # Errors
    ///
    /// See [`Metrics::counter`].
    pub fn float_counter(&self, doc: &MetricDoc) -> Result<Counter, MetricError> {
        let build = || Ok(Registered::FloatCounter(CounterVec::new(Opts::new(doc.name, doc.help), doc.labels)?));
        match self.get_or_register(doc, MetricKind::Counter, build)? {
            Registered::FloatCounter(counters) => Ok(counters.with_label_values::<&str>(&[])),
            _ => Err(MetricError::Kind(doc.name)),
        }
    }

    /// A gauge of whole numbers without labels.
    ///
    /// # Errors
    ///
    /// See [`Metrics::counter`].
    pub fn gauge(&self, doc: &MetricDoc) -> Result<IntGauge, MetricError> {
        Ok(self.gauges(doc)?.with_label_values::<&str>(&[]))
    }

    /// A gauge of whole numbers with labels.
    ///
    /// # Errors
    ///
    /// See [`Metrics::counter`].
    pub fn gauges(&self, doc: &MetricDoc) -> Result<IntGaugeVec, MetricError> {
        let build = || Ok(Registered::Gauge(IntGaugeVec::new(Opts::new(doc.name, doc.help), doc.labels)?));
        match self.get_or_register(doc, MetricKind::Gauge, build)? {
            Registered::Gauge(gauges) => Ok(gauges),
            _ => Err(MetricError::Kind(doc.name)),
        }
    }

    /// A gauge of fractions (seconds of age, ratios) without labels.
    ///
    /// # Errors
    ///
    /// See [`Metrics::counter`].
    pub fn float_gauge(&self, doc: &MetricDoc) -> Result<Gauge, MetricError> {
        let build = || Ok(Registered::FloatGauge(GaugeVec::new(Opts::new(doc.name, doc.help), doc.labels)?));
        match self.get_or_register(doc, MetricKind::Gauge, build)? {
            Registered::FloatGauge(gauges) => Ok(gauges.with_label_values::<&str>(&[])),
            _ => Err(MetricError::Kind(doc.name)),
        }
    }

    /// A histogram without labels.
    ///
    /// # Errors
    ///
    /// See [`Metrics::counter`].
    pub fn histogram(&self, doc: &MetricDoc) -> Result<Histogram, MetricError> {
        Ok(self.histograms(doc)?.with_label_values::<&str>(&[]))
    }

    /// A histogram with labels.
    ///
    /// # Errors
    ///
    /// See [`Metrics::counter`].
    pub fn histograms(&self, doc: &MetricDoc) -> Result<HistogramVec, MetricError> {
        let build = || {
            let options = HistogramOpts::new(doc.name, doc.help).buckets(doc.buckets.to_vec());
            Ok(Registered::Histogram(HistogramVec::new(options, doc.labels)?))
        };
        match self.get_or_register(doc, MetricKind::Histogram, build)? {
            Registered::Histogram(histograms) => Ok(histograms),
            _ => Err(MetricError::Kind(doc.name)),
        }
    }

    /// Everything in prometheus' text format.
    ///
    /// # Errors
    ///
    /// When a collector gave something that the format cannot hold.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Every declaration, by name.
    pub fn docs(&self) -> Vec<MetricDoc> {
        self.known().docs.values().copied().collect()
    }

    /// Names that are exported but not declared. A metric with labels is exported only once it has been used.
    pub fn undocumented(&self) -> Vec<String> {
        let known = self.known();
        let families = self.registry.gather();
        families
            .iter()
            .map(|family| family.name().to_owned())
            .filter(|name| !known.docs.contains_key(name.as_str()))
            .collect()
    }

    fn get_or_register(
        &self,
        doc: &MetricDoc,
        kind: MetricKind,
        build: impl FnOnce() -> Result<Registered, prometheus::Error>,
    ) -> Result<Registered, MetricError> {
        if doc.kind != kind {
            return Err(MetricError::Kind(doc.name));
        }
        doc.check()?;
        let mut known = self.known();
        if let Some(registered) = known.registered.get(doc.name) {
            return Ok(registered.clone());
        }
        let registered = build().map_err(|source| MetricError::Registry { name: doc.name, source })?;
        match registered.clone() {
            Registered::Counter(c) => self.register(doc.name, c)?,
            Registered::FloatCounter(c) => self.register(doc.name, c)?,
            Registered::Gauge(c) => self.register(doc.name, c)?,
            Registered::FloatGauge(c) => self.register(doc.name, c)?,
            Registered::Histogram(c) => self.register(doc.name, c)?,
        }
        known.docs.insert(doc.name, *doc);
        known.registered.insert(doc.name, registered.clone());
        Ok(registered)
    }

    fn register(&self, name: &'static str, collector: impl Collector + 'static) -> Result<(), MetricError> {
        self.registry.register(Box::new(collector)).map_err(|source| MetricError::Registry { name, source })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: MetricDoc = MetricDoc::counter("reflow_seen_events_total", &["result"], "events seen");
    const OPEN: MetricDoc = MetricDoc::gauge("reflow_open_sessions", &[], "sessions open");
    const TIME: MetricDoc = MetricDoc::histogram("reflow_publish_seconds", &[], SECONDS_BUCKETS, "time of a publish");

    #[test]
    fn the_same_metric_twice_is_one() {
        let metrics = Metrics::try_new("test").unwrap();
        metrics.counters(&SEEN).unwrap().with_label_values(&["ok"]).inc();
        metrics.counters(&SEEN).unwrap().with_label_values(&["ok"]).inc();
        metrics.gauge(&OPEN).unwrap().set(3);
        metrics.histogram(&TIME).unwrap().observe(0.004);
        let text = metrics.render().unwrap();
        assert!(text.contains("reflow_seen_events_total{result=\"ok\"} 2"), "{text}");
        assert!(
            text.contains("reflow_open_sessions 3") && text.contains("reflow_publish_seconds_bucket{le=\"0.005\"} 1"),
            "{text}"
        );
    }

    #[test]
    fn what_is_exported_is_compared_with_what_is_declared() {
        let metrics = Metrics::try_new("test").unwrap();
        metrics.gauge(&OPEN).unwrap();
        assert!(metrics.undocumented().is_empty(), "{:?}", metrics.undocumented());
        let stray = IntCounter::new("stray_total", "not declared").unwrap();
        metrics.registry().register(Box::new(stray)).unwrap();
        assert_eq!(metrics.undocumented(), ["stray_total"]);
        metrics.document(&[MetricDoc::counter("stray_total", &[], "declared")]);
        assert!(metrics.undocumented().is_empty());
    }

    #[test]
    fn names_without_unit_and_mixed_kinds_are_refused() {
        let metrics = Metrics::try_new("test").unwrap();
        for doc in [
            MetricDoc::counter("reflow_events", &[], "no total"),
            MetricDoc::gauge("reflow_open_total", &[], "a gauge is no total"),
            MetricDoc::gauge("reflow_wait_ms", &[], "not a base unit"),
            MetricDoc::histogram("reflow_latency", &[], SECONDS_BUCKETS, "no unit"),
        ] {
            assert!(matches!(doc.check(), Err(MetricError::Name { .. })), "{}", doc.name);
        }
        metrics.gauge(&OPEN).unwrap();
        assert!(matches!(metrics.float_gauge(&OPEN), Err(MetricError::Kind(_))));
        assert!(matches!(metrics.counter(&OPEN), Err(MetricError::Kind(_))));
    }

    #[test]
    fn the_process_and_the_build_are_told() {
        let text = Metrics::try_new("reflow-test").unwrap().render().unwrap();
        assert!(text.contains("reflow_build_info{service=\"reflow-test\""), "{text}");
        for doc in PROCESS_METRICS {
            let line = text.lines().find(|line| line.starts_with(&format!("{} ", doc.name)));
            let value: f64 =
                line.and_then(|line| line.split(' ').nth(1)).unwrap_or_else(|| panic!("{text}")).parse().unwrap();
            assert!(value > 0.0 || doc.name == "process_cpu_seconds_total", "{}", doc.name);
        }
    }
}

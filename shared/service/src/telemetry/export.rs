//! Sends finished spans to the OTLP collector, in batches, from a thread of its own.
//!
//! Guarantee: whoever ends a span waits for nothing. What does not fit into the queue is dropped; what the collector does not
//! take in time has failed; both are counted, and an outage is a line in the log when it begins, ever rarer ones while it
//! lasts, and one when it is over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor},
};
use prometheus::{IntCounter, IntCounterVec, Opts};
use uuid::Uuid;

use super::EXPORT_TIMEOUT;
use crate::{
    config::mask_urls,
    metrics::{MetricDoc, MetricError, Metrics},
};

/// What becomes of the spans of a service.
pub const OWN_SPANS: MetricDoc = MetricDoc::counter(
    "reflow_telemetry_spans_total",
    &["result"],
    "own spans by result: exported, failed (the telemetry collector did not take them), dropped (too many were waiting)",
);

/// Spans that may wait, those on their way included: most of a second at full load, some 4 MiB.
const QUEUE: usize = 4_096;
/// Spans in one export at most.
const BATCH: usize = 512;
/// A span waits no longer than this for others to go with it.
const LINGER: Duration = Duration::from_secs(1);

/// A provider whose spans go to `endpoint` and are counted in `counts`.
pub(super) fn provider(endpoint: &str, service: String, counts: Arc<SpanCounts>) -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .context("telemetry.otlp_endpoint cannot be used")?;
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(LINGER)
        .build();
    let exporter = Counted { exporter, counts: counts.clone() };
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    let bounded = Bounded { processor, counts };
    Ok(SdkTracerProvider::builder().with_span_processor(bounded).with_resource(resource(service)).build())
}

/// Who sends. `OTEL_RESOURCE_ATTRIBUTES` adds to it and, but for the name, comes first: an orchestrator knows better.
fn resource(service: String) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
        ])
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())])
        .with_service_name(service)
        .build()
}

/// What became of spans.
#[derive(Debug)]
pub(super) struct SpanCounts {
    all: IntCounterVec,
    exported: IntCounter,
    failed: IntCounter,
    dropped: IntCounter,
    /// In the queue, or on their way.
    waiting: AtomicUsize,
    /// Exports in a row that failed.
    outage: AtomicU32,
}

impl SpanCounts {
    pub(super) fn try_new() -> Result<Self, MetricError> {
        let all = IntCounterVec::new(Opts::new(OWN_SPANS.name, OWN_SPANS.help), OWN_SPANS.labels)
            .map_err(|source| MetricError::Registry { name: OWN_SPANS.name, source })?;
        let of = |result| all.with_label_values(&[result]);
        let (exported, failed, dropped) = (of("exported"), of("failed"), of("dropped"));
        Ok(Self { all, exported, failed, dropped, waiting: AtomicUsize::new(0), outage: AtomicU32::new(0) })
    }

    pub(super) fn register(&self, metrics: &Metrics) -> Result<(), MetricError> {
        metrics.document(&[OWN_SPANS]);
        let registered = metrics.registry().register(Box::new(self.all.clone()));
        registered.map_err(|source| MetricError::Registry { name: OWN_SPANS.name, source })
    }

    /// Spans that never reached the collector, those that still wait included.
    pub(super) fn lost(&self) -> u64 {
        self.failed.get() + self.dropped.get() + self.waiting.load(Relaxed) as u64
    }

    /// Whether there is room for one more, which is taken.
    fn enter(&self) -> bool {
        let fits = self.waiting.fetch_add(1, Relaxed) < QUEUE;
        if !fits {
            self.waiting.fetch_sub(1, Relaxed);
            self.dropped.inc();
        }
        fits
    }

    fn sent(&self, spans: usize, outcome: &OTelSdkResult) {
        self.waiting.fetch_sub(spans, Relaxed);
        let Err(error) = outcome else {
            self.exported.inc_by(spans as u64);
            if self.outage.swap(0, Relaxed) > 0 {
                tracing::info!(lost = self.lost(), "the telemetry collector takes spans again");
            }
            return;
        };
        self.failed.inc_by(spans as u64);
        let times = self.outage.fetch_add(1, Relaxed).saturating_add(1);
        if times.is_power_of_two() {
            let error = mask_urls(&error.to_string());
            tracing::warn!(error, times, lost = self.lost(), "the telemetry collector takes no spans; they are lost");
        }
    }
}

/// Lets no more spans into the queue than it holds: what the SDK itself drops, nobody can count.
#[derive(Debug)]
struct Bounded {
    processor: BatchSpanProcessor,
    counts: Arc<SpanCounts>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.counts.enter() {
            self.processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

/// Counts what leaves the queue, and how it went.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    counts: Arc<SpanCounts>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let outcome = self.exporter.export(batch).await;
        self.counts.sent(spans, &outcome);
        // Said above, and not once for every batch as the SDK would.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;

    #[test]
    fn what_is_over_the_queue_is_dropped_and_counted() {
        let counts = SpanCounts::try_new().unwrap();
        assert!((0..QUEUE).all(|_| counts.enter()));
        assert!(!counts.enter() && !counts.enter());
        assert_eq!((counts.dropped.get(), counts.lost()), (2, QUEUE as u64 + 2));
    }

    #[test]
    fn every_span_is_counted_once_and_exported() {
        let (counts, metrics) = (SpanCounts::try_new().unwrap(), Metrics::try_new("test").unwrap());
        counts.register(&metrics).unwrap();
        assert!((0..6).all(|_| counts.enter()));
        counts.sent(3, &Ok(()));
        counts.sent(2, &Err(OTelSdkError::InternalFailure("away".to_owned())));
        let text = metrics.render().unwrap();
        for (result, value) in [("exported", 3), ("failed", 2), ("dropped", 0)] {
            let line = format!("{}{{result=\"{result}\"}} {value}\n", OWN_SPANS.name);
            assert!(text.contains(&line), "{line} in {text}");
        }
        assert_eq!(counts.lost(), 3, "one still waits");
        assert!(metrics.undocumented().is_empty() && OWN_SPANS.check().is_ok());
    }

    #[test]
    fn the_resource_says_who_sends() {
        let resource = resource("reflow-x".to_owned());
        let of = |key: &'static str| resource.get(&key.into()).map(|value| value.to_string()).unwrap_or_default();
        assert_eq!((of("service.name"), of("service.version")), ("reflow-x".into(), env!("CARGO_PKG_VERSION").into()));
        assert!(Uuid::parse_str(&of("service.instance.id")).is_ok());
    }
}

//! Logs to standard error, and the service's own spans to an OTLP collector where one is configured.
//!
//! The two do not mix: the log shows what passes its filter (`RUST_LOG`, by default `info`) and none of the spans of
//! [`crate::spans`]; the collector gets those spans, whatever the filter says, and nothing else. So no line gets longer by
//! them, the spans of the exporter's own connection cannot feed themselves, and what a library writes of its passwords
//! reaches nobody. An unreachable collector costs spans, never the service.

mod export;

use std::{io::IsTerminal, sync::Arc, time::Duration};

use anyhow::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, FilterFn, ParseError, Targets, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    config::{LogFormat, Role, Telemetry},
    metrics::{MetricError, Metrics},
    spans,
};
pub use export::OWN_SPANS;
use export::SpanCounts;

/// How long one export, and the last flush, may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Crates that write URLs and logins as they are, passwords included, below `info`.
const INDISCREET_TARGETS: [&str; 1] = ["async_nats"];

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Keeps the export of spans going; give it back to [`Guard::flush`] at the end.
#[derive(Debug)]
#[must_use = "dropped without flush, the last spans are lost"]
pub struct Guard {
    export: Option<(SdkTracerProvider, Arc<SpanCounts>)>,
}

/// Sets up logs and spans for the process, once. Must be called on a tokio runtime: the exporter connects on it.
///
/// # Errors
///
/// When `filter` (the text of `RUST_LOG`) cannot be read, the endpoint cannot be used, or logs were set up before.
pub fn init(settings: &Telemetry, role: Role, filter: Option<&str>) -> anyhow::Result<Guard> {
    let filter = self::filter(filter).context("RUST_LOG cannot be read")?;
    let export = match &settings.otlp_endpoint {
        Some(endpoint) => {
            let service = settings.service_name.clone().unwrap_or_else(|| role.program().to_owned());
            let counts = Arc::new(SpanCounts::try_new()?);
            Some((export::provider(endpoint.expose(), service, counts.clone())?, counts))
        }
        None => None,
    };
    let provider = export.as_ref().map(|(provider, _)| provider);
    subscriber(settings.log_format, filter, provider).try_init().context("logs are set up already")?;
    Ok(Guard { export })
}

/// What is logged, by the text of `RUST_LOG`.
pub(crate) fn filter(text: Option<&str>) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(text.filter(|text| !text.is_empty()).unwrap_or("info"))
}

fn subscriber(
    format: LogFormat,
    filter: EnvFilter,
    provider: Option<&SdkTracerProvider>,
) -> impl Subscriber + Send + Sync + use<> {
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log: BoxedLayer = match format {
        LogFormat::Text => {
            log.with_ansi(std::io::stderr().is_terminal()).with_filter(filter.and(for_the_log())).boxed()
        }
        LogFormat::Json => log.json().flatten_event(true).with_filter(filter.and(for_the_log())).boxed(),
    };
    let spans = provider.map(|provider| {
        // Times of every poll, threads and places in the code say nothing about a unit of work.
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("reflow-tracing"))
            .with_context_activation(false)
            .with_tracked_inactivity(false)
            .with_location(false)
            .with_threads(false)
            .with_level(false)
            .with_target(false)
            .with_filter(Targets::new().with_target(spans::TARGET, LevelFilter::INFO))
            .boxed()
    });
    tracing_subscriber::registry().with([Some(log), spans].into_iter().flatten().collect::<Vec<BoxedLayer>>())
}

/// What may be logged at all. The hint keeps the filter beside it in charge of the level.
fn for_the_log() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    let may_be_logged: fn(&Metadata<'_>) -> bool = |metadata| {
        let of = |targets: &[&str]| targets.iter().any(|target| metadata.target().starts_with(target));
        // The exporter says of every batch that it failed, and of the last that it was given up; `export` says it once.
        let of_batches = ["Export.Failed", "BatchSpanProcessor."].iter().any(|name| metadata.name().starts_with(name));
        let repeats = of(&["opentelemetry"]) && of_batches;
        let indiscreet = *metadata.level() > Level::INFO && of(&INDISCREET_TARGETS);
        metadata.target() != spans::TARGET && !repeats && !indiscreet
    };
    filter_fn(may_be_logged).with_max_level_hint(LevelFilter::TRACE)
}

impl Guard {
    /// Exports what became of the spans; nothing where none are made.
    ///
    /// # Errors
    ///
    /// When they are exported already.
    pub fn register(&self, metrics: &Metrics) -> Result<(), MetricError> {
        self.export.as_ref().map_or(Ok(()), |(_, counts)| counts.register(metrics))
    }

    /// Sends the last spans. It waits no longer than an export may take.
    pub async fn flush(self) {
        let Some((provider, counts)) = self.export else { return };
        // The SDK blocks its caller.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(EXPORT_TIMEOUT)).await;
        match flushed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans could not be sent"),
            Err(error) => tracing::warn!(%error, "the last spans could not be sent"),
        }
        let lost = counts.lost();
        if lost > 0 {
            tracing::warn!(spans = lost, "own spans were lost in all; the telemetry collector did not take them");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work_span;

    #[test]
    fn without_a_collector_spans_are_switched_off() {
        let everything = subscriber(LogFormat::Text, EnvFilter::new("trace"), None);
        tracing::subscriber::with_default(everything, || {
            assert!(work_span!("publish").is_disabled() && spans::traceparent().is_none());
            assert!(!tracing::info_span!("of_another_target").is_disabled());
        });
    }

    #[test]
    fn with_a_collector_they_are_there_whatever_the_log_shows() {
        let provider = SdkTracerProvider::builder().build();
        tracing::subscriber::with_default(subscriber(LogFormat::Text, EnvFilter::new("off"), Some(&provider)), || {
            let span = work_span!("publish");
            assert!(!span.is_disabled() && tracing::info_span!("of_another_target").is_disabled());
            assert!(spans::traceparent().is_none());
            span.in_scope(|| assert!(spans::traceparent().is_some()));
        });
    }

    #[test]
    fn the_log_filter_keeps_its_say_over_levels() {
        let level_of = |filter| subscriber(LogFormat::Json, EnvFilter::new(filter), None).max_level_hint();
        assert_eq!((level_of("warn"), level_of("debug")), (Some(LevelFilter::WARN), Some(LevelFilter::DEBUG)));
    }
}

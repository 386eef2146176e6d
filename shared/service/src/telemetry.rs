//! Logs to standard error, and the service's own spans to an OTLP collector where one is configured.
//!
//! What is exported is what passes the log's filter (`RUST_LOG`, by default `info`), minus the spans of the exporter's
//! own connection, which would feed themselves. An unreachable collector costs spans, never the service. No filter lets
//! through what a library below us writes of its passwords.

use std::{io::IsTerminal, time::Duration};

use anyhow::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::Level;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::config::{LogFormat, Role, Telemetry};

/// How long one export, and the last flush, may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Crates beneath the exporter.
const EXPORTER_TARGETS: [&str; 6] = ["h2", "hyper", "opentelemetry", "rustls", "tonic", "tower"];

/// Crates that write URLs and logins as they are, passwords included, below `info`.
const INDISCREET_TARGETS: [&str; 1] = ["async_nats"];

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Keeps the export of spans going; give it back to [`Guard::flush`] at the end.
#[derive(Debug)]
#[must_use = "dropped without flush, the last spans are lost"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

/// Sets up logs and spans for the process, once. Must be called on a tokio runtime: the exporter connects on it.
///
/// # Errors
///
/// When `filter` (the text of `RUST_LOG`) cannot be read, the endpoint cannot be used, or logs were set up before.
pub fn init(settings: &Telemetry, role: Role, filter: Option<&str>) -> anyhow::Result<Guard> {
    let filter = match filter.filter(|text| !text.is_empty()) {
        Some(text) => EnvFilter::try_new(text).context("RUST_LOG cannot be read")?,
        None => EnvFilter::new("info"),
    };
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log: BoxedLayer = match settings.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };
    let mut layers: Vec<BoxedLayer> = vec![log];
    let provider = match &settings.otlp_endpoint {
        Some(endpoint) => {
            let service = settings.service_name.clone().unwrap_or_else(|| role.program().to_owned());
            let provider = provider(endpoint.expose(), service)?;
            let own =
                filter_fn(|metadata| !EXPORTER_TARGETS.iter().any(|target| metadata.target().starts_with(target)));
            let tracer = provider.tracer("reflow-tracing");
            layers.push(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(own).boxed());
            Some(provider)
        }
        None => None,
    };
    let discreet = filter_fn(|metadata| {
        *metadata.level() <= Level::INFO
            || !INDISCREET_TARGETS.iter().any(|target| metadata.target().starts_with(target))
    });
    // The filters stand over all layers: as one of them each would be overruled by whichever takes everything.
    tracing_subscriber::registry()
        .with(layers)
        .with(filter)
        .with(discreet)
        .try_init()
        .context("logs are set up already")?;
    Ok(Guard { provider })
}

impl Guard {
    /// Sends the last spans. It waits no longer than an export may take.
    pub async fn flush(self) {
        let Some(provider) = self.provider else { return };
        // The SDK blocks its caller.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(EXPORT_TIMEOUT)).await;
        match flushed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans could not be sent"),
            Err(error) => tracing::warn!(%error, "the last spans could not be sent"),
        }
    }
}

fn provider(endpoint: &str, service: String) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .context("telemetry.otlp_endpoint cannot be used")?;
    let resource = Resource::builder().with_service_name(service).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

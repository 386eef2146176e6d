//! The declaration of a metric, and the table made of declarations.

use std::fmt::Write;

use super::MetricError;

/// Buckets for times from half a millisecond to half a minute.
pub const SECONDS_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Buckets for sizes from 256 bytes to 64 MiB.
pub const BYTES_BUCKETS: &[f64] =
    &[256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0];

/// Buckets for counts from 1 to 10,000.
pub const COUNT_BUCKETS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0];

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// The declaration of one metric.
#[derive(Debug, Clone, Copy)]
pub struct MetricDoc {
    /// The name, which ends in the unit; `_total` for counters.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// The labels, each with few values.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
    /// For histograms, the upper bounds of the buckets.
    pub buckets: &'static [f64],
}

impl MetricDoc {
    /// Declares a counter.
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: MetricKind::Counter, labels, help, buckets: &[] }
    }

    /// Declares a gauge.
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: MetricKind::Gauge, labels, help, buckets: &[] }
    }

    /// Declares a histogram.
    pub const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        buckets: &'static [f64],
        help: &'static str,
    ) -> Self {
        Self { name, kind: MetricKind::Histogram, labels, help, buckets }
    }

    /// Checks the name: base units only, and `_total` for counters alone.
    ///
    /// # Errors
    ///
    /// Which rule it breaks.
    pub fn check(&self) -> Result<(), MetricError> {
        const ODD_UNITS: [&str; 7] = ["_ms", "_millis", "_milliseconds", "_us", "_kb", "_mb", "_percent"];
        const HISTOGRAM_UNITS: [&str; 6] = ["_seconds", "_bytes", "_events", "_chunks", "_messages", "_frames"];
        let broken = |rule| Err(MetricError::Name { name: self.name, rule });
        let total = self.name.ends_with("_total");
        if ODD_UNITS.iter().any(|unit| self.name.trim_end_matches("_total").ends_with(unit)) {
            return broken("use a base unit: seconds, bytes, ratio");
        }
        match self.kind {
            MetricKind::Counter if !total => broken("a counter ends in _total"),
            MetricKind::Gauge | MetricKind::Histogram if total => broken("only a counter ends in _total"),
            MetricKind::Histogram if !HISTOGRAM_UNITS.iter().any(|unit| self.name.ends_with(unit)) => {
                broken("a histogram ends in its unit")
            }
            _ => Ok(()),
        }
    }
}

/// The declarations as a markdown table, for the documentation.
pub fn metrics_table(docs: &[MetricDoc]) -> String {
    let mut out = "| metric | kind | labels | what it tells |\n|---|---|---|---|\n".to_owned();
    for doc in docs {
        let kind = match doc.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let labels: Vec<_> = doc.labels.iter().map(|label| format!("`{label}`")).collect();
        // Infallible: a String takes all that is written to it.
        let _ = writeln!(out, "| `{}` | {kind} | {} | {} |", doc.name, labels.join(", "), doc.help.replace('|', "\\|"));
    }
    out
}

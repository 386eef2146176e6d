//! The answer to `GetMetrics`.

use prometheus::proto::{Metric, MetricType};
use serde_json::{Map, Value, json};

use super::Metrics;

impl Metrics {
    /// Every counter and gauge by name, or by name and labels where it has some; histograms by count and sum. What was not
    /// measured is not there.
    pub fn figures(&self) -> Value {
        let mut figures = Map::new();
        for family in self.registry().gather() {
            for metric in family.get_metric() {
                if let Some(value) = value(family.get_field_type(), metric) {
                    figures.insert(name(family.name(), metric), value);
                }
            }
        }
        Value::Object(figures)
    }
}

fn name(family: &str, metric: &Metric) -> String {
    let labels: Vec<String> =
        metric.get_label().iter().map(|label| format!("{}={}", label.name(), label.value())).collect();
    match labels.is_empty() {
        true => family.to_owned(),
        false => format!("{family}{{{}}}", labels.join(",")),
    }
}

fn value(kind: MetricType, metric: &Metric) -> Option<Value> {
    match kind {
        MetricType::COUNTER => Some(json!(metric.get_counter().value())),
        MetricType::GAUGE => Some(json!(metric.get_gauge().value())),
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            Some(json!({"count": histogram.sample_count(), "sum": histogram.sample_sum()}))
        }
        _ => None,
    }
}

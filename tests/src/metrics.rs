//! Reads the Prometheus text that our services publish.
//!
//! A metric that is not there is `None`, never zero: the tests hold themselves to the promise that they check.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// One sample of everything a service measures.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    series: Vec<Series>,
}

#[derive(Debug, Clone)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Parses the text exposition format (version 0.0.4).
    ///
    /// # Errors
    /// When a line is neither a comment nor a sample.
    pub fn parse(text: &str) -> Result<Self> {
        let series = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| parse_line(line).with_context(|| format!("not a sample: {line:?}")))
            .collect::<Result<_>>()?;
        Ok(Self { series })
    }

    /// The sum over every series of this name whose labels contain all of `labels`; `None` when there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.series.iter().filter(|series| series.name == name && series.has(labels)).peekable();
        found.peek()?;
        Some(found.map(|series| series.value).sum())
    }

    /// The names of all series, each once, in order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.series.iter().map(|series| series.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Series {
    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(key, value)| self.labels.get(*key).is_some_and(|found| found == value))
    }
}

fn parse_line(line: &str) -> Option<Series> {
    let (name, labels, rest) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, rest) = parse_labels(rest)?;
            (name, labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            (name, BTreeMap::new(), rest)
        }
    };
    // A timestamp may stand behind the value.
    let value = match rest.split_whitespace().next()? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    Some(Series { name: name.to_owned(), labels, value })
}

/// Parses `key="value",…} rest`. Values may hold commas, braces and escaped quotes.
fn parse_labels(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let mut text = text;
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (key, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next()? {
                (index, '"') => break index,
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.insert(key.trim().to_owned(), value);
        text = rest.get(end + 1..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_over_the_labels_that_are_not_asked_for() {
        let metrics = Metrics::parse(
            "# HELP a_total what\n# TYPE a_total counter\n\
             a_total{result=\"ok\",path=\"v1, \\\"x\\\" {y}\"} 3\na_total{result=\"ok\",path=\"v2\"} 4\n\
             a_total{result=\"refused\",path=\"v2\"} 5\nb_seconds_bucket{le=\"+Inf\"} 7\nc 1.5e3 1700000000000\n",
        )
        .unwrap();
        assert_eq!(metrics.sum("a_total", &[]), Some(12.0));
        assert_eq!(metrics.sum("a_total", &[("result", "ok")]), Some(7.0));
        assert_eq!(metrics.sum("a_total", &[("path", "v1, \"x\" {y}")]), Some(3.0));
        assert_eq!(metrics.sum("b_seconds_bucket", &[("le", "+Inf")]), Some(7.0));
        assert_eq!(metrics.sum("c", &[]), Some(1500.0));
        assert_eq!(metrics.sum("a_total", &[("result", "lost")]), None);
        assert_eq!(metrics.sum("not_there", &[]), None);
        assert_eq!(metrics.names(), ["a_total", "b_seconds_bucket", "c"]);
    }
}

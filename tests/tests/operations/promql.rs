//! Which metrics an expression of PromQL names.
//!
//! Not a parser: whether an expression is PromQL is for promtool and Prometheus to say. This reads names only, and takes
//! whatever is no function, no keyword and no label for one, so that a mistyped name cannot pass as something else.

use std::collections::BTreeSet;

/// Words of the language that are not followed by a bracket.
const KEYWORDS: [&str; 7] = ["and", "or", "unless", "bool", "offset", "inf", "nan"];
/// Words that are followed by a list of labels.
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// The names of all metrics in an expression.
pub fn metric_names(expression: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '{' => after(rest, '}'),
            '[' => after(rest, ']'),
            '"' => after(&rest[1..], '"'),
            'a'..='z' | 'A'..='Z' | '_' | ':' => {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
                let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
                let next = behind.trim_start();
                // `sum(…)`, or `sum by (…) (…)`.
                let aggregation = next.starts_with("by ") || next.starts_with("without ");
                let bracket = next.starts_with('(');
                if BEFORE_LABELS.contains(&word) {
                    if bracket { after(behind, ')') } else { behind }
                } else {
                    if !bracket && !aggregation && !KEYWORDS.contains(&word) {
                        names.insert(word.to_owned());
                    }
                    behind
                }
            }
            // A number or a duration, its unit included.
            '0'..='9' => rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.'),
            other => &rest[other.len_utf8()..],
        };
    }
    names
}

/// Without the suffix that a series of a histogram has.
pub fn family(series: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|suffix| series.strip_suffix(suffix)).unwrap_or(series)
}

fn after(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

#[test]
fn names_are_found_and_nothing_else_is_taken_for_one() {
    let names = |text| metric_names(text).into_iter().collect::<Vec<_>>();
    let quantile =
        r#"histogram_quantile(0.99, sum by (le, kind) (rate(a_seconds_bucket{job=~"$job",x="y"}[$__rate_interval])))"#;
    assert_eq!(names(quantile), ["a_seconds_bucket"]);
    assert_eq!(names("b_total unless c_total offset 5m > 0 or vector(0)"), ["b_total", "c_total"]);
    assert_eq!(names("(time() - d) * on (job, instance) group_right () e == bool 1e3"), ["d", "e"]);
    assert_eq!((family("a_seconds_bucket"), family("b_total")), ("a_seconds", "b_total"));
}

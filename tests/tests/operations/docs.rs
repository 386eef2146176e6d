//! deploy/README.md and the alerts name settings and sections that exist.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::dashboard::deploy;
use crate::metrics::alert_expressions;

fn read(file: &str) -> Result<String> {
    std::fs::read_to_string(deploy().join(file)).with_context(|| format!("no {file}"))
}

#[test]
fn every_alert_has_a_runbook_section_and_says_what_to_do_first() -> Result<()> {
    let (alerts, readme) = (alert_expressions()?, read("README.md")?);
    let sections: BTreeSet<_> = readme.lines().filter_map(|line| line.strip_prefix("### Reflow")).collect();
    let named: BTreeSet<_> = alerts.iter().filter_map(|(name, _)| name.strip_prefix("Reflow")).collect();
    assert_eq!(sections, named, "sections of deploy/README.md and alerts");
    let rules = read("prometheus/alerts.yml")?;
    for (rule, (name, _)) in rules.split("- alert: ").skip(1).zip(&alerts) {
        // The anchor that the heading gets.
        let anchor = format!("runbook_url: deploy/README.md#{}\n", name.to_lowercase());
        ensure!(rule.contains(&anchor), "{name} does not lead to its section");
        for annotation in ["summary: \"", "runbook: \"", "severity: "] {
            ensure!(rule.contains(annotation), "{name} has no {annotation:?}");
        }
    }
    Ok(())
}

#[test]
fn every_setting_that_operators_are_told_of_exists() -> Result<()> {
    let reference = read("../shared/service/CONFIGURATION.md")?;
    for file in ["README.md", "prometheus/alerts.yml"] {
        let text = read(file)?;
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_.".contains(c)));
        for word in words.map(|word| word.trim_end_matches('.')) {
            let sections = ["server.", "storage.", "bus.nats.", "limits.", "retention.", "writer.", "metrics."];
            let key = sections.iter().any(|section| word.strip_prefix(section).is_some_and(|rest| rest.contains('_')));
            if key || word.starts_with("REFLOW_TRACING_") {
                ensure!(reference.contains(&format!("`{word}`")), "{file} names {word}, which is no setting");
            }
        }
    }
    Ok(())
}

/// The keys of a YAML file of nested maps, with dots between levels.
fn keys_of(yaml: &str) -> BTreeSet<String> {
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut keys = BTreeSet::new();
    for line in yaml.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let Some((key, _)) = line.split_once(':') else { continue };
        let depth = key.len() - key.trim_start().len();
        path.retain(|(outer, _)| *outer < depth);
        path.push((depth, key.trim()));
        keys.insert(path.iter().map(|(_, key)| *key).collect::<Vec<_>>().join("."));
    }
    keys
}

#[test]
fn commands_name_values_of_the_chart_and_links_lead_to_files() -> Result<()> {
    let readme = read("README.md")?;
    let values = keys_of(&read("../helm/reflow-tracing/values.yaml")?);
    let set: Vec<_> = readme
        .split_whitespace()
        .filter_map(|word| word.trim_start_matches('`').split_once('='))
        .map(|(key, _)| key)
        .filter(|key| ["collector.", "writer.", "monitoring."].iter().any(|part| key.starts_with(part)))
        .collect();
    ensure!(set.len() >= 6, "only {set:?}");
    for key in set {
        ensure!(values.contains(key), "--set {key}: the chart has no such value");
    }
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
        let (file, _) = link.split_once('#').unwrap_or((link, ""));
        ensure!(link.starts_with("https://") || deploy().join(file).exists(), "{link} leads nowhere");
    }
    let minimal = readme.split_whitespace().find(|word| word.ends_with("-values.yaml")).context("no values file")?;
    ensure!(deploy().join("..").join(minimal).exists(), "{minimal} is not there");
    Ok(())
}

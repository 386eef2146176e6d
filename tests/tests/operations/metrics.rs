//! Dashboard, alerts and documentation name the same metrics as the programs export, both ways.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{eventually, patience};

use crate::dashboard::{dashboard, deploy, panels};
use crate::promql::{family, metric_names};
use crate::scene::{Scene, exported};

/// Documented metrics that are in no panel and no alert, and why. A new metric goes into
/// deploy/grafana/dashboards/reflow-tracing.json or here.
const NOT_SHOWN: [(&str, &str); 0] = [];

/// What Prometheus itself says of a target, and what others say of theirs: HAProxy, node_exporter, Kubernetes' kubelets.
const OF_OTHERS: [&str; 6] = [
    "up",
    "haproxy_backend_active_servers",
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
    "kubelet_volume_stats_available_bytes",
    "kubelet_volume_stats_capacity_bytes",
];

/// The names in the table of ARCHITECTURE.md.
fn documented() -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(deploy().join("../ARCHITECTURE.md"))?;
    let (_, rest) = text.split_once("<!-- metrics: made from the code -->").context("no table of metrics")?;
    let (table, _) = rest.split_once("<!-- end of metrics -->").context("the table has no end")?;
    let names: BTreeSet<_> =
        table.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect();
    ensure!(names.len() > 50, "only {} metrics in the table", names.len());
    Ok(names)
}

/// Each metric that a panel or an alert names, and where.
fn asked_for() -> Result<BTreeMap<String, String>> {
    let mut names = BTreeMap::new();
    for panel in panels(&dashboard()?)? {
        for name in panel.expressions.iter().flat_map(|expression| metric_names(expression)) {
            names.insert(family(&name).to_owned(), format!("panel {:?} in row {:?}", panel.title, panel.row));
        }
    }
    for (alert, expression) in alert_expressions()? {
        for name in metric_names(&expression) {
            names.insert(family(&name).to_owned(), format!("alert {alert}"));
        }
    }
    Ok(names)
}

/// The alerts of alerts.yml with their expressions, which are one line or a block behind `|`.
pub fn alert_expressions() -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(deploy().join("prometheus/alerts.yml"))?;
    let mut alerts = Vec::new();
    for entry in text.split("- alert: ").skip(1) {
        let (name, rest) = entry.split_once('\n').context("an alert without a name")?;
        let (_, rest) = rest.split_once("expr: ").with_context(|| format!("{name} has no expression"))?;
        let block = rest.starts_with('|');
        let lines = rest.lines().skip(usize::from(block));
        let deeper = |line: &&str| line.starts_with("          ");
        let expression: Vec<_> = if block { lines.take_while(deeper).collect() } else { lines.take(1).collect() };
        alerts.push((name.trim().to_owned(), expression.join("\n")));
    }
    ensure!(alerts.len() >= 8, "only {} alerts", alerts.len());
    Ok(alerts)
}

#[test]
fn every_documented_metric_is_shown_or_has_a_reason_not_to_be() -> Result<()> {
    let (documented, asked_for) = (documented()?, asked_for()?);
    for (name, place) in &asked_for {
        let known = documented.contains(name) || OF_OTHERS.contains(&name.as_str());
        ensure!(known, "{place} asks for {name}, which is not in the table of ARCHITECTURE.md");
    }
    for (name, reason) in NOT_SHOWN {
        ensure!(documented.contains(name), "{name} is listed as not shown and is not documented");
        ensure!(!asked_for.contains_key(name) && !reason.is_empty(), "{name} is shown, or lacks a reason");
    }
    let hidden: Vec<_> = documented
        .iter()
        .filter(|name| !asked_for.contains_key(*name) && NOT_SHOWN.iter().all(|(hidden, _)| hidden != name))
        .collect();
    ensure!(hidden.is_empty(), "in no panel and no alert, and without a reason in NOT_SHOWN: {hidden:?}");
    Ok(())
}

/// Each of them is exported by one of the four programs, as they run.
pub async fn check_exported(scene: &Scene) -> Result<()> {
    let asked_for = asked_for()?;
    eventually(patience(), || async {
        let mut all = scene.exported_without_store.clone();
        for (_, service) in scene.services() {
            all.extend(exported(service).await?);
        }
        let missing: Vec<_> =
            asked_for.iter().filter(|(name, _)| !all.contains(*name) && !OF_OTHERS.contains(&name.as_str())).collect();
        ensure!(missing.is_empty(), "exported by none of the four programs: {missing:?}");
        Ok(())
    })
    .await
}

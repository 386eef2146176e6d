//! The table of metrics in ARCHITECTURE.md, and what the programs export.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Cluster, Service, events, eventually, frames::Batch, http, patience};

/// What the table says of a metric: its kind, and whether it has labels.
#[derive(Debug, PartialEq, Eq)]
struct Documented {
    kind: String,
    labels: bool,
}

/// The rows `| `name` | kind | labels | … |` under the heading "Metrics".
fn table() -> Result<BTreeMap<String, Documented>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let text = std::fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    let section = text.split("\n## ").find(|section| section.starts_with("Metrics")).context("no section Metrics")?;
    let rows: BTreeMap<_, _> = section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.strip_suffix('`')?.to_owned();
            let kind = cells.next()?.to_owned();
            Some((name, Documented { kind, labels: !cells.next()?.trim().is_empty() }))
        })
        .collect();
    ensure!(rows.len() > 20, "only {} metrics in the table", rows.len());
    Ok(rows)
}

/// Names and kinds of what a program exports: `# TYPE name kind`.
async fn exported(service: &Service) -> Result<BTreeSet<(String, String)>> {
    let answer = http::get(service.admin_port(), "/metrics").await?;
    let lines = answer.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    Ok(lines.map(|(name, kind)| (name.to_owned(), kind.trim().to_owned())).collect())
}

#[tokio::test]
async fn what_is_exported_is_documented_and_the_other_way_round() -> Result<()> {
    let table = table()?;
    let cluster = Cluster::start().await?;
    let standalone = Service::standalone().start().await?;
    // Something of everything, so that metrics with labels have series.
    let batch = Batch::new("metrics", events::program(5));
    cluster.collectors[0].connect_v2().await?.ask(&batch.request()).await?;
    standalone.connect_v2().await?.ask(&batch.request()).await?;
    cluster.trace_with(batch.trace_id, 5).await?;

    eventually(patience(), || async {
        let mut all = BTreeSet::new();
        for service in [&cluster.collectors[0], &cluster.writers[0], &cluster.queries[0], &standalone] {
            all.extend(exported(service).await?);
        }
        for (name, kind) in &all {
            let documented = table.get(name).with_context(|| format!("{name} is not in the table"))?;
            ensure!(documented.kind == *kind, "{name} is a {kind}, not a {}", documented.kind);
        }
        // What has labels shows only once something happened to it; gauges of the unknown have no value.
        for (name, documented) in
            table.iter().filter(|(_, documented)| !documented.labels && documented.kind != "gauge")
        {
            let known = all.contains(&(name.clone(), documented.kind.clone()));
            ensure!(known, "{name} is in the table and exported by no program");
        }
        Ok(())
    })
    .await
}

//! The Grafana dashboard as a file: what Grafana would show wrongly, or not at all, without saying why.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Grafana's grid is so wide.
const COLUMNS: u64 = 24;

/// One panel that asks something.
pub struct Panel {
    pub row: String,
    pub title: String,
    pub expressions: Vec<String>,
}

pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

pub fn dashboard() -> Result<Value> {
    let file = deploy().join("grafana/dashboards/reflow-tracing.json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    serde_json::from_str(&text).context("the dashboard is not JSON")
}

/// All panels but the rows themselves, with the row that each is in.
pub fn panels(dashboard: &Value) -> Result<Vec<Panel>> {
    let mut row = String::new();
    let mut panels = Vec::new();
    for panel in dashboard["panels"].as_array().context("no panels")? {
        let title = panel["title"].as_str().context("a panel without a title")?.to_owned();
        if panel["type"] == "row" {
            row = title;
            continue;
        }
        let targets = panel["targets"].as_array().with_context(|| format!("{title:?} asks nothing"))?;
        let expressions: Option<Vec<_>> =
            targets.iter().map(|target| Some(target["expr"].as_str()?.to_owned())).collect();
        let expressions = expressions.with_context(|| format!("{title:?} has a target without an expression"))?;
        ensure!(!expressions.is_empty(), "{title:?} asks nothing");
        panels.push(Panel { row: row.clone(), title, expressions });
    }
    Ok(panels)
}

#[test]
fn the_dashboard_has_the_rows_that_operators_look_for() -> Result<()> {
    let dashboard = dashboard()?;
    let rows: Vec<_> = dashboard["panels"]
        .as_array()
        .context("no panels")?
        .iter()
        .filter(|panel| panel["type"] == "row")
        .filter_map(|row| row["title"].as_str())
        .collect();
    assert_eq!(rows, ["Is it healthy", "Ingest", "Bus", "Writers", "Store", "Query", "Live", "Clients", "Processes"]);
    for row in rows {
        ensure!(panels(&dashboard)?.iter().any(|panel| panel.row == row), "row {row:?} is empty");
    }
    Ok(())
}

#[test]
fn every_panel_has_an_id_a_place_a_unit_and_says_what_it_shows() -> Result<()> {
    let dashboard = dashboard()?;
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in dashboard["panels"].as_array().context("no panels")? {
        let title = panel["title"].as_str().context("a panel without a title")?;
        ensure!(ids.insert(panel["id"].as_u64().context("no id")?), "{title:?} has the id of another panel");
        let place = |key: &str| panel["gridPos"][key].as_u64().with_context(|| format!("{title:?} has no {key}"));
        let (x, y, width, height) = (place("x")?, place("y")?, place("w")?, place("h")?);
        ensure!(width > 0 && height > 0 && x + width <= COLUMNS, "{title:?} does not fit into the grid");
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            ensure!(cells.insert(cell), "{title:?} lies over another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        ensure!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title:?} has no unit");
        ensure!(
            panel["description"].as_str().is_some_and(|text| text.len() > 10),
            "{title:?} does not say what it shows"
        );
        for place in [panel, &panel["targets"][0]] {
            ensure!(place["datasource"]["uid"] == "${datasource}", "{title:?} has a data source of its own");
        }
    }
    Ok(())
}

#[test]
fn the_dashboard_asks_for_its_data_source_and_lets_one_choose_services() -> Result<()> {
    let dashboard = dashboard()?;
    let variables: Vec<_> = dashboard["templating"]["list"]
        .as_array()
        .context("no variables")?
        .iter()
        .map(|v| (&v["name"], &v["type"]))
        .collect();
    assert_eq!(format!("{variables:?}").matches("String").count(), 6, "{variables:?}");
    ensure!(variables.iter().any(|(name, kind)| *name == "datasource" && *kind == "datasource"), "{variables:?}");
    for panel in panels(&dashboard)? {
        for expression in &panel.expressions {
            for word in expression.split('$').skip(1) {
                let known = ["job\"", "instance\"", "__rate_interval]"].iter().any(|known| word.starts_with(known));
                ensure!(known, "{:?} uses a variable that is not there: ${word:.20}", panel.title);
            }
        }
    }
    Ok(())
}

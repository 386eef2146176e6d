//! Alert rules and the configuration of Prometheus, by promtool and in a real Prometheus that scrapes our programs.

use std::{fmt::Write, path::Path};

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Prometheus, eventually, patience, prometheus::promtool};

use crate::dashboard::{dashboard, deploy, panels};
use crate::metrics::{alert_expressions, check_exported};
use crate::scene::Scene;

/// What panels ask and what has no series while all is well.
const EMPTY_WHEN_WELL: [&str; 1] = ["max(reflow_bus_lag_oldest_seconds{job=~\".*\",instance=~\".*\"})"];

#[tokio::test]
async fn promtool_accepts_rules_and_configuration() -> Result<()> {
    let folder = deploy().join("prometheus");
    let output = promtool(&folder, &["check", "rules", "alerts.yml"]).await?;
    ensure!(output.contains(&format!("{} rules found", alert_expressions()?.len())), "{output}");
    promtool(&folder, &["check", "config", "prometheus.yml"]).await?;
    Ok(())
}

#[tokio::test]
async fn each_alert_fires_when_it_should_and_not_before() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/operations");
    promtool(&folder, &["test", "rules", "alerts.test.yml"]).await?;
    let tests = std::fs::read_to_string(folder.join("alerts.test.yml"))?;
    for (alert, _) in alert_expressions()? {
        ensure!(tests.contains(&format!("{{alertname=\"{alert}\"}}")), "{alert} has no unit test");
    }
    // Each case names every alert that fires; one that is silent at first shows that the alert is not always on.
    for case in tests.split("\n  - interval: ").skip(1) {
        ensure!(case.contains("exp_samples: []"), "always firing: {case}");
    }
    Ok(())
}

/// The jobs of prometheus.yml, with the addresses of a test's services instead of names that only docker-compose knows.
fn configuration(scene: &Scene) -> Result<String> {
    let deployed = std::fs::read_to_string(deploy().join("prometheus/prometheus.yml"))?;
    let rules = deploy().join("prometheus/alerts.yml").canonicalize()?;
    let mut text = format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: ['{}']\nscrape_configs:\n",
        rules.display()
    );
    for (job, service) in scene.services() {
        if job != "standalone" {
            let names = format!(
                "- job_name: {job}\n    dns_sd_configs:\n      - names: [{job}]\n        type: A\n        port: 9090\n"
            );
            ensure!(deployed.contains(&names), "prometheus.yml has no job {job} as docker-compose needs it");
        }
        let target = format!("127.0.0.1:{}", service.admin_port());
        writeln!(text, "  - job_name: {job}\n    static_configs: [{{ targets: ['{target}'] }}]")?;
    }
    Ok(text)
}

#[tokio::test]
async fn a_real_prometheus_has_data_for_every_panel_and_fires() -> Result<()> {
    let scene = Scene::start().await?;
    check_exported(&scene).await?;
    let prometheus = Prometheus::start(&configuration(&scene)?).await?;
    let rules = prometheus.rules().await?;
    for (alert, _) in alert_expressions()? {
        ensure!(rules.iter().any(|rule| rule["name"] == alert), "prometheus does not know {alert}");
    }
    eventually(patience(), || async {
        let up = prometheus.query("up == 1").await?.len();
        ensure!(up == 4, "{up} of 4 targets are up");
        Ok(())
    })
    .await?;
    // Between two scrapes, so that rates have something to rise by.
    scene.traffic().await?;

    // Each target by itself: one that asks for a label's value that there is not would hide behind its neighbours.
    for panel in panels(&dashboard()?)? {
        for expression in &panel.expressions {
            let expression =
                expression.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*");
            eventually(patience(), || async {
                let series = prometheus.query(&expression).await?.len();
                ensure!(series > 0 || EMPTY_WHEN_WELL.contains(&expression.as_str()), "no data");
                Ok(())
            })
            .await
            .with_context(|| format!("panel {:?} in row {:?}: {expression}", panel.title, panel.row))?;
        }
    }

    // One letter lay there already; the rule looks an hour back, where this Prometheus saw nothing.
    scene.dead_letter().await?;
    eventually(patience(), || async {
        let state = prometheus.alert("ReflowDeadLetters").await?;
        ensure!(state == "firing", "ReflowDeadLetters is {state}");
        Ok(())
    })
    .await?;
    for silent in ["ReflowServiceDown", "ReflowNotReady", "ReflowBusFull", "ReflowDiskNearlyFull"] {
        let state = prometheus.alert(silent).await?;
        ensure!(state != "firing", "{silent} fires although all is well");
    }
    Ok(())
}

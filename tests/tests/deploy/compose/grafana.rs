//! Grafana's files, as far as they can be checked without Grafana, which Debian does not have: what it would look for is where it
//! looks, has only the fields that it documents, and names services, ports and data sources that exist.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::file::{CLUSTER, bind_mounts, config, environment, yaml};
use crate::image::repository;

/// Where Grafana's image looks for provisioning files.
const PROVISIONING: &str = "/etc/grafana/provisioning";
/// Panels that come with Grafana; any other would need a plugin that nobody installs.
const PANELS: [&str; 5] = ["row", "stat", "timeseries", "table", "bargauge"];

/// The files that Grafana reads of one kind, as it sees them, and the folder of the host behind each mounted one.
struct Provisioning {
    config: Value,
    mounts: Vec<(String, String)>,
}

impl Provisioning {
    fn read() -> Result<Self> {
        let config = config(CLUSTER[0], &[])?;
        let mounts = bind_mounts(&config["services"]["grafana"])?;
        Ok(Self { config, mounts })
    }

    /// The host's path of one in the container.
    fn host(&self, inside: &str) -> Result<PathBuf> {
        let found =
            self.mounts.iter().find_map(|(source, target)| Some((source, inside.strip_prefix(target.as_str())?)));
        let (source, rest) = found.with_context(|| format!("nothing is mounted at {inside}"))?;
        Ok(PathBuf::from(format!("{source}{rest}")))
    }

    /// Grafana reads `.yml` and `.yaml` of the folder that the kind is called by.
    fn files(&self, kind: &str) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.host(&format!("{PROVISIONING}/{kind}"))?)? {
            let path = entry?.path();
            let known = path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml");
            ensure!(known, "Grafana does not read {}", path.display());
            found.push(yaml(&fs::read(&path)?).with_context(|| path.display().to_string())?);
        }
        ensure!(!found.is_empty(), "nothing of {kind}");
        Ok(found)
    }
}

fn keys(value: &Value, allowed: &[&str]) -> Result<()> {
    let object = value.as_object().with_context(|| format!("not an object: {value}"))?;
    let unknown: Vec<_> = object.keys().filter(|key| !allowed.contains(&key.as_str())).collect();
    ensure!(unknown.is_empty(), "Grafana does not know {unknown:?}");
    Ok(())
}

#[test]
fn the_data_source_is_the_prometheus_of_the_file() -> Result<()> {
    let provisioning = Provisioning::read()?;
    let [file] = &provisioning.files("datasources")?[..] else { anyhow::bail!("not one file") };
    keys(file, &["apiVersion", "datasources", "deleteDatasources", "prune"])?;
    ensure!(file["apiVersion"] == 1);
    let [source] = &file["datasources"].as_array().context("no list")?[..] else { anyhow::bail!("not one source") };
    keys(source, &["name", "uid", "type", "access", "url", "isDefault", "editable", "jsonData", "orgId", "version"])?;
    keys(&source["jsonData"], &["timeInterval", "httpMethod"])?;
    ensure!(source["type"] == "prometheus" && source["access"] == "proxy" && source["isDefault"] == true, "{source}");
    // Its port is Prometheus' own: the command names no other.
    ensure!(source["url"] == "http://prometheus:9090", "{source}");
    let prometheus = &provisioning.config["services"]["prometheus"];
    ensure!(prometheus.is_object() && !prometheus["command"].to_string().contains("listen-address"), "{prometheus}");
    let scraped = yaml(&fs::read(repository().join("deploy/prometheus/prometheus.yml"))?)?;
    ensure!(
        source["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"],
        "rates are taken over too little"
    );
    Ok(())
}

#[test]
fn every_dashboard_is_where_the_provider_looks_and_needs_no_plugin() -> Result<()> {
    let provisioning = Provisioning::read()?;
    let [file] = &provisioning.files("dashboards")?[..] else { anyhow::bail!("not one file") };
    keys(file, &["apiVersion", "providers"])?;
    let [provider] = &file["providers"].as_array().context("no list")?[..] else { anyhow::bail!("not one provider") };
    keys(provider, &["name", "folder", "folderUid", "type", "disableDeletion", "allowUiUpdates", "options", "orgId"])?;
    ensure!(file["apiVersion"] == 1 && provider["type"] == "file", "{provider}");
    let folder = provisioning.host(provider["options"]["path"].as_str().context("no path")?)?;
    let mut uids = BTreeSet::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let dashboard: Value = serde_json::from_slice(&fs::read(&path)?).with_context(|| path.display().to_string())?;
        let uid = dashboard["uid"].as_str().context("no uid: each start would make another one")?;
        ensure!(uid.len() <= 40 && uids.insert(uid.to_owned()), "{uid} is too long or there twice");
        ensure!(dashboard["title"].is_string() && dashboard["schemaVersion"].as_u64().is_some(), "{}", path.display());
        // A provisioned file has no inputs that somebody could fill in, and an id of its own would be another's.
        ensure!(dashboard["__inputs"].is_null() && dashboard["id"].is_null(), "exported for sharing");
        for panel in dashboard["panels"].as_array().context("no panels")? {
            let kind = panel["type"].as_str().context("no type")?;
            ensure!(PANELS.contains(&kind), "a panel {kind} needs a plugin");
            for place in [&panel["datasource"], &panel["targets"][0]["datasource"]] {
                let one = kind == "row" || *place == json!({"type": "prometheus", "uid": "${datasource}"});
                ensure!(one, "{place}");
            }
        }
        let variables = dashboard["templating"]["list"].as_array().context("no variables")?;
        let source = variables.iter().find(|variable| variable["name"] == "datasource").context("no data source")?;
        ensure!(source["type"] == "datasource" && source["query"] == "prometheus", "{source}");
    }
    ensure!(!uids.is_empty(), "no dashboard in {}", folder.display());
    Ok(())
}

#[test]
fn nobody_but_the_admin_gets_in_and_grafana_calls_nobody() -> Result<()> {
    let provisioning = Provisioning::read()?;
    let environment = environment(&provisioning.config["services"]["grafana"]);
    ensure!(environment.contains_key("GF_SECURITY_ADMIN_PASSWORD"), "{environment:?}");
    for (key, wanted) in [
        ("GF_USERS_ALLOW_SIGN_UP", "false"),
        ("GF_ANALYTICS_REPORTING_ENABLED", "false"),
        ("GF_ANALYTICS_CHECK_FOR_UPDATES", "false"),
        ("GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "false"),
        ("GF_NEWS_NEWS_FEED_ENABLED", "false"),
        ("GF_PLUGINS_PREINSTALL_DISABLED", "true"),
        ("GF_SECURITY_DISABLE_GRAVATAR", "true"),
    ] {
        ensure!(environment.get(key).is_some_and(|value| value == wanted), "{key}: {environment:?}");
    }
    ensure!(environment.keys().all(|key| !key.contains("ANONYMOUS")), "{environment:?}");
    Ok(())
}

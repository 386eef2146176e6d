//! A real Prometheus, with a configuration of the caller's, and the questions that Grafana asks it.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    eventually::{eventually, patience},
    http,
    ports::Port,
    process::{Process, Spec, find_program},
};

/// A Prometheus of its own: killed when dropped, its data with it.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    port: Port,
    _folder: Option<TempDir>,
}

impl Prometheus {
    /// Starts one; `configuration` is the whole `prometheus.yml`.
    ///
    /// # Errors
    /// When prometheus is not installed or refuses the configuration.
    pub async fn start(configuration: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("prometheus-").tempdir().context("no temp folder")?;
        let port = Port::reserve()?;
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, configuration).context("cannot write prometheus.yml")?;
        let spec = Spec::new(find_program("prometheus")?, folder.path())
            .arg("--config.file")
            .arg(&file)
            .arg("--storage.tsdb.path")
            .arg(folder.path().join("data"))
            .args(["--web.listen-address", &format!("127.0.0.1:{}", port.number())]);
        Self::spawn(&spec, port, Some(folder)).await
    }

    /// Starts one as somebody else's file says; it listens on this port of 127.0.0.1. A folder given is kept as long as it runs.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn spawn(spec: &Spec, port: Port, folder: Option<TempDir>) -> Result<Self> {
        let number = port.number();
        let mut server = Self { process: Process::spawn(spec)?, port, _folder: folder };
        let outcome = eventually(patience(), || async {
            let answer = http::get(number, "/-/ready").await?;
            ensure!(answer.status == 200, "/-/ready answers {}: {}", answer.status, answer.body);
            Ok(())
        })
        .await;
        server.process.expect_running()?;
        outcome.with_context(|| format!("prometheus is not ready\n{}", server.process.tail()))?;
        Ok(server)
    }

    /// The series that an expression has now.
    ///
    /// # Errors
    /// When it is no PromQL or cannot be evaluated; the message is the server's.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let data = self.ask(&format!("/api/v1/query?query={}", percent_encoded(expression))).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// The rules, as the server has read them, with their state.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let data = self.ask("/api/v1/rules").await?;
        let groups = data["groups"].as_array().context("no groups")?;
        Ok(groups.iter().filter_map(|group| group["rules"].as_array()).flatten().cloned().collect())
    }

    /// The state of an alert: `inactive`, `pending` or `firing`.
    ///
    /// # Errors
    /// When there is no alert of this name.
    pub async fn alert(&self, name: &str) -> Result<String> {
        let rules = self.rules().await?;
        let rule = rules.iter().find(|rule| rule["name"] == name).with_context(|| format!("no alert {name}"))?;
        Ok(rule["state"].as_str().context("no state")?.to_owned())
    }

    async fn ask(&self, path: &str) -> Result<Value> {
        let answer = http::get(self.port.number(), path).await?;
        let body: Value = serde_json::from_str(&answer.body).with_context(|| format!("not JSON: {}", answer.body))?;
        if body["status"] != "success" {
            bail!("{path}: {}", body["error"]);
        }
        Ok(body["data"].clone())
    }
}

/// Runs `promtool`, which the same package brings, in a folder; its output when it is content.
///
/// # Errors
/// When it is not installed, does not end, or finds a fault, which the message tells.
pub async fn promtool(folder: &Path, arguments: &[&str]) -> Result<String> {
    let work = tempfile::tempdir().context("no temp folder")?;
    let log = work.path().join("output");
    // Output goes to the log as well; files are named relative to the folder it runs in.
    let spec = Spec::new(find_program("promtool")?, folder).log(&log).args(arguments);
    let mut process = Process::spawn(&spec)?;
    let status = process.exit(Duration::from_secs(60)).await?;
    let output = process.log()?;
    ensure!(status.success(), "promtool {} ended with {status}:\n{output}", arguments.join(" "));
    Ok(output)
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

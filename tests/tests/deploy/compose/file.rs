//! A compose file as docker-compose itself understands it: variables filled in, `extends` and anchors resolved.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Context, Result, bail, ensure};
use reflow_tracing_tests::process::find_program;
use serde_json::Value;

use crate::image::repository;

/// The two folders from which people start the cluster.
pub const CLUSTER: [&str; 2] = ["deploy/docker-compose.yml", "examples/tracing_integration/docker-compose.yml"];
/// The one-process program.
pub const STANDALONE: &str = "deploy/docker-compose.standalone.yml";
/// What both of the cluster's files extend.
pub const SERVICES: &str = "deploy/compose/services.yml";

/// What docker-compose makes of a file, with these variables and no `.env` of somebody's.
///
/// # Errors
/// What docker-compose finds wrong with the file.
pub fn config(file: &str, variables: &[(&str, &str)]) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let empty = folder.path().join("env");
    fs::write(&empty, "")?;
    let output = Command::new(find_program("docker-compose")?)
        .arg("--env-file")
        .arg(&empty)
        .arg("--file")
        .arg(repository().join(file))
        .args(["--profile", "demo", "config"])
        .current_dir(repository().join(file).parent().context("it lies in a folder")?)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(variables.iter().copied())
        .output()?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && complaints.is_empty(), "{file}: {complaints}");
    yaml(&output.stdout)
}

/// YAML as JSON, by the parser that docker-compose brings along.
pub fn yaml(text: &[u8]) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("yaml");
    fs::write(&file, text)?;
    let program = "import json,sys,yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let output = Command::new("/usr/bin/python3").args(["-c", program]).arg(&file).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("not JSON")
}

/// The services by name.
pub fn services(config: &Value) -> Result<BTreeMap<&str, &Value>> {
    let services = config["services"].as_object().context("no services")?;
    Ok(services.iter().map(|(name, service)| (name.as_str(), service)).collect())
}

/// The words of a list; none where there is no list.
pub fn words(list: &Value) -> Result<Vec<String>> {
    match list {
        Value::Null => Ok(Vec::new()),
        Value::Array(words) => {
            words.iter().map(|word| word.as_str().map(str::to_owned).context("not a word")).collect()
        }
        other => bail!("not a list of words: {other}"),
    }
}

/// The environment of a service.
pub fn environment(service: &Value) -> BTreeMap<String, String> {
    let pairs = service["environment"].as_object().into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))).collect()
}

/// `40s` or `1m0s` in seconds.
pub fn seconds(value: &Value) -> Result<u64> {
    let text = value.as_str().context("no time")?;
    let (minutes, rest) = text.split_once('m').unwrap_or(("0", text));
    let rest = rest.trim_end_matches('s');
    let number = |text: &str| text.parse::<u64>().with_context(|| format!("not a time: {value}"));
    Ok(number(minutes)? * 60 + if rest.is_empty() { 0 } else { number(rest)? })
}

/// The bind mounts of a service: path on the host, path in the container.
pub fn bind_mounts(service: &Value) -> Result<Vec<(String, String)>> {
    let volumes = words(&service["volumes"])?;
    let binds = volumes.iter().filter(|volume| volume.starts_with('/'));
    binds
        .map(|volume| {
            let mut parts = volume.split(':').map(str::to_owned);
            Ok((parts.next().context("no source")?, parts.next().context("no target")?))
        })
        .collect()
}

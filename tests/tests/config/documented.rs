//! Every variable of the reference is read, as the key beside it, within the range it tells.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::ServiceBuilder;

use crate::programs::{ALL, outcome};

/// One row of the reference.
#[derive(Debug)]
pub struct Row {
    pub key: String,
    variable: String,
    default: Option<String>,
    text: String,
}

pub fn reference() -> Result<Vec<Row>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/service/CONFIGURATION.md");
    let text = std::fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    let rows: Vec<Row> = text.lines().filter_map(row).collect();
    ensure!(rows.len() > 40, "only {} settings in {}", rows.len(), file.display());
    Ok(rows)
}

/// | `key`<br>`VARIABLE` | `default` or unset | text | reason |
fn row(line: &str) -> Option<Row> {
    let mut cells = line.strip_prefix("| ")?.split(" | ");
    let (key, variable) = cells.next()?.split_once("<br>")?;
    let code = |cell: &str| Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned());
    let default = code(cells.next()?);
    Some(Row { key: code(key)?, variable: code(variable)?, default, text: cells.next()?.to_owned() })
}

impl Row {
    /// Values that are not the default and may be set, the first that is taken counts: some are bound to another key.
    fn others(&self) -> Result<Vec<String>> {
        if let Some((_, options)) = self.text.split_once("Takes ") {
            let options = options.split('`').skip(1).step_by(2).map(str::to_owned);
            let default = self.default.as_deref().unwrap_or_default().trim_matches('"');
            return Ok(options.filter(|option| option != default).collect());
        }
        if let Some((_, range)) = self.text.rsplit_once("From ") {
            let (least, greatest) = range.trim_end_matches('.').split_once(" to ").context("not a range")?;
            let (least, greatest): (i64, i64) = (least.parse()?, greatest.parse()?);
            let default = self.default.as_deref().map_or(Ok(least), str::parse::<i64>)?;
            return Ok([default - 1, default + 1, greatest]
                .into_iter()
                .filter(|value| (least..=greatest).contains(value))
                .map(|value| value.to_string())
                .collect());
        }
        let text = match self.key.as_str() {
            "storage.postgres.connection_url" => "postgres://other.example/traces",
            "bus.nats.url" => "nats://other.example:4222",
            "redis.url" => "redis://other.example:6379/0",
            "telemetry.otlp_endpoint" => "http://other.example:4317",
            "metrics.endpoint" => "/other",
            "server.host" | "metrics.host" => "127.0.0.9",
            _ => "other",
        };
        Ok(vec![text.to_owned()])
    }
}

/// The line of a key in printed TOML, and where its value comes from.
fn printed<'a>(toml: &'a str, key: &str) -> Option<&'a str> {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut current = "";
    toml.lines().find(|line| {
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            current = header;
        }
        current == section && line.strip_prefix(name).is_some_and(|rest| rest.starts_with(" = "))
    })
}

fn collector() -> ServiceBuilder {
    ALL[1].good().arg("--print-config")
}

#[tokio::test]
async fn every_documented_variable_sets_its_key() -> Result<()> {
    for row in reference()? {
        let mut refusals = String::new();
        let mut taken = false;
        for value in row.others()? {
            let (code, output, errors) = outcome(collector().env(&row.variable, &value)).await?;
            if code != Some(0) {
                refusals.push_str(&errors);
                continue;
            }
            let line = printed(&output, &row.key).with_context(|| format!("{} is not printed:\n{output}", row.key))?;
            ensure!(line.contains(&value), "{} = {value} is printed as {line}", row.variable);
            ensure!(line.ends_with(&format!("# environment variable {}", row.variable)), "{line}");
            taken = true;
            break;
        }
        ensure!(taken, "no other value of {} is taken:\n{refusals}", row.variable);
    }
    Ok(())
}

#[tokio::test]
async fn documented_defaults_and_ranges_are_those_of_the_program() -> Result<()> {
    let (_, output, _) = outcome(ALL[0].bare().arg("--print-config")).await?;
    let rows = reference()?;
    for row in &rows {
        // The harness sets the host.
        let Some(default) = row.default.as_deref().filter(|_| row.key != "server.host") else { continue };
        let line = printed(&output, &row.key).with_context(|| format!("{} is not printed:\n{output}", row.key))?;
        ensure!(line.ends_with(&format!(" = {default}")), "{} is documented with {default}: {line}", row.key);
    }
    // All at once: each mistake is told.
    let mut service = collector();
    let mut expected = Vec::new();
    for row in &rows {
        if let Some((_, range)) = row.text.rsplit_once("From ") {
            let greatest: i64 = range.trim_end_matches('.').split_once(" to ").context("not a range")?.1.parse()?;
            service = service.env(&row.variable, (greatest + 1).to_string());
            expected.push(&row.variable);
        }
    }
    let (code, _, errors) = outcome(service).await?;
    ensure!(code == Some(2), "{code:?}");
    for variable in expected {
        ensure!(errors.contains(&format!("{variable}:")), "too much for {variable} is not told:\n{errors}");
    }
    Ok(())
}

/// The variables of the client that README tells, for which a server in the same shell must not refuse to start.
fn of_the_client() -> Result<Vec<String>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    let table =
        text.split_once("| variable | default | effect |").context("README has no table of the client's variables")?.1;
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|')).filter_map(|line| line.split('|').nth(1));
    let names = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    let whole = |name: String| if name.starts_with('_') { format!("REFLOW_TRACING{name}") } else { name };
    let names: Vec<String> = names.map(whole).filter(|name| name.starts_with("REFLOW_TRACING_")).collect();
    ensure!(names.len() > 8, "only {names:?} in README");
    Ok(names)
}

#[tokio::test]
async fn a_server_takes_no_variable_of_its_clients_for_a_mistake() -> Result<()> {
    for program in &ALL {
        let service =
            of_the_client()?.iter().fold(program.good(), |service, name| service.env(name, "some: text = 0.1"));
        let (code, _, errors) = outcome(service.arg("--check-config")).await?;
        ensure!(code == Some(0), "{}: {code:?}\n{errors}", program.name);
    }
    Ok(())
}

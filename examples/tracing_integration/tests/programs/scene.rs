//! A server, and programs that are run against it.

use std::iter;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reflow_tracing_tests::{Service, answers, eventually, patience};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

/// All five.
pub const PROGRAMS: [&str; 5] =
    ["simple_client", "monitoring_client", "complex_workflow", "performance_test", "query_client"];

/// Where cargo has put a program.
pub fn executable(program: &str) -> &'static str {
    match program {
        "simple_client" => env!("CARGO_BIN_EXE_simple_client"),
        "monitoring_client" => env!("CARGO_BIN_EXE_monitoring_client"),
        "complex_workflow" => env!("CARGO_BIN_EXE_complex_workflow"),
        "performance_test" => env!("CARGO_BIN_EXE_performance_test"),
        "query_client" => env!("CARGO_BIN_EXE_query_client"),
        other => panic!("there is no program {other}"),
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` when a signal killed it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ended {
    /// Its standard output, if all went well.
    pub fn ok(self) -> Result<String> {
        ensure!(self.code == Some(0), "ended with {:?}\n{}\n{}", self.code, self.out, self.err);
        Ok(self.out)
    }
}

/// The server that these tests need: `reflow-tracing` with what it holds in memory.
pub async fn server() -> Result<Service> {
    Service::standalone().memory().start().await
}

/// A program, ready to be started.
pub fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(executable(program));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REFLOW_TRACING_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a program to its end.
pub async fn run(program: &str, arguments: &[&str]) -> Result<Ended> {
    let output = tokio::time::timeout(2 * patience(), command(program, arguments).output());
    let output = output.await.with_context(|| format!("{program} does not end"))??;
    let text = |bytes| String::from_utf8(bytes).context("the output is not text");
    Ok(Ended { code: output.status.code(), out: text(output.stdout)?, err: text(output.stderr)? })
}

/// Runs a program against a server to its end.
pub async fn run_at(server: &Service, program: &str, arguments: &[&str]) -> Result<Ended> {
    run_with(&server.url(), program, arguments).await
}

/// Runs a program against whatever is at an address to its end.
pub async fn run_with(url: &str, program: &str, arguments: &[&str]) -> Result<Ended> {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--server-url", url]).collect();
    run(program, &arguments).await
}

/// Runs the line of an output that begins with a program's name, as a reader would paste it.
pub async fn run_printed(out: &str, program: &str) -> Result<String> {
    let line = out.lines().map(str::trim).find(|line| line.starts_with(program));
    let line = line.with_context(|| format!("no {program} in {out}"))?;
    let folder = Path::new(executable(program)).parent().context("no folder")?.to_owned();
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(iter::once(folder).chain(std::env::split_paths(&inherited)))?;
    let shell = Command::new("bash").args(["-c", line]).env("PATH", path).kill_on_drop(true).output();
    let output = tokio::time::timeout(2 * patience(), shell).await.with_context(|| format!("no end: {line}"))??;
    ensure!(output.status.success(), "{line}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// A program that runs beside the test.
pub struct Running {
    child: Child,
    /// Lines of its standard output.
    pub out: Lines<BufReader<tokio::process::ChildStdout>>,
    /// Lines of its standard error.
    pub err: Lines<BufReader<tokio::process::ChildStderr>>,
}

impl Running {
    /// Starts a program against a server.
    pub fn start(server: &Service, program: &str, arguments: &[&str]) -> Result<Self> {
        Self::start_with(&server.url(), program, arguments)
    }

    /// Starts a program against whatever is at an address.
    pub fn start_with(url: &str, program: &str, arguments: &[&str]) -> Result<Self> {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--server-url", url]).collect();
        let mut child = command(program, &arguments).spawn()?;
        let out = child.stdout.take().context("no standard output")?;
        let err = child.stderr.take().context("no standard error")?;
        Ok(Self { child, out: BufReader::new(out).lines(), err: BufReader::new(err).lines() })
    }

    /// Sends a signal, by its name without `SIG`.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let pid = self.child.id().context("it has ended")?.to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().await?;
        ensure!(status.success(), "kill -s {name}: {status}");
        Ok(())
    }

    /// Waits for the end; gives the exit code and what was still to be read.
    pub async fn end(mut self) -> Result<Ended> {
        let (mut out, mut err) = (String::new(), String::new());
        let all = async {
            tokio::try_join!(rest(&mut self.out, &mut out), rest(&mut self.err, &mut err))?;
            anyhow::Ok(self.child.wait().await?)
        };
        let status = tokio::time::timeout(2 * patience(), all).await.context("it does not end")??;
        Ok(Ended { code: status.code(), out, err })
    }
}

/// `monitoring_client` at an address, once it is subscribed.
pub async fn watching(url: &str, arguments: &[&str]) -> Result<Running> {
    let mut running = Running::start_with(url, "monitoring_client", arguments)?;
    line_with(&mut running.err, "watching").await?;
    Ok(running)
}

async fn rest<R: AsyncRead + Unpin>(lines: &mut Lines<BufReader<R>>, text: &mut String) -> Result<()> {
    while let Some(line) = lines.next_line().await? {
        text.push_str(&line);
        text.push('\n');
    }
    Ok(())
}

/// The next line that holds this text.
pub async fn line_with<R: AsyncRead + Unpin>(lines: &mut Lines<BufReader<R>>, text: &str) -> Result<String> {
    let find = async {
        loop {
            match lines.next_line().await? {
                Some(line) if line.contains(text) => return Ok(line),
                Some(_) => {}
                None => bail!("the output ended without `{text}`"),
            }
        }
    };
    tokio::time::timeout(patience(), find).await.with_context(|| format!("no line with `{text}`"))?
}

/// Traces of a flow, whole, as soon as there are so many of them and all have ended.
pub async fn ended_traces(server: &Service, flow: &str, count: usize) -> Result<Vec<Value>> {
    eventually(patience(), || async {
        let mut client = server.connect().await?;
        let query = json!({"flow_id": flow, "execution_id": null, "time_range": null, "status": null,
                           "actor_filter": null, "limit": 100, "offset": 0});
        let answer = client.ask(&json!({"QueryTraces": {"query": query}})).await?;
        let (traces, _) = answers::found(&answer)?;
        ensure!(traces.len() == count, "{} traces of {flow} instead of {count}", traces.len());
        ensure!(traces.iter().all(|trace| trace["status"] != "Running"), "not all have ended");
        Ok(traces.clone())
    })
    .await
}

/// How often each event type is in a trace.
pub fn count(trace: &Value, event_type: &str) -> usize {
    let events = trace["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    events.iter().filter(|event| is(event, event_type)).count()
}

/// Whether an event is of this type.
pub fn is(event: &Value, event_type: &str) -> bool {
    event["event_type"] == event_type || event["event_type"].get(event_type).is_some()
}

/// How long a program may take to say that nobody answers.
pub const SOON: Duration = Duration::from_secs(5);

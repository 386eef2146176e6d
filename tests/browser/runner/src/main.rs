//! Runs a test executable that was compiled for wasm32, in Node or in headless Chromium. Cargo calls it (as the target's
//! runner) with the executable and the arguments of `cargo test`.
//!
//! `REFLOW_TEST_IN` = `node` | `chromium` says where. Beside the tests stands a [`Control`], by which they start real servers; Node
//! learns of its address by the environment and a browser, which has none, by its user agent.
//!
//! wasm-bindgen's own runner does the rest. It takes its settings from the environment, and a process should not change its own
//! while threads run, so it runs in a second process: this executable again, called with `REFLOW_TEST_INNER`.

use std::ffi::OsString;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use reflow_tracing_browser_runner::chromium;
use reflow_tracing_browser_runner::control::Control;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStdout;

/// For all tests of an executable together: generous, it is used up only by a failure.
const TEST_TIMEOUT_SECS: &str = "180";

/// Makes up for what a Node older than 20.10 lacks.
const OLDER_NODE: &str = concat!("--require=", env!("CARGO_MANIFEST_DIR"), "/older_node.cjs");

fn main() -> Result<ExitCode> {
    if std::env::var_os("REFLOW_TEST_INNER").is_some() {
        wasm_bindgen_cli::wasm_bindgen_test_runner::run_cli_with_args(std::env::args_os())?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start a runtime")?;
    runtime.block_on(run(std::env::args_os().skip(1).collect()))
}

async fn run(arguments: Vec<OsString>) -> Result<ExitCode> {
    let control = Control::start().await?;
    // ChromeDriver is killed at the end, and leaves the browser's profile behind.
    let scratch = tempfile::tempdir().context("no temp folder")?;
    let ourselves = std::env::current_exe().context("this executable does not know where it is")?;
    let mut inner = tokio::process::Command::new(ourselves);
    inner
        .args(arguments)
        .env("REFLOW_TEST_INNER", "1")
        .env("TMPDIR", scratch.path())
        .env("WASM_BINDGEN_TEST_TIMEOUT", TEST_TIMEOUT_SECS)
        .env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", "30")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    match std::env::var("REFLOW_TEST_IN").as_deref() {
        Ok("node") => {
            inner.env("REFLOW_TEST_CONTROL", control.url());
            if let Some(argument) = node_argument().await? {
                inner.env("NODE_ARGS", argument);
            }
        }
        Ok("chromium") => {
            let agent = format!("--user-agent=reflow-test-control={}", control.url());
            let capabilities = scratch.path().join("webdriver.json");
            std::fs::write(&capabilities, chromium::capabilities(&[&agent]).to_string())
                .context("cannot write the capabilities")?;
            inner
                .env("WASM_BINDGEN_USE_BROWSER", "1")
                .env("CHROMEDRIVER", chromium::driver()?)
                .env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", capabilities);
        }
        _ => bail!("REFLOW_TEST_IN must say where the tests are to run: node or chromium"),
    }
    let mut inner = inner.spawn().context("cannot start the inner runner")?;
    let passed = echo(inner.stdout.take().context("the inner runner has no output")?).await?;
    let status = inner.wait().await.context("cannot wait for the inner runner")?;
    control.stop().await;
    if status.success() && !passed {
        // Node ends, and successfully, when nothing can happen any more, however many promises wait.
        bail!("the tests ended without a result: one of them waited for what could not happen");
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Passes the output on, and says whether it tells of success.
async fn echo(output: ChildStdout) -> Result<bool> {
    let mut lines = BufReader::new(output).lines();
    let mut passed = false;
    while let Some(line) = lines.next_line().await.context("cannot read the inner runner's output")? {
        passed |= line.starts_with("test result: ok");
        println!("{line}");
    }
    Ok(passed)
}

/// What this Node has to be called with so that it has a `WebSocket`: nothing from version 22 on, a flag since 20.10, and before
/// that what Debian's Node brings in a package beside it.
async fn node_argument() -> Result<Option<&'static str>> {
    for argument in [None, Some("--experimental-websocket"), Some(OLDER_NODE)] {
        let output = tokio::process::Command::new("node")
            .args(argument)
            .args(["-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"])
            .stdin(Stdio::null())
            .output()
            .await
            .context("cannot run node")?;
        if output.status.success() {
            return Ok(argument);
        }
    }
    bail!("this Node has no WebSocket: 18 with Debian's package node-undici is needed, or 20.10 or newer")
}

//! `scripts/start_server.sh`: builds, starts with the configuration that lies beside it, and stops on ctrl-C.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{Port, eventually, http, patience};
use tokio::process::{Child, Command};

use crate::scene::run;

fn example() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The profile these tests were built with, so that nothing is built twice.
const PROFILE: &str = if cfg!(debug_assertions) { "dev" } else { "release" };

/// A `cargo` that finds the server built, where `tests/run.sh` has built it minutes ago: with the environment of a test, the real
/// one would take much of it for changed and build it anew. Whatever else it is told, it does.
fn cargo_of_tests(folder: &Path) -> Result<()> {
    let Some(cargo) = std::env::var_os("CARGO").filter(|_| std::env::var_os("REFLOW_TEST_BIN_DIR").is_some()) else {
        return Ok(());
    };
    let cargo = Path::new(&cargo).display();
    let build = format!("build --quiet --workspace --bin reflow-tracing --profile {PROFILE}");
    let text = format!("#!/bin/sh\n[ \"$*\" = '{build}' ] || exec '{cargo}' \"$@\"\n");
    let file = folder.join("cargo");
    std::fs::write(&file, text)?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}

fn script(folder: &Path, name: &str, data: &Path, ports: [&Port; 2]) -> Result<Child> {
    let mut command = Command::new(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = [data.parent().unwrap_or(data).to_owned()];
    command.env("PATH", std::env::join_paths(first.into_iter().chain(std::env::split_paths(&path)))?);
    command
        .args(["--profile", PROFILE])
        .current_dir(folder)
        .env("REFLOW_TRACING_PORT", ports[0].number().to_string())
        .env("REFLOW_TRACING_METRICS_PORT", ports[1].number().to_string())
        .env("REFLOW_TRACING_SQLITE_PATH", data)
        .env("RUST_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command.spawn().with_context(|| format!("cannot start {name}"))
}

#[tokio::test]
async fn it_works_from_its_folder_and_from_the_root_and_stops_on_ctrl_c() -> Result<()> {
    let data = tempfile::tempdir()?;
    cargo_of_tests(data.path())?;
    let root = example().join("../..");
    for (folder, name) in
        [(example(), "./scripts/start_server.sh"), (root, "examples/tracing_integration/scripts/start_server.sh")]
    {
        let (port, admin) = (Port::reserve()?, Port::reserve()?);
        let database = data.path().join("traces.db");
        let mut server = script(&folder, name, &database, [&port, &admin])?;
        // It may have to build first.
        let ready = eventually(10 * patience(), || async {
            let answer = http::get(admin.number(), "/readyz").await?;
            ensure!(answer.status == 200, "{}", answer.body);
            Ok(())
        });
        tokio::select! {
            ready = ready => ready?,
            ended = server.wait() => anyhow::bail!("{name} ended with {}", ended?),
        }
        let url = format!("ws://127.0.0.1:{}", port.number());
        run("simple_client", &["--server-url", &url, "--count", "1", "--delay", "0"]).await?.ok()?;
        assert!(database.is_file(), "it does not keep its data where it was told");

        let pid = server.id().context("it has ended")?.to_string();
        Command::new("kill").args(["-s", "INT", &pid]).status().await?;
        let output = tokio::time::timeout(patience(), server.wait_with_output()).await.context("it goes on")??;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {told}", output.status);
        let gone = http::get(admin.number(), "/readyz").await;
        assert!(gone.is_err(), "something still answers");
    }
    Ok(())
}

#[tokio::test]
async fn help_and_wrong_arguments_are_told() -> Result<()> {
    let script = example().join("scripts/start_server.sh");
    let help = Command::new(&script).arg("--help").output().await?;
    let text = String::from_utf8_lossy(&help.stdout);
    assert!(help.status.success() && text.contains("--profile") && !text.contains("set -euo"), "{text}");
    for (arguments, told) in [(&["--fast"][..], "unknown argument --fast"), (&["--profile"], "needs a name")] {
        let output = Command::new(&script).args(arguments).output().await?;
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(told), "{arguments:?}");
    }
    Ok(())
}

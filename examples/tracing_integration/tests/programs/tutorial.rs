//! `README.md`: its commands, one after the other, as a reader pastes them, against a server.
//!
//! Two things are changed: a program that is built already is run instead of `cargo run`, and the server is the test's own.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use reflow_tracing_tests::patience;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::scene::{PROGRAMS, executable, line_with, server};

const CARGO: &str = "cargo run -q --release --bin ";

/// The lines of all `sh` blocks, those that end in a backslash joined with the next.
fn commands(readme: &str) -> Vec<String> {
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let text: String = blocks.collect::<String>().replace("\\\n", " ");
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_command_of_the_tutorial_works() -> Result<()> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))?;
    let (server, folder) = (server().await?, tempfile::tempdir()?);
    let mut seen = Vec::new();
    let mut waiting = None;
    for line in commands(&readme) {
        // Has a test of its own.
        if line.contains("start_server.sh") {
            seen.push("start_server.sh".to_owned());
            continue;
        }
        let rest = line.strip_prefix(CARGO).with_context(|| format!("not one of the programs: {line}"))?;
        let (program, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let rest = rest.trim_start().trim_start_matches("--").trim_start();
        // A pipe is another program's, and `&` is the shell's.
        let cut = rest.find(['|', '&', '>']).unwrap_or(rest.len());
        let (arguments, after) = rest.split_at(cut);
        let command = format!("{} {arguments} --server-url {} {after}", executable(program), server.url());
        let background = command.trim_end().ends_with('&');
        let command = command.trim_end().trim_end_matches('&').to_owned();
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("set -eo pipefail; {command}")]).current_dir(folder.path()).kill_on_drop(true);
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        seen.push(program.to_owned());
        if background {
            let mut child = shell.spawn()?;
            // A reader takes a moment until the next command. A test does not, and must not be quicker than the subscription.
            let mut told = BufReader::new(child.stderr.take().context("no standard error")?).lines();
            line_with(&mut told, "watching").await?;
            waiting = Some((line, child, told));
            continue;
        }
        let output = tokio::time::timeout(2 * patience(), shell.output()).await.with_context(|| line.clone())??;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {}\n{told}", output.status);
    }
    if let Some((line, child, mut told)) = waiting {
        let output =
            tokio::time::timeout(patience(), child.wait_with_output()).await.with_context(|| line.clone())??;
        line_with(&mut told, "50 events").await?;
        assert!(output.status.success() && !output.stdout.is_empty(), "{line}: {}", output.status);
    }
    for program in PROGRAMS.into_iter().chain(["start_server.sh"]) {
        assert!(seen.iter().any(|other| other == program), "the tutorial never runs {program}");
    }
    for file in ["flow.svg", "events.parquet"] {
        assert!(folder.path().join(file).is_file(), "the tutorial makes no {file}");
    }
    Ok(())
}

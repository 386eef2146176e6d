//! Exit codes: wrong usage, a server that is not there, a reader that goes away.

use std::time::Instant;

use anyhow::{Context, Result};
use reflow_tracing_tests::{Port, patience};
use tokio::process::Command;

use crate::scene::{PROGRAMS, SOON, executable, run, run_at, server};

#[tokio::test]
async fn help_has_examples_and_exit_codes() -> Result<()> {
    for program in PROGRAMS {
        let help = run(program, &["--help"]).await?.ok()?;
        for text in ["Examples:", program, "--server-url", "Exit codes: 0 done"] {
            assert!(help.contains(text), "{program}: no `{text}` in\n{help}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn wrong_usage_ends_with_2_and_says_what_is_wrong() -> Result<()> {
    for (program, arguments, told) in [
        ("simple_client", &["--count", "0"][..], "--count"),
        ("simple_client", &["--delay", "soon"], "--delay"),
        ("simple_client", &["--server-url", "localhost:8080"], "must begin with ws://"),
        ("monitoring_client", &["--event-types", "created,exploded"], "message_received"),
        ("monitoring_client", &["--query", "--event-types", "created"], "--event-types is for live events"),
        ("complex_workflow", &["--failure-rate", "2"], "between 0 and 1"),
        ("performance_test", &["--duration", "1s", "--messages", "5"], "cannot be used with"),
        ("performance_test", &["--compression", "rar"], "brotli"),
        ("query_client", &["--time-range", "yesterday"], "--time-range"),
        ("query_client", &["--graph", "png"], "mermaid"),
        ("query_client", &["--output", "a.csv"], "--output needs"),
        ("query_client", &["--analyze", "--export", "csv"], "give --output"),
        ("query_client", &["--no-such-flag"], "--no-such-flag"),
    ] {
        let ended = run(program, arguments).await?;
        assert_eq!(ended.code, Some(2), "{program} {arguments:?}: {ended:?}");
        assert!(ended.err.contains(told), "{program} {arguments:?}: {}", ended.err);
    }
    Ok(())
}

#[tokio::test]
async fn a_dead_server_is_told_within_five_seconds_with_3() -> Result<()> {
    let nobody = Port::reserve()?;
    // Accepts connections and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    for port in [nobody.number(), silent.local_addr()?.port()] {
        let (url, shown) = (format!("ws://me:secret@127.0.0.1:{port}"), format!("ws://127.0.0.1:{port}"));
        let started = Instant::now();
        let ends = PROGRAMS.map(|program| {
            let url = url.clone();
            async move { (program, run(program, &["--server-url", &url]).await, started.elapsed()) }
        });
        for (program, ended, elapsed) in futures_util::future::join_all(ends).await {
            let ended = ended?;
            assert_eq!(ended.code, Some(3), "{program}: {ended:?}");
            assert!(ended.err.contains(&format!("no tracing server answers at {shown} (")), "{program}: {}", ended.err);
            assert!(!ended.err.contains("secret"), "{program}: {}", ended.err);
            assert!(ended.err.contains("start_server.sh"), "{program}: {}", ended.err);
            assert!(elapsed < SOON, "{program} took {elapsed:?}");
            assert_eq!(ended.out, "", "{program}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_a_program_without_a_word() -> Result<()> {
    let server = server().await?;
    run_at(&server, "performance_test", &["--messages", "3000"]).await?.ok()?;
    for (program, arguments) in [
        ("query_client", "--export jsonl"),
        ("query_client", "--export csv"),
        ("query_client", "--export json"),
        ("query_client", "--graph dot"),
        ("simple_client", "--verbose --count 500 --delay 0"),
        ("monitoring_client", "--metrics"),
    ] {
        let line = format!(
            "set -o pipefail; {} {arguments} --server-url {} | head -n 1 >/dev/null",
            executable(program),
            server.url()
        );
        let shell = Command::new("bash").args(["-c", &line]).kill_on_drop(true).output();
        let output = tokio::time::timeout(patience(), shell).await.with_context(|| format!("{program} goes on"))??;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments}: {} {told}", output.status);
        assert!(!told.contains("panicked") && !told.contains("error"), "{program} {arguments}: {told}");
    }
    Ok(())
}

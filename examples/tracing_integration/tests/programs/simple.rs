//! `simple_client`: one whole, ended trace, by its name.

use anyhow::{Context, Result};
use reflow_tracing_tests::Port;
use serde_json::json;

use crate::scene::{Running, count, ended_traces, line_with, run_at, run_printed, run_with, server};

#[tokio::test]
async fn a_run_is_one_whole_trace_that_is_ended_and_found_by_its_name() -> Result<()> {
    let server = server().await?;
    let arguments = ["--flow-name", "my flow", "--count", "7", "--delay", "1ms", "--verbose"];
    let out = run_at(&server, "simple_client", &arguments).await?.ok()?;
    assert_eq!(out.matches("generator.out → processor.in").count(), 7, "{out}");
    assert!(out.contains("7 of 7 messages, 25 events recorded, 25 acked"), "{out}");
    assert!(out.contains(&format!("http://127.0.0.1:{}/", server.port())), "{out}");
    assert!(!out.contains('\u{1b}'), "colours where there is no terminal: {out:?}");

    let traces = ended_traces(&server, "my flow", 1).await?;
    let id = traces[0]["trace_id"].as_str().context("a trace has an id")?;
    assert!(out.contains(id), "{id} is not in {out}");
    assert_eq!(traces[0]["status"], json!("Completed"));
    let counts = ["ActorCreated", "MessageSent", "DataFlow", "ActorCompleted"].map(|name| count(&traces[0], name));
    assert_eq!(counts, [2, 8, 7, 8]);
    let graph = run_printed(&out, "query_client").await?;
    assert!(graph.contains("my flow: 2 actors"), "{graph}");
    Ok(())
}

#[tokio::test]
async fn where_to_look_is_the_server_that_answered_without_its_password() -> Result<()> {
    let (server, nobody) = (server().await?, Port::reserve()?);
    let urls = format!("ws://me:secret@127.0.0.1:{},ws://me:secret@127.0.0.1:{}/", nobody.number(), server.port());
    for (program, arguments) in [
        ("simple_client", &["--flow-name", "it's $HOME", "--count", "1", "--delay", "0"][..]),
        ("complex_workflow", &["--items", "1", "--failure-rate", "0"]),
    ] {
        let out = run_with(&urls, program, arguments).await?.ok()?;
        assert!(out.contains(&format!("http://127.0.0.1:{}/", server.port())), "{out}");
        assert!(!out.contains("secret") && !out.contains(&format!(":{}", nobody.number())), "{out}");
        let found = run_printed(&out, "query_client").await?;
        assert!(found.contains("1 of 1 traces"), "{found}");
    }
    Ok(())
}

#[tokio::test]
async fn runs_of_one_name_are_traces_of_their_own_and_flow_id_is_the_same_flag() -> Result<()> {
    let server = server().await?;
    for flag in ["--flow-name", "--flow-id"] {
        run_at(&server, "simple_client", &[flag, "twice", "--count", "1", "--delay", "0"]).await?.ok()?;
    }
    ended_traces(&server, "twice", 2).await?;
    Ok(())
}

#[tokio::test]
async fn ctrl_c_ends_the_trace_as_cancelled() -> Result<()> {
    let server = server().await?;
    for signal in ["INT", "TERM"] {
        let arguments = ["--flow-name", signal, "--count", "100000", "--delay", "5ms", "--verbose"];
        let mut running = Running::start(&server, "simple_client", &arguments)?;
        line_with(&mut running.out, "message 3").await?;
        running.signal(signal).await?;
        let ended = running.end().await?;
        assert_eq!(ended.code, Some(130), "{ended:?}");
        assert!(ended.out.contains("stopped"), "{ended:?}");
        assert_eq!(ended_traces(&server, signal, 1).await?[0]["status"], json!("Cancelled"));
    }
    Ok(())
}

//! `query_client`: filters, analysis, graphs, exports.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use reflow_tracing_protocol::TraceEvent;
use reflow_tracing_protocol::client::{TracingClient, TracingConfig};
use reflow_tracing_protocol::wire::SamplingRule;
use reflow_tracing_tests::{Service, patience};
use serde_json::Value;

use crate::scene::{ended_traces, run_at, server};

/// Two orders that cannot be paid, and five messages.
async fn history() -> Result<(Service, usize)> {
    let server = server().await?;
    run_at(&server, "complex_workflow", &["--items", "2", "--failure-rate", "1"]).await?.ok()?;
    run_at(&server, "simple_client", &["--count", "5", "--delay", "0"]).await?.ok()?;
    let trace = &ended_traces(&server, "complex_workflow", 1).await?[0];
    ended_traces(&server, "simple_client", 1).await?;
    let events = trace["events"].as_array().context("no events")?.len();
    Ok((server, events))
}

#[tokio::test]
async fn filters_narrow_the_list() -> Result<()> {
    let (server, _) = history().await?;
    for (arguments, summary) in [
        (&[][..], "2 of 2 traces: 1 completed, 1 failed, 0 running"),
        (&["--limit", "1"], "1 of 2 traces"),
        (&["--flow-id", "simple_client"], "1 of 1 traces: 1 completed"),
        (&["--flow-id", "nothing"], "0 of 0 traces"),
        (&["--status", "failed"], "1 of 1 traces: 0 completed, 1 failed"),
        (&["--status", "cancelled"], "0 of 0 traces"),
        (&["--actor", "processor"], "1 of 1 traces: 1 completed"),
        (&["--time-range", "1h"], "2 of 2 traces"),
        (&["--time-range", "2020-01-01T00:00:00Z..2020-01-02T00:00:00Z"], "0 of 0 traces"),
    ] {
        let out = run_at(&server, "query_client", arguments).await?.ok()?;
        assert!(out.contains(summary), "{arguments:?}: {out}");
    }
    let out = run_at(&server, "query_client", &["--flow-id", "complex_workflow"]).await?.ok()?;
    assert!(out.contains("failed: 2 orders given up"), "{out}");
    Ok(())
}

#[tokio::test]
async fn beside_what_sampling_kept_stands_an_estimate_of_what_happened() -> Result<()> {
    let server = server().await?;
    let config = TracingConfig { server_url: server.url(), ..TracingConfig::default() };
    let half = SamplingRule::parse_all("type:MessageSent = 0.5")?;
    let client = TracingClient::builder(config).sampling(half).build()?;
    client.connect_within(patience()).await?;
    let trace_id = client.current_trace_id();
    for _ in 0..200 {
        let sent = TraceEvent::message_sent("worker".to_owned(), "out".to_owned(), "Number".to_owned(), 8);
        client.record_event(trace_id.clone(), sent).await?;
    }
    client.shutdown_within(patience()).await?;
    let kept = client.metrics().events_acked;
    let both = format!("{kept} of about {}", 2 * kept);
    // In the list, and once more in the line of the actor and in the sum of the analysis.
    for (arguments, times) in [(&[][..], 1), (&["--analyze"][..], 2)] {
        let out = run_at(&server, "query_client", arguments).await?.ok()?;
        assert!(kept < 200 && out.matches(&both).count() >= times, "{kept} kept: {out}");
    }
    Ok(())
}

#[tokio::test]
async fn analysis_tells_what_was_measured_and_a_dash_for_the_rest() -> Result<()> {
    let (server, events) = history().await?;
    let line = |out: &str, actor: &str| -> Result<Vec<String>> {
        let line = out.lines().find(|line| line.starts_with(actor)).with_context(|| format!("no {actor} in {out}"))?;
        Ok(line.split("  ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect())
    };
    let out = run_at(&server, "query_client", &["--flow-id", "complex_workflow", "--analyze"]).await?.ok()?;
    let charge = line(&out, "charge")?;
    assert_eq!(charge[1..5], ["8", "8", "2", "2"], "{out}");
    assert!(charge[6].ends_with("ms") && charge[11].ends_with("MiB"), "{charge:?}");
    assert!(out.contains("charge failed 8 times, first: order"), "{out}");
    assert!(out.contains(&format!("9 actors, {events} events in 1 trace;")), "{out}");

    let out = run_at(&server, "query_client", &["--flow-id", "simple_client", "--analyze"]).await?.ok()?;
    let processor = line(&out, "processor")?;
    assert_eq!(processor[1..5], ["5", "0", "5", "0"], "{out}");
    assert_eq!(processor[5..10], ["–", "–", "–", "–", "–"], "{out}");
    assert!(out.contains("measured no times"), "{out}");
    Ok(())
}

#[tokio::test]
async fn graphs_show_every_actor_and_connection_in_every_form() -> Result<()> {
    let (server, _) = history().await?;
    let folder = tempfile::tempdir()?;
    let graph = async |format: &str| -> Result<String> {
        run_at(&server, "query_client", &["--flow-id", "complex_workflow", "--graph", format]).await?.ok()
    };
    let text = graph("text").await?;
    assert!(text.contains("complex_workflow: 9 actors, 9 connections"), "{text}");
    assert!(text.contains("  └─ given_up → dead_letters.in  2 messages"), "{text}");
    let dot = graph("dot").await?;
    assert!(dot.starts_with("digraph \"complex_workflow\" {") && dot.trim_end().ends_with('}'), "{dot}");
    assert_eq!(dot.matches(" -> ").count(), 9, "{dot}");
    let mermaid = graph("mermaid").await?;
    assert!(mermaid.starts_with("flowchart LR\n") && mermaid.matches(" -->|").count() == 9, "{mermaid}");

    let file = folder.path().join("flow.svg");
    let path = file.to_str().context("no path")?;
    let arguments = ["--flow-id", "complex_workflow", "--graph", "svg", "--output", path, "--analyze"];
    let out = run_at(&server, "query_client", &arguments).await?.ok()?;
    assert!(out.contains("9 actors and 9 connections") && out.contains("took"), "{out}");
    let svg = std::fs::read_to_string(&file)?;
    assert_eq!((svg.matches("<rect").count(), svg.matches("<path d=").count()), (9, 9), "{svg}");
    Ok(())
}

#[tokio::test]
async fn exports_hold_every_event_in_every_form() -> Result<()> {
    let (server, events) = history().await?;
    let folder = tempfile::tempdir()?;
    let export = async |format: &str, file: &Path| -> Result<String> {
        let path = file.to_str().context("no path")?;
        let arguments = ["--flow-id", "complex_workflow", "--export", format, "--output", path];
        let out = run_at(&server, "query_client", &arguments).await?.ok()?;
        assert!(out.contains(&format!("wrote {events} events, to {path}")), "{out}");
        Ok(out)
    };
    let file = |name: &str| folder.path().join(name);

    export("json", &file("a.json")).await?;
    let traces: Value = serde_json::from_reader(File::open(file("a.json"))?)?;
    assert_eq!(traces[0]["events"].as_array().map(Vec::len), Some(events));
    export("jsonl", &file("a.jsonl")).await?;
    let lines = std::fs::read_to_string(file("a.jsonl"))?;
    let ids: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).map(|event| event["event_id"].clone()))
        .collect::<Result<_, _>>()?;
    assert_eq!(ids.len(), events);

    export("csv", &file("a.csv")).await?;
    let mut rows = csv::Reader::from_path(file("a.csv"))?;
    let rows: Vec<csv::StringRecord> = rows.records().collect::<Result<_, _>>()?;
    export("parquet", &file("a.parquet")).await?;
    let parquet = SerializedFileReader::new(File::open(file("a.parquet"))?)?;
    let mut count = 0;
    for (index, row) in parquet.get_row_iter(None)?.enumerate() {
        let row = row?;
        assert_eq!((row.get_string(0)?.as_str(), row.get_string(2)?.as_str()), (&rows[index][0], &rows[index][2]));
        assert_eq!(Value::from(row.get_string(2)?.as_str()), ids[index]);
        assert!(row.get_long(12)? > 0, "every event of this flow has its time");
        count += 1;
    }
    assert_eq!((count, rows.len()), (events, events));
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 4, "no unfinished file is left");

    // To standard output, with what is for people on standard error.
    let ended = run_at(&server, "query_client", &["--flow-id", "complex_workflow", "--export", "jsonl"]).await?;
    assert_eq!(ended.out.lines().count(), events);
    assert!(ended.err.contains("1 of 1 traces"), "{}", ended.err);
    let ended = run_at(&server, "query_client", &["--export", "csv", "--output", "/nowhere/a.csv"]).await?;
    assert!(ended.code == Some(1) && ended.err.contains("/nowhere/a.csv"), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn a_trace_too_large_for_an_answer_does_not_cost_the_others() -> Result<()> {
    let server = server().await?;
    run_at(&server, "performance_test", &["--messages", "45000"]).await?.ok()?;
    run_at(&server, "simple_client", &["--count", "5", "--delay", "0"]).await?.ok()?;
    ended_traces(&server, "simple_client", 1).await?;
    let ended = run_at(&server, "query_client", &["--export", "jsonl"]).await?;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("1 of the traces are missing above") && ended.err.contains("bytes"), "{}", ended.err);
    let of_the_small = ended.out.lines().filter(|line| line.contains("network_session")).count();
    assert_eq!(of_the_small, 19, "{}", ended.err);
    Ok(())
}

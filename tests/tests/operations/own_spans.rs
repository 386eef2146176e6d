//! What the services tell a telemetry collector of their own work, and what it costs them when there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use reflow_tracing_tests::{Cluster, Service, events, eventually, frames, frames::Batch, patience};
use serde_json::json;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::dashboard::deploy;
use crate::otlp::{Received, Receiver};

const ENDPOINT: &str = "REFLOW_TRACING_TELEMETRY__OTLP_ENDPOINT";
const COUNTS: &str = "reflow_telemetry_spans_total";

/// The spans and their attributes as ARCHITECTURE.md has them.
fn documented() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let text = std::fs::read_to_string(deploy().join("../ARCHITECTURE.md"))?;
    let section = text.split("\n## ").find(|section| section.starts_with("Spans")).context("no section Spans")?;
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let attributes = |cells: &str| {
        let last = cells.rsplit(" | ").next().unwrap_or_default();
        last.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    Ok(rows.map(|(name, cells)| (name.to_owned(), attributes(cells))).collect())
}

/// Sends a batch with a secret in it and asks for its trace.
async fn work(service: &Service) -> Result<Batch> {
    let mut events = events::program(20);
    events.push(events::actor_created("hunter2"));
    let batch = Batch::new("hunter2", events);
    let answer = service.connect_v2().await?.ask(&batch.request()).await?;
    ensure!(answer["BatchRecorded"]["accepted"] == 21, "{answer}");
    Cluster::trace_from(service, batch.trace_id, 21).await?;
    Ok(batch)
}

/// Looks at the spans of one batch's way, wherever each part of it ran.
async fn check(receiver: &Receiver, batch: &Batch, taking: &str, writing: &str, answering: &str) -> Result<()> {
    let of_batch = |span: &Received| span.get("reflow.chunk_id") == json!(batch.batch_id);
    let publish = receiver.span(taking, "publish", of_batch).await?;
    ensure!(publish.get("reflow.trace_id") == json!(batch.trace_id), "{publish:?}");
    ensure!(publish.get("reflow.events") == 21 && publish.get("reflow.result") == "durable", "{publish:?}");
    ensure!(publish.get("reflow.bytes").as_i64() > Some(0), "{publish:?}");
    ensure!(publish.span.kind() == SpanKind::Producer && publish.span.parent_span_id.is_empty(), "{publish:?}");
    ensure!(publish.span.end_time_unix_nano > publish.span.start_time_unix_nano, "{publish:?}");

    let of_publish = |span: &Received| span.span.links.iter().any(|link| link.span_id == publish.span.span_id);
    let commit = receiver.span(writing, "commit", of_publish).await?;
    ensure!(commit.get("reflow.chunks") == 1 && commit.get("reflow.events") == 21, "{commit:?}");
    ensure!(commit.get("reflow.stored_chunks") == 1 && commit.get("reflow.duplicate_chunks") == 0, "{commit:?}");
    ensure!(commit.get("reflow.result") == "ok" && commit.span.kind() == SpanKind::Consumer, "{commit:?}");
    ensure!(commit.get("reflow.rows").as_i64() > Some(0), "{commit:?}");

    let of_question = |span: &Received| span.get("reflow.question") == "get_trace";
    let answer = receiver.span(answering, "answer", of_question).await?;
    ensure!(answer.span.kind() == SpanKind::Server && answer.get("reflow.result") == "answered", "{answer:?}");
    let ask = receiver.span(taking, "ask", |span| span.span.span_id == answer.span.parent_span_id).await?;
    ensure!(ask.span.trace_id == answer.span.trace_id && ask.span.kind() == SpanKind::Client, "{ask:?}");
    ensure!(of_question(&ask) && ask.get("reflow.result") == "answered", "{ask:?}");

    for task in ["compaction", "retention"] {
        let run = receiver.span(writing, task, |span| span.get("reflow.result") == "ok").await?;
        ensure!(run.get("reflow.traces").is_i64() && run.get("reflow.chunks").is_i64(), "{run:?}");
    }
    Ok(())
}

/// Nothing is told but what may be, and who tells it is known.
fn check_all(spans: &[Received], services: &[&str]) -> Result<()> {
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for span in spans {
        told.entry(span.span.name.clone()).or_default().extend(span.attributes.keys().cloned());
    }
    ensure!(told == documented()?, "told are {told:?}, ARCHITECTURE.md has {:?}", documented()?);
    ensure!(!format!("{spans:?}").contains("hunter2"), "a client's words are in {spans:?}");
    let seen: BTreeSet<_> = spans.iter().map(Received::service).collect();
    ensure!(seen == services.iter().copied().collect(), "{seen:?}");
    let instances: BTreeSet<_> = spans.iter().map(|span| span.resource["service.instance.id"].to_string()).collect();
    ensure!(instances.len() == services.len(), "{instances:?}");
    for span in spans {
        ensure!(span.resource["service.version"] == env!("CARGO_PKG_VERSION"), "{:?}", span.resource);
        ensure!(span.span.events.is_empty(), "log lines are in {span:?}");
        ensure!(span.span.status.as_ref().is_none_or(|status| status.code() != StatusCode::Error), "{span:?}");
    }
    Ok(())
}

#[tokio::test]
async fn one_process_tells_of_its_work_and_its_last_spans_leave_with_it() -> Result<()> {
    let receiver = Receiver::start().await?;
    let quiet = Service::standalone().env("RUST_LOG", "off");
    let mut service =
        quiet.env("REFLOW_TRACING_STORAGE_BACKEND", "sqlite").env(ENDPOINT, receiver.endpoint()).start().await?;
    let batch = work(&service).await?;
    check(&receiver, &batch, "reflow-tracing", "reflow-tracing", "reflow-tracing").await?;
    // A refusal is told as what it is, by both sides.
    let missing = json!({"QueryTraces": {"query": {"limit": 1}, "after": "nonsense"}});
    let refused = service.connect_v2().await?.ask(&missing).await?;
    ensure!(refused["Error"]["code"] == "InvalidRequest", "{refused}");
    receiver.span("reflow-tracing", "answer", |span| span.get("reflow.result") == "refused").await?;
    eventually(patience(), || async {
        let exported = service.metrics().await?.sum(COUNTS, &[("result", "exported")]).context("not counted")?;
        ensure!(exported >= 5.0, "only {exported} spans counted as exported");
        Ok(())
    })
    .await?;

    let last = Batch::new("last", events::program(3));
    service.connect_v2().await?.ask(&last.request()).await?;
    ensure!(service.terminate().await?.success(), "{}", service.process().tail());
    let of_last = |span: &&Received| span.get("reflow.chunk_id") == json!(last.batch_id);
    ensure!(receiver.spans().iter().any(|span| of_last(&span)), "the last span was not flushed");
    check_all(&receiver.spans(), &["reflow-tracing"])?;
    ensure!(service.process().log()?.lines().all(|line| !line.contains("publish{")), "spans are in the log");
    Ok(())
}

#[tokio::test]
async fn a_batch_can_be_followed_through_the_services() -> Result<()> {
    let receiver = Receiver::start().await?;
    let cluster = Cluster::build().env(ENDPOINT, receiver.endpoint()).start().await?;
    let batch = work(&cluster.collectors[0]).await?;
    check(&receiver, &batch, "reflow-collector", "reflow-writer", "reflow-query").await?;
    check_all(&receiver.spans(), &["reflow-collector", "reflow-writer", "reflow-query"])
}

#[tokio::test]
async fn a_collector_that_is_gone_or_silent_costs_spans_and_nothing_else() -> Result<()> {
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let gone = TcpListener::bind("127.0.0.1:0").await?;
    let endpoints = [&silent, &gone].map(|listener| listener.local_addr().map(|address| format!("http://{address}")));
    drop(gone);
    for endpoint in endpoints {
        let mut service = Service::standalone().env(ENDPOINT, endpoint?).start().await?;
        let mut client = service.connect_v2().await?;
        let mut acked = 0.0;
        // Until more than one export has failed.
        while service.metrics().await?.sum(COUNTS, &[("result", "failed")]).context("not counted")? < 2.0
            || acked < 50.0
        {
            let answer = client.ask(&Batch::new("goes on", events::program(5)).request()).await?;
            ensure!(answer["BatchRecorded"]["accepted"] == 5, "{answer}");
            acked += 1.0;
        }
        let metrics = service.metrics().await?;
        ensure!(metrics.sum(COUNTS, &[("result", "exported")]) == Some(0.0), "who took them?");
        let waited = metrics.sum("reflow_session_publish_seconds_sum", &[]).context("no publishes")?;
        ensure!(waited < acked, "{acked} publishes took {waited} s: do they wait for the collector?");

        let began = Instant::now();
        ensure!(service.terminate().await?.success(), "{}", service.process().tail());
        ensure!(began.elapsed() < Duration::from_secs(10), "the end took {:?}", began.elapsed());
        let log = service.process().log()?;
        for line in ["the telemetry collector takes no spans", "own spans were lost in all"] {
            ensure!(log.contains(line), "{line:?} is not in the log");
        }
        ensure!(!log.contains("opentelemetry"), "the SDK adds lines of its own:\n{log}");
    }
    Ok(())
}

#[tokio::test]
async fn without_a_collector_nothing_is_counted() -> Result<()> {
    let service = Service::standalone().start().await?;
    service.connect().await?.ask(&frames::get_trace(Uuid::new_v4())).await?;
    ensure!(service.metric(COUNTS).await?.is_none(), "spans are counted and nobody takes them");
    Ok(())
}

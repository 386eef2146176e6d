//! Latency at 10,000 events a second: until a live viewer has an event, and until history has it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use futures_util::{SinkExt, StreamExt};
use reflow_tracing_tests::{Client, frames};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::load::Load;
use crate::meter::Latencies;
use crate::options::Options;
use crate::report::{Figure, Goal, Report};
use crate::senders::{batch_recorded, record, start_trace};
use crate::systems::System;

/// A batch of 50 every 5 ms, or ten frames every ms.
const V2_BEAT: (u64, usize) = (5, 50);
const V1_BEAT: (u64, usize) = (1, 10);
/// Events of a trace that is watched: more, and the next one begins.
const TRACE_EVENTS: usize = 10_000;

/// Measures both shapes of the product.
pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    for (shape, system) in [("standalone", System::local().await?), ("NATS", System::cluster().await?)] {
        let mut v2 = watched(&system, true, options.path_time()).await?;
        let mut v1 = watched(&system, false, options.path_time()).await?;
        for (protocol, latencies, p50) in [("v2", &mut v2, 5.0), ("v1", &mut v1, 10.0)] {
            let note = format!("{} events seen", latencies.len());
            for (share, quantile, goal) in [("p50", 0.5, p50), ("p99", 0.99, 25.0)] {
                let name = format!("send → live viewer, {protocol}, {shape}, {share}");
                let value = latencies.quantile_ms(quantile);
                report.figure(Figure::new(name, value, "ms").goal(Goal::AtMost(goal)).note(note.clone()));
            }
        }
        let mut history = to_history(&system, options.pick(200, 5)).await?;
        let p50 = history.quantile_ms(0.5);
        let figure = Figure::new(format!("send → in history, {shape}, p99"), history.quantile_ms(0.99), "ms");
        report.figure(figure.goal(Goal::AtMost(500.0)).note(format!("p50 {p50:.1} ms, {} traces", history.len())));
    }
    Ok(())
}

/// Latencies of the events that a viewer saw while a program sent for `time`.
async fn watched(system: &System, v2: bool, time: Duration) -> Result<Latencies> {
    let url = system.ingest_url();
    let mut viewer = if v2 { Client::connect_v2(&url).await? } else { Client::connect(&url).await? };
    let answer = viewer.ask(&frames::subscribe(&json!({}))).await?;
    ensure!(answer.get("Error").is_none(), "no subscription: {answer}");
    let stop = CancellationToken::new();
    let viewing = tokio::spawn(view(viewer, stop.clone()));
    let (sent, _) = tokio::try_join!(program(&url, v2, stop.clone()), async {
        tokio::time::sleep(time).await;
        stop.cancel();
        Ok(())
    })?;
    let latencies = viewing.await??;
    ensure!(latencies.len() * 10 > sent * 9, "the viewer saw {} of {sent} events", latencies.len());
    Ok(latencies)
}

/// Sends 10,000 events a second until `stop`, each stamped with the time at which it is sent; how many there were.
async fn program(url: &str, v2: bool, stop: CancellationToken) -> Result<usize> {
    let client = if v2 { Client::connect_v2(url).await? } else { Client::connect(url).await? };
    let (every_ms, at_once) = if v2 { V2_BEAT } else { V1_BEAT };
    let mut load = Load::new(7, Utc::now());
    let (mut sink, mut stream) = client.into_socket().split();
    let sending = async {
        let mut beat = interval(Duration::from_millis(every_ms));
        beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut sent, mut trace_id) = (0, Uuid::now_v7());
        while !stop.is_cancelled() {
            beat.tick().await;
            if sent % TRACE_EVENTS == 0 {
                trace_id = Uuid::now_v7();
                if !v2 {
                    sink.feed(Message::text(start_trace()?)).await?;
                }
            }
            let mut batch = load.batch(trace_id, "watched", sent as u64, at_once);
            batch.events.iter_mut().for_each(|event| event.timestamp = Utc::now());
            if v2 {
                sink.feed(Message::binary(batch.frame(trace_id)?)).await?;
            } else {
                for event in &batch.events {
                    sink.feed(Message::text(record(event)?)).await?;
                }
            }
            sink.flush().await?;
            sent += at_once;
        }
        Ok(sent)
    };
    let answers = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::select! {
        sent = sending => sent,
        () = answers => anyhow::bail!("the server has ended the program's connection"),
    }
}

/// Reads notifications until half a second after `stop`.
async fn view(viewer: Client, stop: CancellationToken) -> Result<Latencies> {
    let mut socket = viewer.into_socket();
    let mut latencies = Latencies::default();
    let end = async {
        stop.cancelled().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let mut end = std::pin::pin!(end);
    loop {
        let message = tokio::select! {
            () = &mut end => return Ok(latencies),
            message = socket.next() => message.context("the viewer's connection has ended")??,
        };
        let Message::Text(text) = message else { continue };
        let seen = Utc::now();
        let notification: Value = serde_json::from_str(&text)?;
        let stamp = notification.pointer("/EventNotification/event/timestamp").and_then(Value::as_str);
        let sent: DateTime<Utc> = stamp.with_context(|| format!("no event: {text:.300}"))?.parse()?;
        latencies.add((seen - sent).to_std().unwrap_or_default());
    }
}

/// How long it takes until `GetTrace` finds a trace that was sent, while others are being sent.
async fn to_history(system: &System, count: usize) -> Result<Latencies> {
    let stop = CancellationToken::new();
    let background = tokio::spawn({
        let (url, stop) = (system.ingest_url(), stop.clone());
        async move { program(&url, true, stop).await }
    });
    let mut sender = Client::connect_v2(&system.ingest_url()).await?.into_socket();
    let mut asker = Client::connect_v2(&system.query_url()).await?;
    let mut load = Load::new(8, Utc::now());
    let mut latencies = Latencies::default();
    for _ in 0..count {
        let trace_id = Uuid::now_v7();
        let frame = load.batch(trace_id, "asked_for", 0, 1).frame(trace_id)?;
        let sent = Instant::now();
        sender.send(Message::binary(frame)).await?;
        while asker
            .ask(&frames::get_trace(trace_id))
            .await?
            .pointer("/TraceData/trace")
            .is_none_or(|trace| trace.is_null())
        {
            ensure!(sent.elapsed() < Duration::from_secs(30), "trace {trace_id} is not in history after 30 s");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        latencies.add(sent.elapsed());
        batch_recorded(&mut sender).await?;
    }
    stop.cancel();
    background.await??;
    Ok(latencies)
}

//! `performance_test`: how much a server takes, how quickly it acks, and what that costs.

mod args;
mod report;
mod sender;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reflow_tracing_protocol::client::{ClientMetrics, TracingClient, TracingConfig, WhenFull};
use reflow_tracing_protocol::{FlowId, FlowVersion, TraceQuery};
use tokio::task::JoinSet;
use uuid::Uuid;

pub use self::args::Args;
use self::report::{Latency, Process, Report};
use self::sender::{Load, probe, send};
use crate::shared::connect::{connect_with, shown};
use crate::shared::ending::all_acked;
use crate::shared::exit::Interrupted;
use crate::shared::process::Used;
use crate::shared::protocol::Protocol;
use crate::shared::show::{count, maybe};
use crate::shared::stop;
use crate::shared::terminal::{progress, spinner, stdout};

/// Bytes of events that may wait in a client: some thousand, so that latency is not that of our own buffer.
const BUFFER_BYTES: usize = 4 << 20;
/// How long the last acks may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same once somebody has lost theirs.
const LAST_PATIENCE: Duration = Duration::from_secs(5);
/// A server that acks nothing for so long has gone, and what waits for room in a client would wait with it.
const STALLED: Duration = Duration::from_secs(15);
/// How long the history may take to follow.
const HISTORY_WITHIN: Duration = Duration::from_secs(5);

/// Runs the program.
///
/// # Errors
/// [`Unreachable`](crate::shared::exit::Unreachable), [`Interrupted`], and when not every event arrived.
pub async fn run(args: Args) -> Result<()> {
    let mut clients = Vec::new();
    for _ in 0..args.connections {
        clients.push(Arc::new(connected(&args, args.batch_size).await?));
    }
    let probing = Arc::new(connected(&args, 1).await?);
    let v1 = Protocol::of(&probing) == Protocol::V1;
    // The tail is no part of the flow's name, so that all runs are one flow, and yet each is found on its own.
    let flow_id = FlowId(format!("performance_test_{}", Uuid::new_v4()));
    let server_before = server_used(&clients[0]).await;
    let client_before = Used::ours();

    let load = Load::try_new(args.duration.is_none().then_some(args.messages))?;
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for (index, client) in clients.iter().enumerate() {
        let trace_id = client.start_trace(flow_id.clone(), version()).await?;
        let actors = actors(args.actors, args.connections, index as u64);
        senders.spawn(send(Arc::clone(client), trace_id, actors, Arc::clone(&load), PATIENCE));
    }
    let trace_id = probing.start_trace(flow_id.clone(), version()).await?;
    let probe = tokio::spawn(probe(Arc::clone(&probing), trace_id, Arc::clone(&load), PATIENCE));
    let (interrupted, failed) = until_done(&args, &load, &clients, &mut senders).await?;
    let elapsed = started.elapsed();
    load.over.store(true, Ordering::Relaxed);
    let probed = tokio::time::timeout(LAST_PATIENCE, probe).await;
    clients.push(probing);

    let client_after = Used::ours();
    let server_after = server_used(&clients[0]).await;
    let figures: Vec<ClientMetrics> = clients.iter().map(|client| client.metrics()).collect();
    let acked = figures.iter().map(|figures| figures.events_acked).sum();
    let events_stored = if v1 { None } else { stored(&clients[0], &flow_id, acked).await };

    let sum = |figure: fn(&ClientMetrics) -> u64| figures.iter().map(figure).sum::<u64>();
    let (before, after) = (sum(|f| f.bytes_before_compression), sum(|f| f.bytes_after_compression));
    let report = Report {
        protocol: if v1 { Protocol::V1 } else { Protocol::V2 }.name(),
        connections: args.connections,
        actors: args.actors,
        batch_size: args.batch_size,
        compression: args.compression.codec().name().to_owned(),
        interrupted,
        messages: load.passed.load(Ordering::Relaxed),
        elapsed_seconds: elapsed.as_secs_f64(),
        events: sum(|f| f.events_recorded),
        events_acked: acked,
        events_stored,
        events_per_second: acked as f64 / elapsed.as_secs_f64().max(1e-9),
        ack_latency: Latency::of(&load.latency()),
        batch_latency_at_most: Latency::bounds(&figures[..args.connections as usize]),
        batches: sum(|f| f.batches_acked),
        bytes_before_compression: before,
        bytes_after_compression: after,
        compression_ratio: (after > 0).then(|| before as f64 / after as f64),
        retries: sum(|f| f.batches_resent),
        connections_lost: sum(|f| f.connections_lost),
        server_errors: sum(|f| f.server_errors),
        events_rejected: sum(|f| f.events_rejected),
        events_dropped: sum(ClientMetrics::events_dropped),
        client: Process::between(client_before, client_after, elapsed),
        server: Process::between(server_before, server_after, elapsed),
        server_url: shown(&args.server_url),
    };
    let mut out = stdout();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        false => report.write(&mut out)?,
    }
    out.flush()?;
    for client in &clients {
        // What is not acked by now has been told above.
        let _ = client.shutdown_within(LAST_PATIENCE).await;
    }
    if let Some(error) = failed {
        return Err(error);
    }
    // A probe that never came back has been told as an event that was not acked.
    if let Ok(Ok(Err(error))) = probed
        && report.complete()
    {
        return Err(error.context("a probe failed"));
    }
    match (report.complete(), interrupted) {
        (false, _) => {
            all_acked(&clients)?;
            let (acked, stored) = (count(report.events_acked), maybe(report.events_stored, count));
            bail!("of {} events {acked} were acked in time, and {stored} are in the history", count(report.events))
        }
        (true, true) => Err(Interrupted.into()),
        (true, false) => Ok(()),
    }
}

async fn connected(args: &Args, batch_size: u64) -> Result<TracingClient> {
    let config = TracingConfig {
        server_url: args.server_url.clone(),
        batch_size: batch_size as usize,
        batch_timeout: Duration::from_millis(20),
        enable_compression: args.compression != args::Compression::None,
        ..TracingConfig::default()
    };
    let builder = TracingClient::builder(config)
        .codec(args.compression.codec())
        .flow_name("performance_test")
        .buffer_bytes(BUFFER_BYTES)
        .when_full(WhenFull::Wait)
        .answer_timeout(LAST_PATIENCE);
    connect_with(builder).await
}

fn version() -> FlowVersion {
    FlowVersion { major: 1, minor: 0, patch: 0, git_hash: None, timestamp: chrono::Utc::now() }
}

/// The actors of one connection: each has some of them, at least one.
fn actors(all: u64, connections: u64, connection: u64) -> Vec<String> {
    let mine: Vec<String> =
        (0..all).filter(|actor| actor % connections == connection).map(|actor| format!("actor_{actor}")).collect();
    if mine.is_empty() { vec![format!("actor_{}", connection % all)] } else { mine }
}

/// Shows progress until everything is acked, or nothing is any more. Returns whether somebody interrupted it, and what went wrong first.
async fn until_done(
    args: &Args,
    load: &Load,
    clients: &[Arc<TracingClient>],
    senders: &mut JoinSet<Result<()>>,
) -> Result<(bool, Option<anyhow::Error>)> {
    let bar = match args.duration {
        Some(_) => spinner("messages"),
        None => progress(args.messages, "messages"),
    };
    let (started, mut interrupted, mut failed) = (Instant::now(), false, None);
    let (mut acked, mut acked_at) = (0, started);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut stopped = std::pin::pin!(stop::wanted());
    let mut deadline = None;
    loop {
        tokio::select! {
            sender = senders.join_next() => match sender {
                Some(outcome) => {
                    if let Err(error) = outcome.context("a connection's task ended").flatten() {
                        failed.get_or_insert(error);
                        deadline.get_or_insert(Instant::now() + LAST_PATIENCE);
                        load.stop.store(true, Ordering::Relaxed);
                    }
                }
                None => break,
            },
            _ = tick.tick() => {
                bar.set_position(load.passed.load(Ordering::Relaxed));
                if args.duration.is_some_and(|duration| started.elapsed() >= duration) {
                    load.stop.store(true, Ordering::Relaxed);
                }
                let now_acked = clients.iter().map(|client| client.metrics().events_acked).sum();
                if acked != now_acked {
                    (acked, acked_at) = (now_acked, Instant::now());
                }
                if acked_at.elapsed() >= STALLED || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    senders.abort_all();
                    break;
                }
            }
            signal = &mut stopped, if !interrupted => {
                signal?;
                interrupted = true;
                deadline = Some(Instant::now() + LAST_PATIENCE);
                load.stop.store(true, Ordering::Relaxed);
            }
        }
    }
    bar.finish_and_clear();
    Ok((interrupted, failed))
}

async fn server_used(client: &TracingClient) -> Option<Used> {
    let told = client.server_metrics().await.ok().as_ref().and_then(Used::told);
    told.or_else(|| Used::listener(&client.server_url()?))
}

/// Events that the history has of this run; `None` when it does not answer. Waits a moment: an ack is no promise of being
/// readable in the same instant.
async fn stored(client: &TracingClient, flow_id: &FlowId, expected: u64) -> Option<u64> {
    let started = Instant::now();
    loop {
        let query = TraceQuery {
            flow_id: Some(flow_id.clone()),
            execution_id: None,
            time_range: None,
            status: None,
            actor_filter: None,
            limit: Some(1_000),
            offset: None,
        };
        let page = client.find_traces(query, None).await.ok()?;
        let counted: Option<u64> = page.traces.iter().map(|trace| Some(trace.counted.as_ref()?.event_count)).sum();
        let counted = counted?;
        if counted >= expected || started.elapsed() >= HISTORY_WITHIN {
            return Some(counted);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_are_shared_out_and_every_connection_has_one() {
        assert_eq!(actors(5, 2, 0), ["actor_0", "actor_2", "actor_4"]);
        assert_eq!(actors(5, 2, 1), ["actor_1", "actor_3"]);
        assert_eq!(actors(1, 3, 2), ["actor_0"]);
    }
}

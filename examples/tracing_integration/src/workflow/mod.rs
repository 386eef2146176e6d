//! `complex_workflow`: a pipeline of real actors with everything that makes tracing worth its while.

mod actor;
mod args;
mod order;
mod recorder;
mod stages;

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reflow_actor::message::Message;
use reflow_network::connector::{ConnectionPoint, Connector, InitialPacket};
use reflow_network::network::{Network, NetworkConfig};
use reflow_network::tracing::TracingConfig;
use reflow_tracing_protocol::client::TracingClient;
use reflow_tracing_protocol::{ExecutionStatus, FlowId, FlowVersion, TraceEventType};
use serde_json::json;
use tokio::sync::mpsc::{Receiver, channel};

use self::actor::{Ended, Shared, StageActor, WAITING};
pub use self::args::Args;
use self::order::Cause;
use self::recorder::{Details, Recorder};
use self::stages::{ATTEMPTS, CONNECTIONS, Stage};
use crate::shared::connect::connect_with;
use crate::shared::ending::{all_acked, where_to_look};
use crate::shared::exit::Interrupted;
use crate::shared::protocol::Protocol;
use crate::shared::show::{count, several, span};
use crate::shared::stop;
use crate::shared::terminal::{GOOD, WARN, progress, stdout};

/// What the flow is called.
const FLOW: &str = "complex_workflow";
/// How long the last acks may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the orders came out.
#[derive(Debug, Default)]
struct Outcome {
    paid: u64,
    given_up: u64,
}

/// Runs the program.
///
/// # Errors
/// [`Unreachable`](crate::shared::exit::Unreachable), [`Interrupted`], and whatever fails on the way.
pub async fn run(args: Args) -> Result<()> {
    let client = Arc::new(connected(&args).await?);
    let protocol = Protocol::of(&client);
    let version = FlowVersion { major: 1, minor: 0, patch: 0, git_hash: None, timestamp: chrono::Utc::now() };
    let trace_id = client.start_trace(FlowId::new(FLOW), version).await?;
    let started = Instant::now();
    let (ended, mut orders) = channel(WAITING);
    let recorder = Recorder::new(Arc::clone(&client), trace_id.clone());
    let shared = Arc::new(Shared { recorder, seed: args.seed, ended });
    let mut network = network(&args, &shared)?;
    network.start()?;

    let mut outcome = Outcome::default();
    let stopped = tokio::select! {
        watched = watch(args.items, &mut orders, &mut outcome) => watched.map(|()| false)?,
        signal = stop::wanted() => signal.map(|()| true)?,
    };
    // The pipeline's ends wait for nobody any more.
    orders.close();
    let delivered = client.shutdown_as(status(&outcome, stopped), PATIENCE).await;
    network.shutdown();

    let mut out = stdout();
    let head = if stopped { format!("{WARN}stopped{WARN:#}") } else { format!("{GOOD}done{GOOD:#}") };
    let (figures, charges) = (client.metrics(), shared.recorder.runs("charge"));
    writeln!(
        out,
        "{head} after {}: {} orders, {} paid, {} given up; {} charges tried; {} events recorded, {} acked by the server",
        span(started.elapsed()),
        count(args.items),
        count(outcome.paid),
        count(outcome.given_up),
        count(charges),
        count(figures.events_recorded),
        count(figures.events_acked),
    )?;
    let query = ["--flow-id", FLOW, "--limit", "1", "--analyze", "--graph", "text"];
    where_to_look(&mut out, &trace_id, protocol, &client, &query)?;
    if stopped {
        return Err(Interrupted.into());
    }
    delivered?;
    all_acked(std::slice::from_ref(&client))
}

async fn connected(args: &Args) -> Result<TracingClient> {
    let config = TracingConfig {
        server_url: args.server_url.clone(),
        batch_size: 200,
        batch_timeout: Duration::from_millis(50),
        ..TracingConfig::default()
    };
    connect_with(TracingClient::builder(config).flow_name(FLOW)).await
}

/// The actors and their connections. The network's own tracing is off: here the actors trace themselves.
fn network(args: &Args, shared: &Arc<Shared>) -> Result<Network> {
    let tracing = TracingConfig { enabled: false, ..TracingConfig::default() };
    let mut network = Network::new(NetworkConfig { tracing, ..NetworkConfig::default() });
    let (recorder, nothing) = (&shared.recorder, Cause::default());
    for (name, stage) in Stage::all(args.items, args.failure_rate) {
        let making = recorder.making(name);
        network.register_actor(name, StageActor::new(name, stage, Arc::clone(shared)))?;
        network.add_node(name, name, None)?;
        recorder.record(&making, TraceEventType::ActorCreated, Details::default(), &nothing);
    }
    for (from, out, to, port) in CONNECTIONS {
        let making = recorder.making(from);
        network.add_connection(Connector {
            from: ConnectionPoint::new(from, out, None),
            to: ConnectionPoint::new(to, port, None),
        });
        let attributes = vec![("to_actor", json!(to)), ("to_port", json!(port))];
        let connected = Details { port: Some((*out).to_owned()), attributes, ..Details::default() };
        recorder.record(&making, TraceEventType::PortConnected, connected, &nothing);
    }
    network.add_initial(InitialPacket { to: ConnectionPoint::new("source", "start", Some(Message::Flow)) });
    let seeded = vec![
        ("event", json!("network started")),
        ("items", json!(args.items)),
        ("failure_rate", json!(args.failure_rate)),
        ("seed", json!(args.seed)),
        ("attempts", json!(ATTEMPTS)),
    ];
    let details = Details { attributes: seeded, ..Details::default() };
    recorder.record(&recorder.making("source"), TraceEventType::NetworkEvent, details, &nothing);
    Ok(network)
}

/// Waits until all orders have come to an end.
async fn watch(items: u64, orders: &mut Receiver<Ended>, outcome: &mut Outcome) -> Result<()> {
    let bar = progress(items, "orders");
    while outcome.paid + outcome.given_up < items {
        match orders.recv().await.context("the pipeline has ended")? {
            Ended::Paid => outcome.paid += 1,
            Ended::GivenUp => outcome.given_up += 1,
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

fn status(outcome: &Outcome, stopped: bool) -> ExecutionStatus {
    match outcome.given_up {
        _ if stopped => ExecutionStatus::Cancelled,
        0 => ExecutionStatus::Completed,
        given_up => ExecutionStatus::Failed {
            error: format!("{} given up after {ATTEMPTS} attempts each", several(given_up, "order")),
        },
    }
}

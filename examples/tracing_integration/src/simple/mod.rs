//! `simple_client`: the smallest traced program there is, and how to end one so that nothing of it is lost.

mod actors;
mod args;
mod tap;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use reflow_actor::message::Message;
use reflow_network::connector::{ConnectionPoint, Connector, InitialPacket};
use reflow_network::network::{Network, NetworkConfig};
use reflow_network::tracing::TracingConfig;
use reflow_tracing_protocol::ExecutionStatus;
use reflow_tracing_protocol::client::{ClientMetrics, TracingClient};
use tokio::sync::mpsc::{Receiver, Sender, channel};

pub use self::args::Args;
use self::{
    actors::{Generator, Processed, Processor, WAITING},
    tap::Tap,
};
use crate::shared::connect::connect;
use crate::shared::ending::{all_acked, where_to_look};
use crate::shared::exit::Interrupted;
use crate::shared::protocol::Protocol;
use crate::shared::show::{count, span};
use crate::shared::terminal::{GOOD, NAME, WARN, progress, stdout};
use crate::shared::{eventually, stop};

/// How long the network may take to record its last events, and the server to ack them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the program. `REFLOW_TRACING_FLOW_NAME` must be set to the flow's name: a network's own client takes it from there.
///
/// # Errors
/// [`Unreachable`](crate::shared::exit::Unreachable), [`Interrupted`], and whatever fails on the way.
pub async fn run(args: Args) -> Result<()> {
    // A network would start all the same and keep its events until a server comes. Here somebody wants to see a trace now.
    let first = connect(&args.server_url).await?;
    let protocol = Protocol::of(&first);
    first.shutdown().await?;

    let started = std::time::Instant::now();
    let (report, mut processed) = channel(WAITING);
    let tap = Tap::default();
    let sent = Arc::new(AtomicU64::new(0));
    let mut network = network(&args, &tap, &sent, report)?;
    network.start()?;
    let client = tap.client().context("the network did not start its tracing")?;

    let mut done = 0;
    let outcome = tokio::select! {
        outcome = watch(&args, &mut processed, &mut done) => outcome,
        stopped = stop::wanted() => stopped.map_err(anyhow::Error::from).and(Err(Interrupted.into())),
    };
    // The generator ends, and the processor waits for nobody any more.
    processed.close();
    let trace_id = client.current_trace_id();
    // What the network records after this is dropped.
    last_events(&client, &sent).await;
    // This ends the trace; `network.shutdown()` would do the same in the background, and nobody could wait for it.
    let delivered = match outcome {
        Ok(()) => client.shutdown_within(PATIENCE).await,
        Err(_) => client.shutdown_as(ExecutionStatus::Cancelled, PATIENCE).await,
    };
    network.shutdown();

    let figures = client.metrics();
    let mut out = stdout();
    writeln!(
        out,
        "{} after {}: {} of {} messages, {} events recorded, {} acked by the server",
        if outcome.is_ok() { format!("{GOOD}done{GOOD:#}") } else { format!("{WARN}stopped{WARN:#}") },
        span(started.elapsed()),
        count(done),
        count(args.count),
        count(figures.events_recorded),
        count(figures.events_acked),
    )?;
    where_to_look(&mut out, &trace_id, protocol, &client, &["--flow-id", &args.flow_name, "--graph", "text"])?;
    outcome?;
    delivered?;
    all_acked(std::slice::from_ref(&client))
}

fn network(args: &Args, tap: &Tap, sent: &Arc<AtomicU64>, report: Sender<Processed>) -> Result<Network> {
    let tracing = TracingConfig { server_url: args.server_url.clone(), enabled: true, ..TracingConfig::default() };
    let mut network = Network::new(NetworkConfig { tracing, ..NetworkConfig::default() });
    let generator = Generator::new(args.count, args.delay, Arc::clone(sent), report.clone());
    network.register_actor("Generator", tap.on(generator))?;
    network.register_actor("Processor", tap.on(Processor::new(report)))?;
    network.add_node("generator", "Generator", None)?;
    network.add_node("processor", "Processor", None)?;
    let (from, to) = (at("generator", "out", None), at("processor", "in", None));
    network.add_connection(Connector { from, to });
    network.add_initial(InitialPacket { to: at("generator", "start", Some(Message::Flow)) });
    Ok(network)
}

fn at(actor: &str, port: &str, initial_data: Option<Message>) -> ConnectionPoint {
    ConnectionPoint::new(actor, port, initial_data)
}

/// Tells of the messages until all are processed.
async fn watch(args: &Args, processed: &mut Receiver<Processed>, done: &mut u64) -> Result<()> {
    let bar = if args.verbose { indicatif::ProgressBar::hidden() } else { progress(args.count, "messages") };
    while *done < args.count {
        let Processed { text, letters } = processed.recv().await.context("the processor has ended")?;
        *done += 1;
        bar.inc(1);
        if args.verbose {
            writeln!(stdout(), "{done:>5}  generator.out → processor.in  {NAME}{text}{NAME:#}  {letters} letters")?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// The network records a message's last events just after its actor has run. They are known by their number: both actors created,
/// the first message to the generator and the end of its run, and for each message sent, passed and processed.
async fn last_events(client: &TracingClient, sent: &AtomicU64) {
    eventually(PATIENCE, || all_told(&client.metrics(), sent.load(Ordering::Relaxed))).await;
}

/// Whether all that the network tells of so many messages has been told, be it left out by sampling.
fn all_told(figures: &ClientMetrics, messages: u64) -> bool {
    figures.events_recorded + figures.events_sampled_out >= 4 + 3 * messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sampling_left_out_is_not_waited_for() {
        let mut figures = ClientMetrics::default();
        (figures.events_recorded, figures.events_sampled_out) = (20, 13);
        assert!(!all_told(&figures, 10));
        figures.events_sampled_out += 1;
        assert!(all_told(&figures, 10));
    }
}

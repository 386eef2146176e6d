//! `reflow-collector`: configuration, logs, admin port, bus, directory, sessions; see `run.rs` for the order. One job beside it.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, value_parser};
use reflow_tracing_collector::{Smoke, start};
use reflow_tracing_service::{CommonArgs, Exit, Role, arguments, run};

/// Takes events from Reflow programs over WebSocket and puts them on the bus.
#[derive(Debug, Parser)]
#[command(name = "reflow-collector", version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    job: Option<Job>,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Send a batch, read it back, and say how long that took; exit code 1 when it cannot be done. Needs no configuration.
    Smoke {
        /// The collector (or standalone server) to send to, such as ws://collector:8080/.
        #[arg(long, value_name = "URL", value_parser = plain_websocket)]
        to: String,
        /// The query service, or any other server of the same installation, to read from.
        #[arg(long, value_name = "URL", value_parser = plain_websocket)]
        read_from: String,
        /// Events in the batch.
        #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = value_parser!(u16).range(1..=1_000))]
        events: u16,
        /// For all of it, in seconds; services that are still starting are waited for.
        #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = value_parser!(u64).range(1..=3_600))]
        timeout: u64,
    },
}

fn main() -> ExitCode {
    let args: Args = arguments();
    match args.job {
        None => run(Role::Collector, &args.common, start),
        Some(Job::Smoke { to, read_from, events, timeout }) => {
            smoke(Smoke { to, read_from, events: events.into(), deadline: Duration::from_secs(timeout) }).into()
        }
    }
}

/// Not a job of the service: it needs neither its configuration nor its logs.
fn smoke(smoke: Smoke) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return Exit::Failed;
        }
    };
    match runtime.block_on(smoke.run()) {
        Ok(report) => {
            println!(
                "{} events acked by {} after {} ms, read back from {} {} ms later, trace {}",
                smoke.events,
                smoke.to,
                report.acked_after.as_millis(),
                smoke.read_from,
                report.read_after.as_millis(),
                report.trace_id
            );
            Exit::Clean
        }
        Err(error) => {
            eprintln!("{error:#}");
            Exit::Failed
        }
    }
}

fn plain_websocket(url: &str) -> Result<String, String> {
    match url.strip_prefix("ws://") {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(url.to_owned()),
        _ => Err("must be ws://host:port/; TLS ends before the services, so name the service itself".to_owned()),
    }
}

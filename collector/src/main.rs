//! `reflow-collector`: configuration, logs, admin port, bus, directory, sessions; see `run.rs` for the order.

use std::process::ExitCode;

use clap::Parser;
use reflow_tracing_service::{CommonArgs, Role, run};

/// Takes events from Reflow programs over WebSocket and puts them on the bus.
#[derive(Debug, Parser)]
#[command(name = "reflow-collector", version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    run(Role::Collector, &args.common, reflow_tracing_collector::start)
}

//! `reflow-tracing`: configuration, logs, admin port, store, bus, writer, history, sessions; see `run.rs` for the order.

use std::process::ExitCode;

use clap::Parser;
use reflow_tracing_service::{CommonArgs, Role, run};

/// Takes events from Reflow programs, stores them, and shows them: everything in one process, without any server to install.
#[derive(Debug, Parser)]
#[command(name = "reflow-tracing", version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    run(Role::Standalone, &args.common, reflow_tracing::start)
}

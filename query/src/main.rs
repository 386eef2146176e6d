//! `reflow-query`: configuration, logs, admin port, store and bus, questions, sessions; see `run.rs` for the order.

use std::process::ExitCode;

use clap::Parser;
use reflow_tracing_service::{CommonArgs, Role, arguments, run};

/// Answers questions about traces, over WebSocket and over the bus, and shows what happens live.
#[derive(Debug, Parser)]
#[command(name = "reflow-query", version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let args: Args = arguments();
    run(Role::Query, &args.common, reflow_tracing_query::start)
}

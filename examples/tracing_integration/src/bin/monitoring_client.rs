//! `monitoring_client`: see `--help`.

use std::process::ExitCode;

use clap::Parser;
use reflow_tracing_examples::{monitoring, shared::exit};

#[tokio::main]
async fn main() -> ExitCode {
    exit::code(monitoring::run(monitoring::Args::parse()).await)
}

//! `complex_workflow`: see `--help`.

use std::process::ExitCode;

use clap::Parser;
use reflow_tracing_examples::{shared::exit, workflow};

#[tokio::main]
async fn main() -> ExitCode {
    exit::code(workflow::run(workflow::Args::parse()).await)
}

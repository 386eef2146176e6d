//! `performance_test`: see `--help`.

use std::process::ExitCode;

use clap::Parser;
use reflow_tracing_examples::{load, shared::exit};

#[tokio::main]
async fn main() -> ExitCode {
    exit::code(load::run(load::Args::parse()).await)
}

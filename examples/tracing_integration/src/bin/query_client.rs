//! `query_client`: see `--help`.

use std::process::ExitCode;

use clap::Parser;
use reflow_tracing_examples::{query, shared::exit};

#[tokio::main]
async fn main() -> ExitCode {
    exit::code(query::run(query::Args::parse()).await)
}

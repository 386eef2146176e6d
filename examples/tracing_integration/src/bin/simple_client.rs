//! `simple_client`: see `--help`.

use std::process::ExitCode;

use clap::Parser;
use reflow_tracing_examples::{shared::exit, simple};

fn main() -> ExitCode {
    let args = simple::Args::parse();
    name_flow(&args.flow_name);
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => exit::code(runtime.block_on(simple::run(args))),
        Err(error) => exit::code(Err(error.into())),
    }
}

/// A network makes its tracing client itself, and that takes the flow's name from the environment: a program whose name is
/// fixed sets the variable where it is started, and needs none of this.
#[expect(unsafe_code, reason = "no other thread that could read the environment has been started yet")]
fn name_flow(flow_name: &str) {
    // SAFETY: this is the only thread; see above.
    unsafe { std::env::set_var("REFLOW_TRACING_FLOW_NAME", flow_name) };
}

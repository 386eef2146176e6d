//! The command line of `simple_client`.

use std::time::Duration;

use clap::Parser;

use crate::shared::exit::HELP;
use crate::shared::names::{self, DEFAULT_SERVER};

const EXAMPLES: &str = "\
Examples:
  simple_client                                    ten messages, a tenth of a second apart
  simple_client --count 1000 --delay 1ms --verbose
  simple_client --flow-name my_first_flow --server-url ws://tracing.example:8080
";

/// Runs a network of two actors, a generator and a processor, that is traced by itself
#[derive(Debug, Parser)]
#[command(name = "simple_client", version, after_help = format!("{EXAMPLES}\n{HELP}"))]
pub struct Args {
    /// WebSocket url of the server, or several with commas between
    #[arg(long, default_value = DEFAULT_SERVER, value_parser = names::server_url, value_name = "URL")]
    pub server_url: String,
    /// What the flow is called, so that its traces are found again
    #[arg(long, alias = "flow-id", default_value = "simple_client", value_parser = names::flow_name, value_name = "NAME")]
    pub flow_name: String,
    /// How many messages the generator makes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..), value_name = "COUNT")]
    pub count: u64,
    /// How long the generator waits after each: 100ms, 1s; a bare number is in milliseconds
    #[arg(long, default_value = "100ms", value_parser = names::delay, value_name = "TIME")]
    pub delay: Duration,
    /// Tell of every message
    #[arg(long, short)]
    pub verbose: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
        let args = Args::try_parse_from(["s", "--flow-id", "a", "--delay", "5"]).unwrap();
        assert_eq!((args.flow_name.as_str(), args.delay), ("a", Duration::from_millis(5)));
    }
}

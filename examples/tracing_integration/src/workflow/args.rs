//! The command line of `complex_workflow`.

use clap::Parser;

use crate::shared::exit::HELP;
use crate::shared::names::{self, DEFAULT_SERVER};

const EXAMPLES: &str = "\
Examples:
  complex_workflow                                     fifty orders, one charge in five fails
  complex_workflow --items 500 --failure-rate 40% --seed 7
  complex_workflow --failure-rate 0                    nothing fails
Then:
  query_client --flow-id complex_workflow --limit 1 --analyze --graph text
  monitoring_client --event-types failed,state_changed
";

/// Runs orders through a pipeline of actors with fan-out, fan-in, failures, retries and state, all of it traced
#[derive(Debug, Parser)]
#[command(name = "complex_workflow", version, after_help = format!("{EXAMPLES}\n{HELP}"))]
pub struct Args {
    /// WebSocket url of the server, or several with commas between
    #[arg(long, default_value = DEFAULT_SERVER, value_parser = names::server_url, value_name = "URL")]
    pub server_url: String,
    /// How many orders
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000_000), value_name = "COUNT")]
    pub items: u64,
    /// How often a charge fails: 0.2 or 20%. It is tried four times, then given up
    #[arg(long, default_value = "20%", value_parser = names::share, value_name = "SHARE")]
    pub failure_rate: f64,
    /// The same seed gives the same orders and the same failures
    #[arg(long, default_value_t = 42, value_name = "NUMBER")]
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
        assert!(Args::try_parse_from(["c", "--failure-rate", "1.5"]).is_err());
    }
}

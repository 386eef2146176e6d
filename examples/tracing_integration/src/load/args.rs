//! The command line of `performance_test`.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use reflow_tracing_protocol::codec::Codec;

use crate::shared::exit::HELP;
use crate::shared::names::{self, DEFAULT_SERVER};

const EXAMPLES: &str = "\
Examples:
  performance_test                                          100,000 messages, 300,000 events
  performance_test --duration 30s --connections 4           as many as go in half a minute
  performance_test --batch-size 1 --compression none        without gathering, without compression
  performance_test --messages 1000000 --json > figures.json
";

/// Loads a server with events, as fast as it acks them, and tells what that took
#[derive(Debug, Parser)]
#[command(name = "performance_test", version, after_help = format!("{EXAMPLES}\n{HELP}"))]
pub struct Args {
    /// WebSocket url of the server, or several with commas between
    #[arg(long, default_value = DEFAULT_SERVER, value_parser = names::server_url, value_name = "URL")]
    pub server_url: String,
    /// How many actors pass messages to each other
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000), value_name = "COUNT")]
    pub actors: u64,
    /// How many messages are passed in all; each is three events, as a network makes them
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..), value_name = "COUNT")]
    pub messages: u64,
    /// How long messages are passed instead: 30s, 5min; a bare number is in seconds
    #[arg(long, conflicts_with = "messages", value_parser = names::time_limit, value_name = "TIME")]
    pub duration: Option<Duration>,
    /// How many connections share the messages
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000), value_name = "COUNT")]
    pub connections: u64,
    /// Most events in a batch; 1 sends what has gathered while the last batch was on its way
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=10_000), value_name = "COUNT")]
    pub batch_size: u64,
    /// How batches are compressed
    #[arg(long, value_enum, default_value = "zstd", value_name = "CODEC")]
    pub compression: Compression,
    /// Print the figures as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A codec on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Not at all
    None,
    /// Zstandard, level 1
    Zstd,
    /// LZ4
    Lz4,
    /// gzip, level 1
    Gzip,
    /// Brotli, level 1
    Brotli,
}

impl Compression {
    /// The protocol's codec.
    pub fn codec(self) -> Codec {
        match self {
            Self::None => Codec::None,
            Self::Zstd => Codec::Zstd,
            Self::Lz4 => Codec::Lz4,
            Self::Gzip => Codec::Gzip,
            Self::Brotli => Codec::Brotli,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_duration_exclude_each_other() {
        <Args as clap::CommandFactory>::command().debug_assert();
        assert!(Args::try_parse_from(["p", "--duration", "1s", "--messages", "5"]).is_err());
        assert_eq!(Args::try_parse_from(["p", "--duration", "2"]).unwrap().duration, Some(Duration::from_secs(2)));
        assert!(Args::try_parse_from(["p", "--connections", "0"]).is_err());
    }
}

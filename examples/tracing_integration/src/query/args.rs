//! The command line of `query_client`.

use std::path::PathBuf;

use clap::Parser;

use super::export::ExportFormat;
use super::fetch::Wanted;
use super::graph::GraphFormat;
use crate::shared::exit::{HELP, Usage};
use crate::shared::names::{self, DEFAULT_SERVER, StatusName, TimeRange};

const EXAMPLES: &str = "\
Examples:
  query_client                                              the newest traces
  query_client --flow-id simple_client --time-range 1h      those of one flow, of the last hour
  query_client --status failed --actor charge               where this actor took part and something failed
  query_client --flow-id complex_workflow --analyze         how its actors performed
  query_client --flow-id complex_workflow --graph svg --output flow.svg
  query_client --time-range 1d --limit 1000 --export parquet --output events.parquet
";

/// Asks the history: finds traces, and tells what they say about performance and dependencies, or exports them
#[derive(Debug, Parser)]
#[command(name = "query_client", version, after_help = format!("{EXAMPLES}\n{HELP}"))]
pub struct Args {
    /// WebSocket url of the server, or several with commas between
    #[arg(long, default_value = DEFAULT_SERVER, value_parser = names::server_url, value_name = "URL")]
    pub server_url: String,
    /// Only traces of this flow: its id, or its name without the generated tail
    #[arg(long, alias = "flow-name", value_name = "FLOW")]
    pub flow_id: Option<String>,
    /// Only traces of the last so long (30s, 1h, 7d), or between two times (2026-01-31T10:00:00Z..2026-01-31T11:00:00Z)
    #[arg(long, value_parser = names::time_range, value_name = "RANGE")]
    pub time_range: Option<TimeRange>,
    /// Only traces of this status
    #[arg(long, value_enum)]
    pub status: Option<StatusName>,
    /// Only traces in which this actor took part
    #[arg(long, value_name = "ACTOR")]
    pub actor: Option<String>,
    /// How many traces at most, newest first
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..), value_name = "COUNT")]
    pub limit: u64,
    /// Fail when no trace is found, for scripts and health checks
    #[arg(long)]
    pub expect: bool,
    /// How each actor performed: runs, failures, times, traffic, memory
    #[arg(long)]
    pub analyze: bool,
    /// Which actor sends to which: as text, or for another tool
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub graph: Option<GraphFormat>,
    /// The traces with all their events, for another tool
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub export: Option<ExportFormat>,
    /// Where the graph or the export goes, instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl Args {
    /// What clap cannot know of: flags that make sense only with others.
    ///
    /// # Errors
    /// [`Usage`], saying what to do.
    pub fn check(&self) -> Result<(), Usage> {
        let problem = match (self.graph, self.export, &self.output) {
            (None, None, Some(_)) => "--output needs --graph or --export: what shall be in the file?",
            (Some(_), Some(_), _) => "--graph and --export cannot share one output: run the program twice",
            (_, Some(_), None) if self.analyze => "--analyze and --export would mix on standard output: give --output",
            (Some(graph), _, None) if self.analyze && graph != GraphFormat::Text => {
                "--analyze and this --graph would mix on standard output: give --output"
            }
            _ => return Ok(()),
        };
        Err(Usage(problem.to_owned()))
    }

    /// Which traces.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            flow_id: self.flow_id.clone(),
            time_range: self.time_range,
            status: self.status,
            actor: self.actor.clone(),
            limit: self.limit,
        }
    }

    /// Whether the events are needed and not only the list.
    pub fn whole(&self) -> bool {
        self.analyze || self.graph.is_some() || self.export.is_some()
    }

    /// Whether standard output belongs to another tool, so that what is for people goes to standard error.
    pub fn for_tools(&self) -> bool {
        let graph = self.graph.is_some_and(|graph| graph != GraphFormat::Text);
        self.output.is_none() && (self.export.is_some() || graph)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::try_parse_from(line.split_whitespace()).unwrap()
    }

    #[test]
    fn flags_that_contradict_each_other_are_told() {
        for bad in [
            "q --output a",
            "q --graph svg --export csv --output a",
            "q --analyze --export csv",
            "q --analyze --graph svg",
        ] {
            assert!(args(bad).check().is_err(), "{bad}");
        }
        for good in ["q", "q --analyze --graph text", "q --analyze --graph svg --output a", "q --export csv"] {
            assert!(args(good).check().is_ok(), "{good}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }
}

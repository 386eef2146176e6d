//! The command line of `monitoring_client`.

use clap::Parser;
use reflow_tracing_protocol::{FlowId, SubscriptionFilters, TraceEvent};

use crate::shared::exit::HELP;
use crate::shared::names::{self, DEFAULT_SERVER, EventName};
use crate::shared::protocol::Protocol;

const EXAMPLES: &str = "\
Examples:
  monitoring_client                                        everything, as it happens, until ctrl-C
  monitoring_client --event-types failed,state_changed
  monitoring_client --flow-ids complex_workflow --actor-ids charge,ledger
  monitoring_client --limit 100 | grep Failed              the next hundred events
  monitoring_client --query --limit 5                      the five newest traces
  monitoring_client --metrics                              what the server says of itself
";

/// Watches programs live: a line for each event, and how many were missed if this reader is too slow
#[derive(Debug, Parser)]
#[command(name = "monitoring_client", version, after_help = format!("{EXAMPLES}\n{HELP}"))]
pub struct Args {
    /// WebSocket url of the server, or several with commas between
    #[arg(long, default_value = DEFAULT_SERVER, value_parser = names::server_url, value_name = "URL")]
    pub server_url: String,
    /// Only events of these actors, with commas between
    #[arg(long, value_delimiter = ',', value_name = "ACTORS")]
    pub actor_ids: Option<Vec<String>>,
    /// Only events of these flows: ids, or names without the generated tail
    #[arg(long, value_delimiter = ',', value_name = "FLOWS")]
    pub flow_ids: Option<Vec<String>>,
    /// Only events of these types
    #[arg(long, value_enum, value_delimiter = ',', value_name = "TYPES")]
    pub event_types: Option<Vec<EventName>>,
    /// Show the newest traces instead of live events
    #[arg(long)]
    pub query: bool,
    /// End after so many events; with --query, show so many traces (10, unless told otherwise)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), value_name = "COUNT")]
    pub limit: Option<u64>,
    /// Show the server's own figures, and how quickly it answers, instead of live events
    #[arg(long)]
    pub metrics: bool,
}

impl Args {
    /// The filters of a subscription. Absent ones match everything. A v1 server takes the `*` of a `DataFlow` by the letter, so it is
    /// asked for all types, and [`wants`](Self::wants) sorts out.
    pub fn filters(&self, protocol: Protocol) -> SubscriptionFilters {
        let types = self.event_types.as_ref().filter(|_| protocol == Protocol::V2);
        SubscriptionFilters {
            flow_ids: self.flow_ids.clone().map(|flows| flows.into_iter().map(FlowId).collect()),
            actor_ids: self.actor_ids.clone(),
            event_types: types.map(|types| types.iter().map(|name| name.wanted()).collect()),
            status_filter: None,
        }
    }

    /// Whether an event is of a type that was asked for.
    pub fn wants(&self, event: &TraceEvent) -> bool {
        self.event_types.as_ref().is_none_or(|types| types.iter().any(|name| name.is(&event.event_type)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_commas_and_absent_filters_match_everything() {
        <Args as clap::CommandFactory>::command().debug_assert();
        let args = Args::try_parse_from(["m", "--actor-ids", "a,b", "--event-types", "failed,data_flow"]).unwrap();
        let filters = args.filters(Protocol::V2);
        assert_eq!(filters.actor_ids.unwrap(), ["a", "b"]);
        assert_eq!(filters.event_types.unwrap().len(), 2);
        assert!(filters.flow_ids.is_none() && filters.status_filter.is_none());
        assert!(args.filters(Protocol::V1).event_types.is_none());
        let data_flow = TraceEvent::data_flow("a".into(), "out".into(), "b".into(), "in".into(), "T".into(), 1);
        assert!(args.wants(&data_flow) && !args.wants(&TraceEvent::actor_created("a".into())));
        assert!(Args::try_parse_from(["m", "--event-types", "exploded"]).is_err());
    }
}

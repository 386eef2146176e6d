//! The dependency graph of a flow: which actor sends to which, through which ports, how much.
//!
//! Edges come from `DataFlow` events alone, nodes from all events, so that an actor that never got a message is there, too. The
//! four forms are pure functions of the graph; names from the network are escaped in each form's own way.

mod dot;
mod mermaid;
mod svg;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;
use reflow_tracing_protocol::{FlowTrace, TraceEventType as Type};

use crate::query::analysis::add_size;
use crate::query::tally::{Tally, weight};

/// A form to show the graph in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// To read here
    Text,
    /// For Graphviz
    Dot,
    /// For Markdown
    Mermaid,
    /// A picture
    Svg,
}

/// An actor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Runs that ended well.
    pub completed: Tally,
    /// Runs that failed.
    pub failed: Tally,
}

/// A connection's ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    /// The sender.
    pub from: String,
    /// Its out-port.
    pub from_port: String,
    /// The receiver.
    pub to: String,
    /// Its in-port.
    pub to_port: String,
}

/// What passed along a connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Messages.
    pub messages: Tally,
    /// Bytes, of the messages whose size was measured.
    pub bytes: Option<Tally>,
}

/// Actors and their connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// What it is the graph of.
    pub title: String,
    /// By name.
    pub nodes: BTreeMap<String, Node>,
    /// By ends.
    pub edges: BTreeMap<Ends, Traffic>,
}

impl Node {
    fn runs(&self) -> Tally {
        self.completed + self.failed
    }

    fn has_run(&self) -> bool {
        self.runs().counted() > 0
    }

    fn has_failed(&self) -> bool {
        self.failed.counted() > 0
    }
}

impl Graph {
    /// Looks at one more trace.
    pub fn add(&mut self, trace: &FlowTrace) {
        for event in &trace.events {
            let weight = weight(event);
            let node = self.nodes.entry(event.actor_id.clone()).or_default();
            match &event.event_type {
                Type::ActorCompleted => node.completed.count(weight),
                Type::ActorFailed => node.failed.count(weight),
                Type::DataFlow { to_actor, to_port } => {
                    let ends = Ends {
                        from: event.actor_id.clone(),
                        from_port: event.data.port.clone().unwrap_or_default(),
                        to: to_actor.clone(),
                        to_port: to_port.clone(),
                    };
                    let traffic = self.edges.entry(ends).or_default();
                    traffic.messages.count(weight);
                    add_size(&mut traffic.bytes, event, weight);
                    self.nodes.entry(to_actor.clone()).or_default();
                }
                _ => {}
            }
        }
    }

    /// The graph in a form, with a line's end.
    pub fn show(&self, format: GraphFormat) -> String {
        match format {
            GraphFormat::Text => text::show(self),
            GraphFormat::Dot => dot::show(self),
            GraphFormat::Mermaid => mermaid::show(self),
            GraphFormat::Svg => svg::show(self),
        }
    }

    /// Actors, senders before receivers as far as there is no cycle; in a cycle the one that got the fewest edges comes first.
    fn in_order(&self) -> Vec<&str> {
        let mut waiting: BTreeMap<&str, BTreeSet<&str>> =
            self.nodes.keys().map(|name| (name.as_str(), BTreeSet::new())).collect();
        for ends in self.edges.keys().filter(|ends| ends.from != ends.to) {
            waiting.entry(&ends.to).or_default().insert(&ends.from);
        }
        let mut order = Vec::with_capacity(waiting.len());
        while let Some(next) = waiting.iter().min_by_key(|(_, senders)| senders.len()).map(|(name, _)| *name) {
            waiting.remove(next);
            for senders in waiting.values_mut() {
                senders.remove(next);
            }
            order.push(next);
        }
        order
    }
}

#[cfg(test)]
impl Graph {
    pub(super) fn of(traces: &[FlowTrace]) -> Self {
        let mut graph =
            Self { title: traces.first().map(|trace| trace.flow_id.0.clone()).unwrap_or_default(), ..Self::default() };
        traces.iter().for_each(|trace| graph.add(trace));
        graph
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::samples;

    #[test]
    fn edges_are_counted_by_data_flow_alone() {
        let graph = Graph::of(&[samples::published(), samples::published()]);
        assert_eq!(graph.title, "published");
        assert_eq!(graph.nodes["sink"], Node { completed: 4.into(), failed: 2.into() });
        let ends = Ends { from: "generator".into(), from_port: "out".into(), to: "sink".into(), to_port: "in".into() };
        assert_eq!(graph.edges, BTreeMap::from([(ends, Traffic { messages: 6.into(), bytes: None })]));
    }

    #[test]
    fn what_sampling_left_out_is_told_in_every_form() {
        let graph = Graph::of(&[samples::one_in_ten()]);
        for (format, runs, messages) in [
            (GraphFormat::Text, "(11 of about 101 runs, 1 failed)", "10 of about 100 messages, 80 B of about 800 B"),
            (GraphFormat::Dot, "11 of about 101 runs, 1 failed", "label=\"10 of about 100\""),
            (GraphFormat::Mermaid, "", "out → in: 10 of about 100"),
            (GraphFormat::Svg, "11 of about 101 runs, 1 failed", "10 of about 100 × (80 B of about 800 B)"),
        ] {
            let shown = graph.show(format);
            assert!(shown.contains(runs) && shown.contains(messages), "{shown}");
        }
    }

    #[test]
    fn senders_come_before_receivers_and_a_cycle_ends() {
        let graph = Graph::of(&[samples::connections(&[("b", "a"), ("c", "b"), ("a", "a")])]);
        assert_eq!(graph.in_order(), ["c", "b", "a"]);
        let cycle = Graph::of(&[samples::connections(&[("a", "b"), ("b", "c"), ("c", "b")])]);
        assert_eq!(cycle.in_order(), ["a", "b", "c"]);
    }

    #[test]
    fn hostile_names_stay_names_in_every_form() {
        let name = "a\"]; <script>&\n\u{1b}";
        let graph = Graph::of(&[samples::connections(&[(name, "b")])]);
        for (format, harmful) in [
            (GraphFormat::Text, "\u{1b}"),
            (GraphFormat::Dot, "\"a\"]"),
            (GraphFormat::Mermaid, "a\"]"),
            (GraphFormat::Svg, "<script>"),
        ] {
            let shown = graph.show(format);
            assert!(!shown.contains(harmful) && !shown.contains('\u{1b}'), "{shown}");
        }
    }
}

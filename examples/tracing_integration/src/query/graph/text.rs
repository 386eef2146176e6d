//! The graph as lines: each actor, senders first, and under it where it sends to.

use super::Graph;
use crate::shared::show::{bytes, count, plain, several};

pub(super) fn show(graph: &Graph) -> String {
    let order = graph.in_order();
    let place = |name: &str| order.iter().position(|other| *other == name);
    let mut out = format!(
        "{}: {}, {}\n",
        plain(&graph.title),
        several(graph.nodes.len() as u64, "actor"),
        several(graph.edges.len() as u64, "connection"),
    );
    for name in &order {
        let Some(node) = graph.nodes.get(*name) else { continue };
        out.push_str(&format!("\n{}", plain(name)));
        if node.has_run() {
            out.push_str(&format!("  ({}, {} failed)", node.runs().several("run"), node.failed.show(count)));
        }
        out.push('\n');
        let mut edges = graph.edges.iter().filter(|(ends, _)| ends.from == **name).peekable();
        while let Some((ends, traffic)) = edges.next() {
            let branch = if edges.peek().is_some() { "├─" } else { "└─" };
            let back = if place(&ends.to) <= place(&ends.from) { "  ↺ back" } else { "" };
            let size = traffic.bytes.map(|size| format!(", {}", size.show(bytes))).unwrap_or_default();
            out.push_str(&format!(
                "  {branch} {} → {}.{}  {}{size}{back}\n",
                plain(&ends.from_port),
                plain(&ends.to),
                plain(&ends.to_port),
                traffic.messages.several("message"),
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::query::graph::{Graph, GraphFormat};
    use crate::query::samples;

    #[test]
    fn every_actor_is_told_with_where_it_sends_to() {
        let graph = Graph::of(&[samples::connections(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "a")])]);
        let expected = "connections: 3 actors, 4 connections\n\
                        \na\n  ├─ out → b.in  1 message, 1 B\n  └─ out → c.in  1 message, 1 B\n\
                        \nb\n  └─ out → c.in  1 message, 1 B\n\
                        \nc\n  └─ out → a.in  1 message, 1 B  ↺ back\n";
        assert_eq!(graph.show(GraphFormat::Text), expected);
    }
}

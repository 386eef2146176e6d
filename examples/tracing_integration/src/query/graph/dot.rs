//! The graph for Graphviz: `query_client --graph dot | dot -Tpng -o flow.png`.

use super::Graph;
use crate::shared::show::{count, plain};

pub(super) fn show(graph: &Graph) -> String {
    let mut out = format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box, style=rounded];\n", quoted(&graph.title));
    for (name, node) in &graph.nodes {
        let runs = match node.has_run() {
            true => format!("\\n{}, {} failed", node.runs().several("run"), node.failed.show(count)),
            false => String::new(),
        };
        let color = if node.has_failed() { ", color=red" } else { "" };
        out.push_str(&format!("  {} [label=\"{}{runs}\"{color}];\n", quoted(name), escaped(name)));
    }
    for (ends, traffic) in &graph.edges {
        out.push_str(&format!(
            "  {} -> {} [label={}, taillabel={}, headlabel={}];\n",
            quoted(&ends.from),
            quoted(&ends.to),
            quoted(&traffic.messages.show(count)),
            quoted(&ends.from_port),
            quoted(&ends.to_port),
        ));
    }
    out.push_str("}\n");
    out
}

/// A quoted string of the DOT language. A backslash begins an escape in labels.
fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

fn escaped(text: &str) -> String {
    plain(text).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use crate::query::graph::{Graph, GraphFormat};
    use crate::query::samples;

    #[test]
    fn names_are_quoted_and_failures_red() {
        let graph = Graph::of(&[samples::published(), samples::connections(&[("q\"\\", "sink")])]);
        let dot = graph.show(GraphFormat::Dot);
        assert!(dot.starts_with("digraph \"published\" {\n"), "{dot}");
        assert!(dot.contains("\"sink\" [label=\"sink\\n3 runs, 1 failed\", color=red];"), "{dot}");
        assert!(dot.contains(r#""q\"\\" -> "sink" [label="1", taillabel="out", headlabel="in"];"#), "{dot}");
        assert!(dot.contains(r#""generator" -> "sink" [label="3""#), "{dot}");
    }
}

//! The graph for Markdown: GitHub, GitLab and many editors draw it in a block named `mermaid`.

use std::collections::BTreeMap;

use super::Graph;
use crate::shared::show::{count, plain};

pub(super) fn show(graph: &Graph) -> String {
    let ids: BTreeMap<&str, String> =
        graph.nodes.keys().enumerate().map(|(index, name)| (name.as_str(), format!("n{index}"))).collect();
    let id = |name: &str| ids.get(name).map_or("", String::as_str).to_owned();
    let mut out = String::from("flowchart LR\n");
    for name in graph.nodes.keys() {
        out.push_str(&format!("  {}[\"{}\"]\n", id(name), escaped(name)));
    }
    for (ends, traffic) in &graph.edges {
        let label = format!("{} → {}: {}", ends.from_port, ends.to_port, traffic.messages.show(count));
        out.push_str(&format!("  {} -->|\"{}\"| {}\n", id(&ends.from), escaped(&label), id(&ends.to)));
    }
    let failed: Vec<String> =
        graph.nodes.iter().filter(|(_, node)| node.has_failed()).map(|(name, _)| id(name)).collect();
    if !failed.is_empty() {
        out.push_str(&format!("  classDef failed stroke:#c00\n  class {} failed\n", failed.join(",")));
    }
    out
}

/// Inside quotes, Mermaid knows entities that begin with `#`, and reads HTML and Markdown.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '"' => out.push_str("#quot;"),
            '#' | '&' | '<' | '>' | '`' | '*' | '_' | '\\' => out.push_str(&format!("#{};", u32::from(c))),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::query::graph::{Graph, GraphFormat};
    use crate::query::samples;

    #[test]
    fn nodes_have_ids_of_their_own_and_escaped_names() {
        let graph = Graph::of(&[samples::published(), samples::connections(&[("a\"<b>", "sink")])]);
        let expected = "flowchart LR\n  n0[\"a#quot;#60;b#62;\"]\n  n1[\"generator\"]\n  n2[\"sink\"]\n  \
                        n0 -->|\"out → in: 1\"| n2\n  n1 -->|\"out → in: 3\"| n2\n  \
                        classDef failed stroke:#c00\n  class n2 failed\n";
        // `>` is escaped everywhere, also where a label has an arrow of its own: that one is no ASCII.
        assert_eq!(graph.show(GraphFormat::Mermaid), expected);
    }
}

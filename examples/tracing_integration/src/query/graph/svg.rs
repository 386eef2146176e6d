//! The graph as a picture: layered from left to right, connections routed around what lies between, a label on each.
//!
//! The layout is dagre's (layers by network simplex, few crossings, Brandes and Köpf's coordinates). The picture is one file
//! without scripts or fonts of its own, follows the reader's dark or light mode, and holds full names as tooltips.

use std::collections::BTreeMap;

use dagre::graph::{Graph as Layout, GraphOptions};
use dagre::{EdgeLabel, LayoutOptions, NodeLabel, Point, RankDir, layout};

use super::{Ends, Graph, Node, Traffic};
use crate::shared::show::{bytes, count, cut, plain};

/// Width of a character of the monospaced font, and height of a line, px.
const CHARACTER: f64 = 7.3;
const LINE: f64 = 16.0;
const MARGIN: f64 = 16.0;
/// Longer names are cut; their tooltip has them whole.
const MOST_CHARACTERS: usize = 36;

const STYLE: &str = "svg{background:#fff}text{font:12px ui-monospace,monospace;fill:#222}.small{font-size:11px;fill:#666}\
.label{paint-order:stroke;stroke:#fff;stroke-width:4px}\
rect{fill:#f4f6fa;stroke:#57b;stroke-width:1.2}.failed rect{stroke:#c22;stroke-width:2}\
path{fill:none;stroke:#789;stroke-width:1.4}.tip{fill:#789;stroke:none}\
@media(prefers-color-scheme:dark){svg{background:#181a1f}text{fill:#e4e6ea}.small{fill:#9aa}\
.label{stroke:#181a1f}rect{fill:#242830}}";

pub(super) fn show(graph: &Graph) -> String {
    let mut laid_out = Layout::with_options(GraphOptions { directed: true, multigraph: true, compound: false });
    // Names that libraries put into keys are ours, not the network's.
    let ids: BTreeMap<&str, String> =
        graph.nodes.keys().enumerate().map(|(index, name)| (name.as_str(), format!("n{index}"))).collect();
    for (name, node) in &graph.nodes {
        let widest = label(name).chars().count().max(runs(node).chars().count());
        let size =
            NodeLabel { width: widest as f64 * CHARACTER + 24.0, height: 2.0 * LINE + 12.0, ..NodeLabel::default() };
        laid_out.set_node(ids[name.as_str()].clone(), Some(size));
    }
    for (index, (ends, traffic)) in graph.edges.iter().enumerate() {
        let widest = ports(ends).chars().count().max(passed(traffic).chars().count());
        let size = EdgeLabel {
            width: widest as f64 * CHARACTER + 8.0,
            height: 2.0 * LINE,
            labelpos: dagre::layout::types::LabelPos::Center,
            ..EdgeLabel::default()
        };
        laid_out.set_edge(
            ids[ends.from.as_str()].as_str(),
            ids[ends.to.as_str()].as_str(),
            Some(size),
            Some(&format!("e{index}")),
        );
    }
    let options = LayoutOptions {
        rankdir: RankDir::LR,
        nodesep: 28.0,
        edgesep: 14.0,
        ranksep: 36.0,
        marginx: MARGIN,
        marginy: MARGIN,
        ..LayoutOptions::default()
    };
    if !graph.nodes.is_empty() {
        layout(&mut laid_out, Some(options));
    }

    let mut picture = Picture::default();
    for (index, (ends, traffic)) in graph.edges.iter().enumerate() {
        let name = format!("e{index}");
        if let Some(edge) = laid_out.edge(&ids[ends.from.as_str()], &ids[ends.to.as_str()], Some(&name)) {
            picture.edge(edge, ends, traffic);
        }
    }
    for (name, node) in &graph.nodes {
        if let Some(place) = laid_out.node(&ids[name.as_str()]) {
            picture.node(place, name, node);
        }
    }
    picture.finish(&graph.title)
}

/// What is drawn so far, and how far it reaches.
#[derive(Default)]
struct Picture {
    body: String,
    width: f64,
    height: f64,
}

impl Picture {
    fn reach(&mut self, x: f64, y: f64) {
        self.width = self.width.max(x + MARGIN);
        self.height = self.height.max(y + MARGIN);
    }

    fn node(&mut self, place: &NodeLabel, name: &str, node: &Node) {
        let (x, y) = (place.x.unwrap_or_default(), place.y.unwrap_or_default());
        let (left, top) = (x - place.width / 2.0, y - place.height / 2.0);
        self.reach(left + place.width, top + place.height);
        let class = if node.has_failed() { " class=\"failed\"" } else { "" };
        self.body.push_str(&format!(
            "<g{class}><title>{}</title><rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"7\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"small\">{}</text></g>\n",
            escaped(name),
            place.width,
            place.height,
            y - 3.0,
            escaped(&label(name)),
            y + LINE - 4.0,
            escaped(&runs(node)),
        ));
    }

    fn edge(&mut self, edge: &EdgeLabel, ends: &Ends, traffic: &Traffic) {
        for point in &edge.points {
            self.reach(point.x, point.y);
        }
        self.body.push_str(&format!("<path d=\"{}\"/>\n", curve(&edge.points)));
        if let [.., before, tip] = edge.points.as_slice() {
            self.body.push_str(&arrow(before, tip));
        }
        let (Some(x), Some(y)) = (edge.x, edge.y) else { return };
        self.reach(x + edge.width / 2.0, y + LINE);
        self.body.push_str(&format!(
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"small label\">{}</text>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"small label\">{}</text>\n",
            y - 5.0,
            escaped(&ports(ends)),
            y + LINE - 2.0,
            escaped(&passed(traffic)),
        ));
    }

    fn finish(self, title: &str) -> String {
        let (width, height) = (self.width.max(2.0 * MARGIN), self.height.max(2.0 * MARGIN));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.1} {height:.1}\" width=\"{width:.0}\" \
             height=\"{height:.0}\"><title>{}</title><style>{STYLE}</style>\n{}</svg>\n",
            escaped(title),
            self.body
        )
    }
}

/// A smooth line through the points: straight to the first middle, then bends at the points, straight to the end.
fn curve(points: &[Point]) -> String {
    let [first, inner @ .., last] = points else { return String::new() };
    let mut path = format!("M{:.1},{:.1}", first.x, first.y);
    for (index, bend) in inner.iter().enumerate() {
        let next = inner.get(index + 1).unwrap_or(last);
        let (x, y) = if index + 1 == inner.len() { (next.x, next.y) } else { middle(bend, next) };
        path.push_str(&format!("Q{:.1},{:.1} {x:.1},{y:.1}", bend.x, bend.y));
    }
    if inner.is_empty() {
        path.push_str(&format!("L{:.1},{:.1}", last.x, last.y));
    }
    path
}

fn middle(one: &Point, other: &Point) -> (f64, f64) {
    ((one.x + other.x) / 2.0, (one.y + other.y) / 2.0)
}

/// A filled triangle at `tip` that points away from `before`.
fn arrow(before: &Point, tip: &Point) -> String {
    let (dx, dy) = (tip.x - before.x, tip.y - before.y);
    let length = dx.hypot(dy).max(1e-6);
    let (dx, dy) = (dx / length * 8.0, dy / length * 8.0);
    let (base_x, base_y) = (tip.x - dx, tip.y - dy);
    format!(
        "<path class=\"tip\" d=\"M{:.1},{:.1}L{:.1},{:.1}L{:.1},{:.1}Z\"/>\n",
        tip.x,
        tip.y,
        base_x - dy / 2.0,
        base_y + dx / 2.0,
        base_x + dy / 2.0,
        base_y - dx / 2.0,
    )
}

fn label(name: &str) -> String {
    cut(name, MOST_CHARACTERS)
}

fn runs(node: &Node) -> String {
    match (node.has_run(), node.has_failed()) {
        (false, _) => String::new(),
        (true, false) => node.runs().several("run"),
        (true, true) => format!("{}, {} failed", node.runs().several("run"), node.failed.show(count)),
    }
}

fn ports(ends: &Ends) -> String {
    format!("{} → {}", cut(&ends.from_port, MOST_CHARACTERS / 2), cut(&ends.to_port, MOST_CHARACTERS / 2))
}

fn passed(traffic: &Traffic) -> String {
    match traffic.bytes {
        Some(size) => format!("{} × ({})", traffic.messages.show(count), size.show(bytes)),
        None => format!("{} ×", traffic.messages.show(count)),
    }
}

/// For XML, between tags. XML 1.0 has no place at all for most control characters.
fn escaped(text: &str) -> String {
    let illegal = ['\u{fffe}', '\u{ffff}'];
    plain(text).replace(illegal, "\u{fffd}").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::graph::GraphFormat;
    use crate::query::samples;

    /// Left, top, right, bottom of each box, in the order of names.
    fn boxes(svg: &str) -> Vec<[f64; 4]> {
        let number = |text: &str, name: &str| -> f64 {
            let from = text.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
            text[from..].split('"').next().unwrap().parse().unwrap()
        };
        let rect = |text: &str| {
            let [x, y, w, h] = ["x", "y", "width", "height"].map(|name| number(text, name));
            [x, y, x + w, y + h]
        };
        svg.split("<rect").skip(1).map(rect).collect()
    }

    #[test]
    fn layers_go_from_left_to_right_and_no_boxes_overlap() {
        let edges = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "e"), ("c", "e"), ("d", "e"), ("a", "e"), ("e", "a")];
        let svg = Graph::of(&[samples::connections(&edges)]).show(GraphFormat::Svg);
        let boxes = boxes(&svg);
        assert_eq!(boxes.len(), 5);
        let [a, b, c, d, e] = boxes[..] else { panic!("{svg}") };
        for middle in [b, c, d] {
            assert!(a[2] < middle[0] && middle[2] < e[0], "{svg}");
        }
        for (index, one) in boxes.iter().enumerate() {
            for other in &boxes[index + 1..] {
                let apart = one[2] < other[0] || other[2] < one[0] || one[3] < other[1] || other[3] < one[1];
                assert!(apart, "{one:?} {other:?}");
            }
        }
        assert_eq!(svg.matches("<path d=").count(), edges.len());
    }

    #[test]
    fn graphs_without_edges_with_loops_and_without_anything_are_drawn() {
        for (graph, expected) in [
            (Graph::default(), 0),
            (Graph::of(&[samples::connections(&[("a", "a")])]), 1),
            (
                Graph::of(&[samples::trace("f", vec![reflow_tracing_protocol::TraceEvent::actor_created("x".into())])]),
                1,
            ),
        ] {
            let svg = graph.show(GraphFormat::Svg);
            assert_eq!(boxes(&svg).len(), expected, "{svg}");
            assert!(!svg.contains("NaN"), "{svg}");
        }
    }

    #[test]
    fn a_large_graph_is_laid_out_in_time() {
        let names: Vec<String> = (0..120).map(|index| format!("actor {index}")).collect();
        let edges: Vec<(&str, &str)> = (0..240)
            .map(|index| {
                (names[index % 119].as_str(), names[index % 119 + 1 + index % (120 - index % 119 - 1)].as_str())
            })
            .collect();
        let started = std::time::Instant::now();
        let svg = Graph::of(&[samples::connections(&edges)]).show(GraphFormat::Svg);
        assert_eq!(boxes(&svg).len(), 120);
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}

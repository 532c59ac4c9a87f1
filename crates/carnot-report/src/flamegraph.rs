//! A flame graph as SVG: the call tree as boxes, widths in proportion to time, a click zooms.
//!
//! After Brendan Gregg, "The Flame Graph", CACM 59(6), 2016; drawn from the top down, so that the threads come first.
//! A renderer of our own because the established one is under a licence that differs from ours and brings fourteen crates.

use std::fmt::Write as _;

use carnot_analyze::{Analysis, CallNode};

use crate::{stacks::shown, units};

const WIDTH: f64 = 1200.0;
const ROW: f64 = 18.0;
const TOP: f64 = 44.0;
/// Narrower boxes cannot be seen or clicked.
const NARROWEST: f64 = 0.2;
const CHARACTER: f64 = 6.6;

const STYLE: &str = include_str!("flamegraph/flamegraph.css");
const SCRIPT: &str = include_str!("flamegraph/flamegraph.js");

/// The call tree of an analysis as the text of an `.svg` file.
pub fn render(analysis: &Analysis) -> String {
    let nodes: Vec<Node> = analysis.call_tree.nodes.iter().map(node).collect();
    draw(&title(analysis), &nodes)
}

fn title(analysis: &Analysis) -> String {
    let model = if analysis.run.model.name.is_empty() {
        ""
    } else {
        &analysis.run.model.name
    };
    format!("carnot {model} · time by call path")
}

/// A box, as wide as its total.
pub(crate) struct Node<'a> {
    pub name: &'a str,
    /// What stands in the box where the name does not fit.
    pub short: &'a str,
    /// What colours it: see the style sheet.
    pub class: &'static str,
    /// Index of the node above, which comes before it.
    pub parent: Option<u32>,
    pub depth: u32,
    pub total: f64,
    /// What is shown under the pointer.
    pub hint: String,
}

fn node(node: &CallNode) -> Node<'_> {
    let name = shown(&node.name);
    Node {
        name,
        short: name,
        class: node.kind.map_or("thread", carnot_record::SpanKind::name),
        parent: node.parent,
        depth: node.depth,
        total: node.times.total_ns as f64,
        hint: format!(
            "{name}: {} ({} of its thread), {} itself, {} times, median {}",
            units::duration(node.times.total_ns as f64),
            units::percent(node.share_of_whole),
            units::duration(node.self_ns as f64),
            units::count(node.times.count),
            units::duration(node.times.p50_ns as f64),
        ),
    }
}

/// Nodes as the text of an `.svg` file.
pub(crate) fn draw(title: &str, nodes: &[Node]) -> String {
    let boxes = boxes(nodes);
    let depth = boxes
        .iter()
        .map(|b| nodes[b.node].depth + 1)
        .max()
        .unwrap_or(1);
    let height = TOP + f64::from(depth) * ROW + 12.0;
    let mut svg = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" \
         viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"12\" y=\"26\">{} · click a box to zoom, the title to reset</text>\n",
        escaped(title)
    );
    for one in &boxes {
        svg.push_str(&drawn(one, &nodes[one.node]));
    }
    let _ = write!(svg, "<script><![CDATA[\n{SCRIPT}]]></script>\n</svg>\n");
    svg
}

struct Box {
    node: usize,
    x: f64,
    width: f64,
}

/// Threads side by side, each child at the left of what its elder siblings leave.
fn boxes(nodes: &[Node]) -> Vec<Box> {
    let whole: f64 = nodes
        .iter()
        .filter(|node| node.parent.is_none())
        .map(|node| node.total)
        .sum();
    let scale = if whole > 0.0 {
        (WIDTH - 24.0) / whole
    } else {
        0.0
    };
    let mut free = vec![12.0; nodes.len()];
    let mut free_of_roots = 12.0;
    let mut boxes = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let width = node.total * scale;
        let cursor = match node.parent {
            Some(parent) => &mut free[parent as usize],
            None => &mut free_of_roots,
        };
        let x = *cursor;
        *cursor += width;
        free[index] = x;
        if width >= NARROWEST {
            boxes.push(Box {
                node: index,
                x,
                width,
            });
        }
    }
    boxes
}

fn drawn(one: &Box, node: &Node) -> String {
    let y = TOP + f64::from(node.depth) * ROW;
    let fits = ((one.width - 6.0) / CHARACTER).max(0.0) as usize;
    let label = if fits >= 3 {
        let fitting = [node.name, node.short];
        let fitting = fitting
            .into_iter()
            .find(|name| name.chars().count() <= fits);
        crate::table::cut(fitting.unwrap_or(node.short), fits)
    } else {
        String::new()
    };
    format!(
        "<g class=\"{}\" data-x=\"{:.2}\" data-w=\"{:.2}\" data-d=\"{}\" data-n=\"{}\">\
         <title>{}</title><rect x=\"{:.2}\" y=\"{y}\" width=\"{:.2}\" height=\"17\"/>\
         <text x=\"{:.2}\" y=\"{}\">{}</text></g>\n",
        node.class,
        one.x,
        one.width,
        node.depth,
        escaped(node.name),
        escaped(&node.hint),
        one.x,
        one.width,
        one.x + 3.0,
        y + 12.5,
        escaped(&label),
    )
}

/// Text for XML 1.0, which has no place for most control characters, escaped or not.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

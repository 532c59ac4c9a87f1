//! Spans for the timeline: columns of numbers, and no more of them than a browser draws easily.

use carnot_analyze::SpanTree;
use carnot_record::{SpanKind, Trace};
use serde::Serialize;

use crate::stacks::{shown, threads};

/// The longest spans are kept; a page of this many is about three megabytes.
const MOST_SPANS: usize = 60_000;

#[derive(Serialize)]
pub(super) struct Timeline<'a> {
    end_ns: u64,
    lanes: Vec<String>,
    sites: Vec<Named<'a>>,
    /// Spans that are not here, and how long the longest of them is.
    hidden: usize,
    hidden_below_ns: u64,
    lane: Vec<u32>,
    depth: Vec<u32>,
    site: Vec<u32>,
    start_ns: Vec<u64>,
    duration_ns: Vec<u64>,
    layer: Vec<Option<u32>>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    kind: SpanKind,
}

impl<'a> Timeline<'a> {
    pub fn new(trace: &'a Trace) -> Self {
        let tree = SpanTree::new(trace);
        let depths = depths(trace, &tree);
        let threads = threads(trace);
        let (kept, hidden_below_ns) = longest(&tree);
        let span = |index: &u32| &trace.spans[*index as usize];
        let lane = |id: u32| {
            threads
                .iter()
                .position(|thread| thread.0 == id)
                .unwrap_or(0) as u32
        };
        Self {
            end_ns: kept
                .iter()
                .map(|&index| tree.end_ns(index))
                .max()
                .unwrap_or(0),
            hidden: tree.in_order().len() - kept.len(),
            hidden_below_ns,
            lane: kept.iter().map(|index| lane(span(index).thread)).collect(),
            depth: kept.iter().map(|&index| depths[index as usize]).collect(),
            site: kept.iter().map(|index| span(index).site).collect(),
            start_ns: kept.iter().map(|&index| tree.start_ns(index)).collect(),
            duration_ns: kept.iter().map(|&index| tree.duration_ns(index)).collect(),
            layer: kept.iter().map(|index| span(index).layer).collect(),
            sites: trace
                .sites
                .iter()
                .map(|s| Named {
                    name: shown(&s.name),
                    kind: s.kind,
                })
                .collect(),
            lanes: threads.into_iter().map(|(_, name)| name).collect(),
        }
    }
}

fn depths(trace: &Trace, tree: &SpanTree) -> Vec<u32> {
    let mut depths = vec![0; trace.spans.len()];
    for &index in tree.in_order() {
        depths[index as usize] = tree
            .parent(index)
            .map_or(0, |parent| depths[parent as usize] + 1);
    }
    depths
}

/// The longest spans in order of time, and the length below which spans were left out.
fn longest(tree: &SpanTree) -> (Vec<u32>, u64) {
    let mut kept = tree.in_order().to_vec();
    let mut hidden_below_ns = 0;
    if kept.len() > MOST_SPANS {
        kept.sort_by_key(|&index| std::cmp::Reverse(tree.duration_ns(index)));
        hidden_below_ns = tree.duration_ns(kept[MOST_SPANS]);
        kept.truncate(MOST_SPANS);
    }
    kept.sort_by_key(|&index| tree.start_ns(index));
    (kept, hidden_below_ns)
}

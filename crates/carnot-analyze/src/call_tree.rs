//! The call tree: spans with the same path of names, put together.

use std::collections::HashMap;

use carnot_record::{SpanKind, Trace};
use serde::Serialize;

use crate::{
    span_tree::SpanTree,
    statistics::{Distribution, ratio},
};

/// The call tree of a trace: for each thread a root, below it spans by their path of names.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CallTree {
    /// Each after its parent; children of one parent by total time, the longest first.
    pub nodes: Vec<CallNode>,
    /// For each span of the trace, its node; `None` for spans that hang on no root.
    #[serde(skip)]
    pub node_of_span: Vec<Option<u32>>,
}

/// All spans with one path.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CallNode {
    /// The span's name, or the thread's.
    pub name: String,
    /// What the spans are; `None` for a thread.
    pub kind: Option<SpanKind>,
    /// Index of the node above.
    pub parent: Option<u32>,
    /// 0 for threads.
    pub depth: u32,
    /// Durations, children included.
    pub times: Distribution,
    /// Durations without the children.
    pub self_ns: u64,
    /// Total over the parent's total.
    pub share_of_parent: f64,
    /// Total over the thread's.
    pub share_of_whole: f64,
}

impl CallTree {
    pub(crate) fn new(trace: &Trace, tree: &SpanTree) -> Self {
        let mut building = Building {
            trace,
            nodes: Vec::new(),
            by_key: HashMap::new(),
        };
        let mut node_of_span = vec![None; trace.spans.len()];
        for &span in tree.in_order() {
            let above = match tree.parent(span) {
                Some(parent) => node_of_span[parent as usize].expect("parents come first"),
                None => building.thread(trace.spans[span as usize].thread),
            };
            let node = building.node(above, trace.spans[span as usize].site);
            building.nodes[node as usize].add(tree.duration_ns(span), tree.self_ns(span));
            if tree.parent(span).is_none() {
                building.nodes[above as usize].add(tree.duration_ns(span), 0);
            }
            node_of_span[span as usize] = Some(node);
        }
        building.finish(node_of_span)
    }

    /// The names from the thread down to a node.
    pub fn path(&self, node: usize) -> Vec<&str> {
        let mut path = vec![self.nodes[node].name.as_str()];
        let mut above = self.nodes[node].parent;
        while let Some(index) = above {
            path.push(&self.nodes[index as usize].name);
            above = self.nodes[index as usize].parent;
        }
        path.reverse();
        path
    }
}

/// A node by its parent and its site, or a thread by its id.
type Key = (Option<u32>, u32);

struct Building<'a> {
    trace: &'a Trace,
    nodes: Vec<Draft>,
    by_key: HashMap<Key, u32>,
}

struct Draft {
    name: String,
    kind: Option<SpanKind>,
    parent: Option<u32>,
    durations: Vec<u64>,
    total_ns: u64,
    self_ns: u64,
}

impl Draft {
    fn add(&mut self, duration_ns: u64, self_ns: u64) {
        self.durations.push(duration_ns);
        self.total_ns += duration_ns;
        self.self_ns += self_ns;
    }
}

impl Building<'_> {
    fn thread(&mut self, id: u32) -> u32 {
        let named = self.trace.threads.iter().find(|thread| thread.id == id);
        let name = named.map_or_else(|| format!("thread {id}"), |thread| thread.name.clone());
        self.find_or_add((None, id), || (name, None))
    }

    fn node(&mut self, parent: u32, site: u32) -> u32 {
        let site_data = self.trace.sites.get(site as usize);
        let name = site_data.map(|site| site.name.clone()).unwrap_or_default();
        let kind = site_data.map_or(SpanKind::Other, |site| site.kind);
        self.find_or_add((Some(parent), site), || (name, Some(kind)))
    }

    fn find_or_add(&mut self, key: Key, make: impl FnOnce() -> (String, Option<SpanKind>)) -> u32 {
        let next = self.nodes.len() as u32;
        let nodes = &mut self.nodes;
        *self.by_key.entry(key).or_insert_with(|| {
            let (name, kind) = make();
            let parent = key.0;
            nodes.push(Draft {
                name,
                kind,
                parent,
                durations: vec![],
                total_ns: 0,
                self_ns: 0,
            });
            next
        })
    }

    /// Puts siblings in order of time and computes shares.
    fn finish(self, node_of_span: Vec<Option<u32>>) -> CallTree {
        let mut children: Vec<Vec<u32>> = vec![Vec::new(); self.nodes.len()];
        let mut roots = Vec::new();
        for (index, draft) in self.nodes.iter().enumerate() {
            match draft.parent {
                Some(parent) => children[parent as usize].push(index as u32),
                None => roots.push(index as u32),
            }
        }
        for siblings in &mut children {
            siblings.sort_by_key(|&index| std::cmp::Reverse(self.nodes[index as usize].total_ns));
        }
        let mut place = vec![0; self.nodes.len()];
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut stack: Vec<u32> = roots.into_iter().rev().collect();
        while let Some(index) = stack.pop() {
            place[index as usize] = order.len() as u32;
            order.push(index);
            stack.extend(children[index as usize].iter().rev());
        }
        let mut drafts: Vec<Option<Draft>> = self.nodes.into_iter().map(Some).collect();
        let mut nodes: Vec<CallNode> = Vec::with_capacity(order.len());
        for index in order {
            let draft = drafts[index as usize]
                .take()
                .expect("each node is placed once");
            let parent = draft.parent.map(|parent| place[parent as usize]);
            let node = draft.finish(parent, &nodes);
            nodes.push(node);
        }
        let placed = |node: Option<u32>| node.map(|node| place[node as usize]);
        CallTree {
            nodes,
            node_of_span: node_of_span.into_iter().map(placed).collect(),
        }
    }
}

impl Draft {
    fn finish(self, parent: Option<u32>, placed: &[CallNode]) -> CallNode {
        let above = parent.map(|parent| &placed[parent as usize]);
        let share_of_parent = above.map_or(1.0, |above| {
            ratio(self.total_ns as f64, above.times.total_ns as f64)
        });
        CallNode {
            depth: above.map_or(0, |above| above.depth + 1),
            share_of_whole: above.map_or(1.0, |above| above.share_of_whole) * share_of_parent,
            share_of_parent,
            name: self.name,
            kind: self.kind,
            parent,
            times: Distribution::of(self.durations),
            self_ns: self.self_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_record::{Site, Span};

    #[test]
    fn spans_with_one_path_are_one_node() {
        let site = |name: &str| Site {
            name: name.into(),
            ..Site::default()
        };
        let span = |site, parent, start_ns, end_ns| Span {
            site,
            parent,
            start_ns,
            end_ns,
            ..Span::default()
        };
        let trace = Trace {
            sites: vec![site("run"), site("a"), site("b")],
            spans: vec![
                span(0, None, 0, 100),
                span(1, Some(0), 0, 10),
                span(2, Some(0), 10, 60),
                span(1, Some(0), 60, 90),
            ],
            ..Trace::default()
        };
        let found = CallTree::new(&trace, &SpanTree::new(&trace));
        let row = |node: &CallNode| {
            (
                node.name.clone(),
                node.depth,
                node.times.total_ns,
                node.self_ns,
            )
        };
        assert_eq!(
            found.nodes.iter().map(row).collect::<Vec<_>>(),
            [
                ("thread 0".to_owned(), 0, 100, 0),
                ("run".to_owned(), 1, 100, 10),
                ("b".to_owned(), 2, 50, 50),
                ("a".to_owned(), 2, 40, 40),
            ]
        );
        assert_eq!(found.nodes[3].times.p50_ns, 20);
        assert_eq!(found.nodes[3].share_of_parent, 0.4);
        assert_eq!(found.path(3), ["thread 0", "run", "a"]);
        assert_eq!(found.node_of_span, [Some(1), Some(3), Some(2), Some(3)]);
    }
}

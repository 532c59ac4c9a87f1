//! Spans as a forest in which times add up.
//!
//! Recorded intervals may stick out of their parent or overlap a sibling by a few nanoseconds, and a damaged trace may
//! hold anything. Here every span is clipped to what its parent has left after the siblings before it, so that a span's
//! duration is its own time plus its children's, exactly:
//!
//! ```text
//! parent  |-----------------------|          |-----------------------|
//! a         |---------|               →        |---------|
//! b                |--------|                            |---|
//! c                         |------------|               |   |-------|
//! ```

use carnot_record::{Span, SpanKind, Trace};

/// No span may end later: 146 years leave room for the sum of two times in 63 bits.
const LAST_NS: u64 = 1 << 62;

/// The spans of a trace as one tree for each root, children in order of time, times clipped.
///
/// Only spans of one thread nest: a span whose parent is on another thread is a root.
#[derive(Clone, Debug)]
pub struct SpanTree {
    nodes: Vec<Node>,
    children: Vec<u32>,
    roots: Vec<u32>,
    order: Vec<u32>,
    main: u32,
}

#[derive(Clone, Debug, Default)]
struct Node {
    parent: Option<u32>,
    first_child: u32,
    child_count: u32,
    start_ns: u64,
    end_ns: u64,
    self_ns: u64,
}

impl SpanTree {
    /// The forest of a trace's spans. Linear but for the sorting of siblings.
    pub fn new(trace: &Trace) -> Self {
        let parents: Vec<Option<u32>> = (0..trace.spans.len())
            .map(|index| parent_on_thread(&trace.spans, index))
            .collect();
        let mut tree = Self {
            nodes: parents
                .iter()
                .map(|&parent| Node {
                    parent,
                    ..Node::default()
                })
                .collect(),
            children: Vec::new(),
            roots: Vec::new(),
            order: Vec::with_capacity(trace.spans.len()),
            main: main_thread(trace),
        };
        tree.link(&trace.spans);
        tree.clip(&trace.spans);
        tree
    }

    /// The engine's thread: that of the first phase, else the first thread.
    pub fn main_thread(&self) -> u32 {
        self.main
    }

    /// Roots by thread, then by time.
    pub fn roots(&self) -> &[u32] {
        &self.roots
    }

    /// All spans that hang on a root, each after its parent. Spans whose parents form a ring are missing.
    pub fn in_order(&self) -> &[u32] {
        &self.order
    }

    /// The parent on the same thread.
    pub fn parent(&self, span: u32) -> Option<u32> {
        self.nodes[span as usize].parent
    }

    /// The children in order of time.
    pub fn children(&self, span: u32) -> &[u32] {
        let node = &self.nodes[span as usize];
        let first = node.first_child as usize;
        &self.children[first..first + node.child_count as usize]
    }

    /// The clipped begin.
    pub fn start_ns(&self, span: u32) -> u64 {
        self.nodes[span as usize].start_ns
    }

    /// The clipped end.
    pub fn end_ns(&self, span: u32) -> u64 {
        self.nodes[span as usize].end_ns
    }

    /// The clipped duration.
    pub fn duration_ns(&self, span: u32) -> u64 {
        self.end_ns(span) - self.start_ns(span)
    }

    /// The clipped duration without the children's.
    pub fn self_ns(&self, span: u32) -> u64 {
        self.nodes[span as usize].self_ns
    }

    /// Groups children by parent: counts, then offsets, then indexes in order of begin.
    fn link(&mut self, spans: &[Span]) {
        let mut by_time: Vec<u32> = (0..spans.len() as u32).collect();
        by_time.sort_by_key(|&index| {
            let span = &spans[index as usize];
            (
                span.thread,
                span.start_ns,
                std::cmp::Reverse(span.end_ns),
                index,
            )
        });
        for index in 0..self.nodes.len() {
            if let Some(parent) = self.nodes[index].parent {
                self.nodes[parent as usize].child_count += 1;
            }
        }
        let mut next = 0;
        for node in &mut self.nodes {
            node.first_child = next;
            next += node.child_count;
            node.child_count = 0;
        }
        self.children = vec![0; next as usize];
        for index in by_time {
            match self.nodes[index as usize].parent {
                None => self.roots.push(index),
                Some(parent) => self.append_child(parent, index),
            }
        }
    }

    fn append_child(&mut self, parent: u32, child: u32) {
        let parent = &mut self.nodes[parent as usize];
        self.children[(parent.first_child + parent.child_count) as usize] = child;
        parent.child_count += 1;
    }

    /// Walks down from the roots without recursion, since a damaged trace may be as deep as it is long.
    fn clip(&mut self, spans: &[Span]) {
        let mut cursor = 0;
        let mut thread = None;
        for position in 0..self.roots.len() {
            let root = self.roots[position];
            if thread.replace(spans[root as usize].thread) != Some(spans[root as usize].thread) {
                cursor = 0;
            }
            cursor = self.place(spans, root, cursor, LAST_NS);
        }
        let mut stack: Vec<u32> = self.roots.iter().rev().copied().collect();
        while let Some(index) = stack.pop() {
            self.order.push(index);
            self.clip_children(spans, index);
            stack.extend(self.children(index).iter().rev());
        }
    }

    fn clip_children(&mut self, spans: &[Span], index: u32) {
        let (start_ns, end_ns) = (self.start_ns(index), self.end_ns(index));
        let mut cursor = start_ns;
        let mut covered = 0;
        for position in 0..self.children(index).len() {
            let child = self.children(index)[position];
            cursor = self.place(spans, child, cursor, end_ns);
            covered += self.duration_ns(child);
        }
        self.nodes[index as usize].self_ns = end_ns - start_ns - covered;
    }

    fn place(&mut self, spans: &[Span], index: u32, from_ns: u64, to_ns: u64) -> u64 {
        let span = &spans[index as usize];
        let node = &mut self.nodes[index as usize];
        node.start_ns = span.start_ns.clamp(from_ns, to_ns);
        node.end_ns = span.end_ns.clamp(node.start_ns, to_ns);
        node.end_ns
    }
}

fn parent_on_thread(spans: &[Span], index: usize) -> Option<u32> {
    let parent = spans[index].parent?;
    let above = spans.get(parent as usize)?;
    (above.thread == spans[index].thread && parent as usize != index).then_some(parent)
}

fn main_thread(trace: &Trace) -> u32 {
    let phases = trace
        .spans
        .iter()
        .filter(|span| trace.site(span).kind == SpanKind::Phase);
    phases
        .min_by_key(|span| span.start_ns)
        .or(trace.spans.first().filter(|_| trace.threads.is_empty()))
        .map(|span| span.thread)
        .or(trace.threads.first().map(|thread| thread.id))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(parent: Option<u32>, start_ns: u64, end_ns: u64) -> Span {
        Span {
            parent,
            start_ns,
            end_ns,
            ..Span::default()
        }
    }

    fn tree(spans: Vec<Span>) -> SpanTree {
        SpanTree::new(&Trace {
            spans,
            ..Trace::default()
        })
    }

    #[test]
    fn overlapping_children_are_clipped_so_that_times_add_up() {
        let tree = tree(vec![
            span(None, 0, 25),
            span(Some(0), 2, 12),
            span(Some(0), 9, 18),
            span(Some(0), 18, 31),
        ]);
        assert_eq!(tree.children(0), [1, 2, 3]);
        assert_eq!([1, 2, 3].map(|child| tree.duration_ns(child)), [10, 6, 7]);
        assert_eq!(tree.self_ns(0), 2);
    }

    #[test]
    fn a_parent_may_be_recorded_after_its_children() {
        let tree = tree(vec![span(Some(1), 2, 4), span(None, 0, 10)]);
        assert_eq!(
            (tree.roots(), tree.self_ns(1), tree.in_order()),
            (&[1][..], 8, &[1, 0][..])
        );
    }

    #[test]
    fn rings_of_parents_are_left_out() {
        let tree = tree(vec![
            span(Some(1), 0, 4),
            span(Some(0), 0, 4),
            span(Some(2), 5, 6),
        ]);
        assert_eq!(tree.in_order(), [2]);
    }

    #[test]
    fn a_span_under_another_thread_is_a_root() {
        let worker = Span {
            thread: 1,
            ..span(Some(0), 1, 3)
        };
        let tree = tree(vec![span(None, 0, 10), worker]);
        assert_eq!((tree.roots(), tree.self_ns(0)), (&[0, 1][..], 10));
    }
}

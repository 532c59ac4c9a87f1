//! Spans as the viewers want them: opened and closed in order, so that on each thread they nest.

use carnot_analyze::SpanTree;
use carnot_record::{Span, Trace};

/// The beginning or the end of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    Open(u32),
    Close(u32),
}

/// Beginnings and ends, thread by thread, each thread's in order of time and nested.
pub(crate) fn edges(tree: &SpanTree) -> Vec<Edge> {
    let mut edges = Vec::with_capacity(2 * tree.in_order().len());
    let mut open: Vec<u32> = Vec::new();
    for &span in tree.in_order() {
        while let Some(&last) = open.last()
            && tree.parent(span) != Some(last)
        {
            edges.push(Edge::Close(last));
            open.pop();
        }
        edges.push(Edge::Open(span));
        open.push(span);
    }
    edges.extend(open.into_iter().rev().map(Edge::Close));
    edges
}

/// The name of a span, of which viewers show nothing when it is empty.
pub(crate) fn name<'a>(trace: &'a Trace, span: &Span) -> &'a str {
    shown(&trace.site(span).name)
}

pub(crate) fn shown(name: &str) -> &str {
    if name.is_empty() { "(unnamed)" } else { name }
}

/// A span's numbers, those that it has, with the names that the viewers show.
pub(crate) fn numbers(span: &Span) -> impl Iterator<Item = (&'static str, u64)> {
    let optional = [
        ("layer", span.layer.map(u64::from)),
        ("sequence", span.sequence),
        ("request", span.request),
    ];
    let amounts = [
        ("tokens", span.tokens),
        ("flops", span.flops),
        ("bytes", span.bytes),
        ("working_set_bytes", span.working_set_bytes),
    ];
    let amounts = amounts.into_iter().filter(|(_, value)| *value > 0);
    optional
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .chain(amounts)
}

/// Threads that are named or used, by id.
pub(crate) fn threads(trace: &Trace) -> Vec<(u32, String)> {
    let used = trace.spans.iter().map(|span| span.thread);
    let used = used.chain(trace.instants.iter().map(|instant| instant.thread));
    let mut ids: Vec<u32> = used
        .chain(trace.threads.iter().map(|thread| thread.id))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let name = |id| {
        trace
            .threads
            .iter()
            .find(|thread| thread.id == id)
            .map(|t| t.name.clone())
    };
    ids.into_iter()
        .map(|id| (id, name(id).unwrap_or_else(|| format!("thread {id}"))))
        .collect()
}

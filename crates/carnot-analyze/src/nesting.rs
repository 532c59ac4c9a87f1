//! Which span is inside which, for recorders that note only when each began and ended.

use carnot_record::{Span, Trace};

/// Gives each span as its parent the shortest span of the same thread that encloses its beginning; replaces parents that
/// were there.
///
/// Of spans with the same times the order of kinds decides: a phase encloses a step, a step an operation.
pub fn nest(trace: &mut Trace) {
    let mut order: Vec<u32> = (0..trace.spans.len() as u32).collect();
    order.sort_by_key(|&index| {
        let span = &trace.spans[index as usize];
        let longest_first = std::cmp::Reverse(span.end_ns);
        (
            span.thread,
            span.start_ns,
            longest_first,
            trace.site(span).kind,
            index,
        )
    });
    let mut open: Vec<u32> = Vec::new();
    for index in order {
        let span = trace.spans[index as usize];
        while let Some(&last) = open.last()
            && !encloses(&trace.spans[last as usize], &span)
        {
            open.pop();
        }
        trace.spans[index as usize].parent = open.last().copied();
        open.push(index);
    }
}

/// An end that is a beginning encloses nothing, unless both spans are empty moments of the same time.
fn encloses(outer: &Span, inner: &Span) -> bool {
    outer.thread == inner.thread
        && (inner.start_ns < outer.end_ns
            || (outer.start_ns, outer.end_ns) == (inner.start_ns, inner.end_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_record::{Site, SpanKind};

    fn parents(spans: &[(u32, u32, u64, u64)]) -> Vec<Option<u32>> {
        let site = |kind| Site {
            kind,
            ..Site::default()
        };
        let spans = spans.iter().map(|&(site, thread, start_ns, end_ns)| Span {
            site,
            thread,
            start_ns,
            end_ns,
            parent: Some(0),
            ..Span::default()
        });
        let mut trace = Trace {
            sites: vec![
                site(SpanKind::Phase),
                site(SpanKind::Step),
                site(SpanKind::Operation),
            ],
            spans: spans.collect(),
            ..Trace::default()
        };
        nest(&mut trace);
        trace.spans.iter().map(|span| span.parent).collect()
    }

    #[test]
    fn spans_are_inside_what_encloses_them() {
        let found = parents(&[
            (2, 0, 1, 3),
            (2, 0, 3, 4),
            (1, 0, 1, 5),
            (0, 0, 0, 9),
            (1, 0, 6, 8),
        ]);
        assert_eq!(found, [Some(2), Some(2), Some(3), None, Some(3)]);
    }

    #[test]
    fn kinds_decide_between_equal_times() {
        assert_eq!(
            parents(&[(2, 0, 0, 5), (1, 0, 0, 5), (0, 0, 0, 5)]),
            [Some(1), Some(2), None]
        );
    }

    #[test]
    fn threads_do_not_nest_in_each_other() {
        assert_eq!(parents(&[(0, 0, 0, 9), (2, 1, 2, 3)]), [None, None]);
    }

    #[test]
    fn an_empty_span_where_two_meet_is_in_the_later() {
        assert_eq!(
            parents(&[(2, 0, 0, 4), (2, 0, 4, 4), (2, 0, 4, 6)]),
            [None, Some(2), None]
        );
    }
}

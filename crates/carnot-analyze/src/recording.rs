//! What recording spans cost the engine's thread: its own, and those that it records for other threads.

use std::collections::HashMap;

use carnot_record::{SpanKind, Trace};

/// The cost of each span of the engine's thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recording {
    span_ns: f64,
    /// An operation's span, from times that are read once before it and once after it.
    operation_ns: f64,
    recorded_span_ns: f64,
    /// Spans of other threads by sequence number, where the engine's thread recorded them.
    for_others: HashMap<u64, u32>,
}

impl Recording {
    pub fn new(trace: &Trace, main: u32) -> Self {
        let cost = &trace.cost;
        let recorded_span_ns = if cost.recorded_span_ns > 0.0 {
            cost.recorded_span_ns
        } else {
            cost.span_ns
        };
        Self {
            span_ns: cost.span_ns,
            operation_ns: if cost.recorded_span_ns > 0.0 {
                recorded_span_ns + 2.0 * cost.clock_read_ns
            } else {
                cost.span_ns
            },
            recorded_span_ns,
            for_others: for_others(trace, main),
        }
    }

    /// What recording one span of the engine's thread cost it, with those of other threads in the same sequence.
    pub fn of(&self, trace: &Trace, span: u32) -> f64 {
        let span = &trace.spans[span as usize];
        let others = span
            .sequence
            .and_then(|sequence| self.for_others.get(&sequence));
        match trace.site(span).kind {
            SpanKind::Operation => {
                self.operation_ns + self.recorded_span_ns * f64::from(*others.unwrap_or(&0))
            }
            SpanKind::Wait => self.recorded_span_ns,
            _ => self.span_ns,
        }
    }
}

fn for_others(trace: &Trace, main: u32) -> HashMap<u64, u32> {
    let by_main = |thread: &&carnot_record::Thread| thread.recorded_by == Some(main);
    let threads: Vec<u32> = trace
        .threads
        .iter()
        .filter(by_main)
        .map(|thread| thread.id)
        .collect();
    let mut counts = HashMap::new();
    for span in trace
        .spans
        .iter()
        .filter(|span| threads.contains(&span.thread))
    {
        if let Some(sequence) = span.sequence {
            *counts.entry(sequence).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_record::{ProbeCost, Site, Span, Thread};

    #[test]
    fn the_engine_pays_for_what_it_records_for_others() {
        let site = |kind| Site {
            kind,
            ..Site::default()
        };
        let span = |site, thread, sequence| Span {
            site,
            thread,
            sequence,
            ..Span::default()
        };
        let trace = Trace {
            threads: vec![
                Thread::default(),
                Thread {
                    id: 1,
                    recorded_by: Some(0),
                    ..Thread::default()
                },
                Thread {
                    id: 2,
                    ..Thread::default()
                },
            ],
            sites: vec![
                site(SpanKind::Operation),
                site(SpanKind::Wait),
                site(SpanKind::Engine),
            ],
            spans: vec![
                span(0, 0, Some(5)),
                span(1, 0, Some(5)),
                span(2, 0, None),
                span(0, 1, Some(5)),
                span(1, 1, Some(5)),
                span(0, 2, Some(5)),
            ],
            cost: ProbeCost {
                span_ns: 30.0,
                recorded_span_ns: 8.0,
                clock_read_ns: 10.0,
                ..ProbeCost::default()
            },
            ..Trace::default()
        };
        let recording = Recording::new(&trace, 0);
        assert_eq!(
            [0, 1, 2].map(|index| recording.of(&trace, index)),
            [8.0 + 20.0 + 16.0, 8.0, 30.0]
        );
    }
}

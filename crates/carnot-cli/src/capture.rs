//! From what the probe recorded to a trace that is kept.

use std::collections::HashMap;

use carnot_probe::{CacheOutcome, Cost, Kind, RecordedEvent, Recording};
use carnot_record as record;
use carnot_record::Trace;

/// The recording as a trace that begins at its first event. `cost` is what recording cost on this machine.
pub fn trace_of(recording: &Recording, cost: &Cost) -> Trace {
    let origin = recording
        .spans()
        .map(|span| span.start_ns)
        .min()
        .unwrap_or(0);
    let mut trace = Trace {
        threads: (0..)
            .zip(&recording.tracks)
            .map(|(id, name)| record::Thread {
                id,
                name: name.clone(),
                recorded_by: recording.recorded_by.get(&id).copied(),
            })
            .collect(),
        sites: recording.sites.iter().map(site).collect(),
        spans: spans(recording, origin),
        dropped: recording.dropped,
        ..Trace::default()
    };
    let mut arrows = HashMap::new();
    for event in recording.events() {
        match event {
            RecordedEvent::Flow { id, track, time_ns } => {
                add_flow(
                    &mut trace,
                    &mut arrows,
                    id,
                    (track as u32, time_ns.saturating_sub(origin)),
                );
            }
            event => add_event(&mut trace, &event, origin),
        }
    }
    trace.duration_ns = trace
        .spans
        .iter()
        .map(|span| span.end_ns)
        .max()
        .unwrap_or(0);
    let events = recording.len() as u64;
    // Most spans are recorded after the fact, from times that were read between the operations: two reads to three spans.
    let each_ns = cost.recorded_span_ns + cost.clock_read_ns;
    trace.cost = record::ProbeCost {
        events,
        dropped: recording.dropped,
        span_ns: cost.span_ns,
        recorded_span_ns: cost.recorded_span_ns,
        clock_read_ns: cost.clock_read_ns,
        total_ns: (each_ns * events as f64) as u64,
    };
    trace
}

fn site(info: &carnot_probe::SiteInfo) -> record::Site {
    record::Site {
        name: info.name.clone(),
        kind: kind(info.kind),
        file: info.file.to_owned(),
        line: info.line,
    }
}

fn kind(kind: Kind) -> record::SpanKind {
    match kind {
        Kind::Phase => record::SpanKind::Phase,
        Kind::Step => record::SpanKind::Step,
        Kind::Layer => record::SpanKind::Layer,
        Kind::OperationInt8 | Kind::OperationF32 => record::SpanKind::Operation,
        Kind::Wait => record::SpanKind::Wait,
        Kind::Engine => record::SpanKind::Engine,
        Kind::Stage => record::SpanKind::Stage,
        Kind::Prompt => record::SpanKind::Prompt,
        Kind::Chunk => record::SpanKind::Chunk,
        Kind::Block => record::SpanKind::Block,
        _ => record::SpanKind::Other,
    }
}

/// All spans by start, each with the innermost span of its own thread that encloses it as parent.
fn spans(recording: &Recording, origin: u64) -> Vec<record::Span> {
    let mut open: Vec<Vec<(u32, u64)>> = vec![Vec::new(); recording.tracks.len()];
    let enclosing = (0..).zip(recording.spans()).map(|(index, span)| {
        let stack = &mut open[span.track];
        while stack.last().is_some_and(|&(_, end)| end < span.end_ns) {
            stack.pop();
        }
        let parent = stack.last().map(|&(parent, _)| parent);
        stack.push((index, span.end_ns));
        record::Span {
            site: span.site as u32,
            thread: span.track as u32,
            parent,
            start_ns: span.start_ns - origin,
            end_ns: span.end_ns - origin,
            layer: span.layer,
            sequence: span.sequence.map(u64::from),
            request: span.request.map(u64::from),
            tokens: u64::from(span.tokens),
            flops: span.flops,
            bytes: span.bytes,
            working_set_bytes: span.working_set_bytes,
            arithmetic: match span.kind {
                Kind::OperationInt8 => record::Arithmetic::Int8,
                Kind::OperationF32 => record::Arithmetic::F32,
                _ => record::Arithmetic::None,
            },
        }
    });
    enclosing.collect()
}

/// The ends of an arrow come in order; each but the first is joined to the one before it.
fn add_flow(
    trace: &mut Trace,
    arrows: &mut HashMap<u64, u32>,
    id: u64,
    (thread, time_ns): (u32, u64),
) {
    let around = |span: &&record::Span| {
        span.thread == thread && span.start_ns <= time_ns && time_ns <= span.end_ns
    };
    let Some(to) = trace.spans.iter().rposition(|span| around(&span)) else {
        return;
    };
    if let Some(from) = arrows.insert(id, to as u32) {
        trace.flows.push(record::Flow {
            id,
            from,
            to: to as u32,
        });
    }
}

fn add_event(trace: &mut Trace, event: &RecordedEvent<'_>, origin: u64) {
    let at = |time_ns: u64| time_ns.saturating_sub(origin);
    match *event {
        RecordedEvent::Counter {
            name,
            time_ns,
            value,
        } => {
            trace.counters.push(record::CounterSample {
                name: name.to_owned(),
                time_ns: at(time_ns),
                value,
                unit: String::new(),
            });
        }
        RecordedEvent::Instant {
            name,
            track,
            time_ns,
        } => {
            trace.instants.push(record::Instant {
                name: name.to_owned(),
                thread: track as u32,
                time_ns: at(time_ns),
            });
        }
        RecordedEvent::Memory {
            owner,
            time_ns,
            bytes,
            id,
        } => {
            trace.memory.push(record::MemoryEvent {
                time_ns: at(time_ns),
                owner: owner.to_owned(),
                bytes,
                id: (id != 0).then_some(id),
            });
        }
        RecordedEvent::Cache {
            cache,
            time_ns,
            outcome,
            key,
            bytes,
        } => {
            let outcome = match outcome {
                CacheOutcome::Hit => record::CacheOutcome::Hit,
                CacheOutcome::Miss => record::CacheOutcome::Miss,
                CacheOutcome::Evict => record::CacheOutcome::Evict,
            };
            trace.cache.push(record::CacheEvent {
                time_ns: at(time_ns),
                cache: cache.to_owned(),
                outcome,
                bytes,
                key: (key != 0).then_some(key),
            });
        }
        RecordedEvent::Frame {
            stream,
            time_ns,
            frame,
        } => {
            trace.frames.push(record::FrameEvent {
                time_ns: at(time_ns),
                stream: stream.to_owned(),
                index: frame.index.into(),
                count: frame.count.into(),
                dropped: 0,
                generate_ns: frame.generate_ns,
                encode_ns: frame.encode_ns,
                send_ns: frame.send_ns,
                bytes: frame.bytes,
                occupancy: frame.occupancy.map(u64::from),
                prompt: frame.prompt.map(u64::from),
            });
        }
        RecordedEvent::DroppedFrames {
            stream,
            time_ns,
            count,
        } => {
            trace.frames.push(record::FrameEvent {
                time_ns: at(time_ns),
                stream: stream.to_owned(),
                count: 0,
                dropped: count.into(),
                ..record::FrameEvent::default()
            });
        }
        // Arrows are kept apart; allocations by place are of sessions, and none is open here.
        RecordedEvent::Flow { .. } | RecordedEvent::Allocation { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use carnot_analyze::SpanTree;
    use carnot_probe::{clock, counter, flow, memory, record_span, site, span, track};

    use super::*;

    /// One test, because the probe is one per process and tests share it.
    #[test]
    fn a_recording_becomes_a_trace() {
        carnot_probe::enable();
        let arrow = site("request", Kind::Flow);
        let worker = track("worker 1");
        let outer = span!("step", Kind::Step).tokens(2);
        let start = clock::ticks();
        flow(arrow, 5);
        let inner = span(site("matmul", Kind::OperationInt8))
            .work(8, 9, 10)
            .sequence(1)
            .layer(0);
        flow(arrow, 5);
        inner.end();
        record_span(
            site("matmul", Kind::OperationInt8),
            Some(worker),
            start,
            clock::ticks(),
        )
        .sequence(1)
        .end();
        counter(site("depth", Kind::Counter), 3.0);
        memory(site("arena", Kind::Memory), 100, 0);
        outer.end();
        let cost = carnot_probe::Cost {
            clock_read_ns: 10.0,
            span_ns: 26.0,
            recorded_span_ns: 6.0,
            counter_ns: 14.0,
        };
        let trace = trace_of(&carnot_probe::drain(), &cost);
        carnot_probe::disable();

        let named = |name: &str| {
            trace
                .spans
                .iter()
                .position(|span| trace.sites[span.site as usize].name == name)
        };
        let (step, matmul) = (
            named("step").expect("a step"),
            named("matmul").expect("a matmul"),
        );
        assert_eq!(trace.spans[step].tokens, 2);
        let main = trace.spans[step].thread;
        let own = (0..trace.spans.len())
            .find(|&i| i != step && trace.spans[i].thread == main)
            .expect("the main thread's matmul");
        assert_eq!(trace.spans[own].parent, Some(step as u32));
        assert_eq!(
            (
                trace.spans[own].flops,
                trace.spans[own].bytes,
                trace.spans[own].working_set_bytes
            ),
            (8, 9, 10)
        );
        assert_eq!(trace.spans[own].arithmetic, record::Arithmetic::Int8);
        let other = trace
            .threads
            .iter()
            .find(|thread| thread.name == "worker 1")
            .expect("the worker's track");
        assert_eq!(other.recorded_by, Some(main));
        assert_eq!(
            trace.flows,
            [record::Flow {
                id: 5,
                from: step as u32,
                to: own as u32
            }]
        );
        assert_eq!((trace.counters[0].value, trace.memory[0].bytes), (3.0, 100));
        assert!(matmul > step && trace.duration_ns > 0);
        assert_eq!(SpanTree::new(&trace).roots().len(), 2, "one root a thread");
    }
}

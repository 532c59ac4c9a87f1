//! From what the probe recorded to a trace that is kept.

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
    for event in recording.events() {
        add_event(&mut trace, &event, origin);
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
        } => {
            trace.memory.push(record::MemoryEvent {
                time_ns: at(time_ns),
                owner: owner.to_owned(),
                bytes,
            });
        }
        RecordedEvent::Cache {
            cache,
            time_ns,
            outcome,
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
            });
        }
        RecordedEvent::Frame {
            time_ns,
            index,
            generate_ns,
            encode_ns,
            bytes,
            ..
        } => {
            trace.frames.push(record::FrameEvent {
                time_ns: at(time_ns),
                index: u64::from(index),
                generate_ns,
                encode_ns,
                bytes,
            });
        }
        _ => {}
    }
}

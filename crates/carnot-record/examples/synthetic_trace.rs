//! Writes a trace file of as many events as wanted, to measure what reads it:
//!
//! ```text
//! cargo run --release -p carnot-record --example synthetic_trace -- 10000000 trace.carnot
//! /usr/bin/time -v carnot profile report trace.carnot --emit perfetto
//! ```
//!
//! One thread: blocks of 50 steps of 20 layers, a counter and a cache look-up for each step.

use std::fs::File;
use std::io::{self, BufWriter};

use carnot_record::trace_file::{ClockPoint, EventKind, EventSite, RawEvent, TraceWriter};
use carnot_record::{Arithmetic, Outcome, Session, SpanKind, Thread};

const LAYERS: u64 = 20;
const STEPS: u64 = 50;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [events, path] = arguments.as_slice() else {
        return Err(io::Error::other("expected a number of events and a file"));
    };
    let events: u64 = events.parse().map_err(io::Error::other)?;
    let file = File::create(path)?;
    let mut writer = TraceWriter::new(BufWriter::with_capacity(1 << 20, file))?;
    let session = Session {
        id: "synthetic".to_owned(),
        unit: "frames".to_owned(),
        outcome: Some(Outcome::Completed),
        ..Session::default()
    };
    writer.session(&session)?;
    let clock = |ticks| ClockPoint {
        ticks,
        ns_per_tick: 1.0,
        unix_ns: 1_795_000_000_000_000_000 + ticks,
    };
    writer.clock(clock(0))?;
    let span = |kind| EventKind::Span(kind, Arithmetic::None);
    let names = [
        ("block", span(SpanKind::Block)),
        ("step", span(SpanKind::Step)),
        ("layer", span(SpanKind::Layer)),
        ("queue", EventKind::Counter),
        ("bank", EventKind::Cache),
    ];
    let site = |(name, kind): (&str, EventKind)| EventSite {
        name: name.to_owned(),
        kind,
        file: String::new(),
        line: 0,
    };
    writer.names(&names.map(site), &[Thread::default()])?;
    let mut now = 0;
    let each_block = 1 + STEPS * (3 + LAYERS);
    for block in 0..events.div_ceil(each_block) {
        writer.events(of_block(block, &mut now))?;
    }
    writer.clock(clock(now))?;
    writer.flush()
}

fn of_block(block: u64, now: &mut u64) -> Vec<RawEvent> {
    let mut events = Vec::new();
    let begun = *now;
    for step in 0..STEPS {
        let step_begun = *now;
        for layer in 0..LAYERS {
            // Times that differ, as times do.
            let length = 800 + (block * 31 + step * 17 + layer * 7) % 400;
            events.push(RawEvent {
                site: 2,
                start: *now,
                end: *now + length,
                layer: layer as u32,
                flops: 1 << 20,
                ..RawEvent::default()
            });
            *now += length + 20;
        }
        let moment = RawEvent {
            start: *now,
            ..RawEvent::default()
        };
        events.push(RawEvent {
            site: 3,
            bytes: (step as f64).to_bits(),
            ..moment
        });
        events.push(RawEvent {
            site: 4,
            tokens: u32::from(step == 0),
            flops: 1 + (block + step) % 64,
            bytes: 4096,
            ..moment
        });
        events.push(RawEvent {
            site: 1,
            start: step_begun,
            end: *now + 10,
            layer: step as u32,
            ..RawEvent::default()
        });
        *now += 30;
    }
    events.push(RawEvent {
        start: begun,
        end: *now,
        layer: block as u32,
        tokens: 3,
        ..RawEvent::default()
    });
    events
}

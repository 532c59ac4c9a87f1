//! A Perfetto trace (protobuf), the default: it streams, it nests, and it takes a hundred times what the JSON viewers do.
//!
//! One track for each thread under one process, slices with their numbers as debug annotations, counters (memory by owner
//! among them), instants and flows. Names are interned. Field numbers are those of
//! `protos/perfetto/trace/trace_packet.proto` and its neighbours.

use std::collections::{HashMap, HashSet};

use carnot_analyze::SpanTree;
use carnot_record::{CacheOutcome, Trace};

use crate::{
    protobuf::Message,
    stacks::{Edge, edges, name, numbers, shown, threads},
};

const PROCESS_TRACK: u64 = 1;
const FIRST_THREAD_TRACK: u64 = 0x1_0000;
const FIRST_COUNTER_TRACK: u64 = 0x2_0000_0000;
const PROCESS: i64 = 1;
const SEQUENCE: u64 = 1;

/// `TrackEvent.Type`.
const SLICE_BEGIN: u64 = 1;
const SLICE_END: u64 = 2;
const INSTANT: u64 = 3;
const COUNTER: u64 = 4;

/// `TracePacket.SequenceFlags`: the first packet clears what was interned before, the others build on it.
const STATE_CLEARED: u64 = 1;
const NEEDS_STATE: u64 = 2;

/// The trace as bytes of a `.pftrace` file.
pub fn render(trace: &Trace) -> Vec<u8> {
    let tree = SpanTree::new(trace);
    let mut writer = Writer {
        file: Message::new(),
        names: Names::of(trace),
    };
    writer.begin();
    writer.tracks(trace);
    writer.slices(trace, &tree);
    writer.instants(trace);
    writer.counters(trace);
    writer.file.into_bytes()
}

/// Interned names of slices and annotations; an index is what an event holds in a name's place.
struct Names {
    sites: Vec<u64>,
    events: Vec<String>,
    annotations: [&'static str; 8],
}

impl Names {
    fn of(trace: &Trace) -> Self {
        let mut events: Vec<String> = Vec::new();
        let mut known: HashMap<&str, u64> = HashMap::new();
        let mut intern = |name| {
            *known.entry(name).or_insert_with(|| {
                events.push(shown(name).to_owned());
                events.len() as u64
            })
        };
        let sites = trace
            .sites
            .iter()
            .map(|site| intern(site.name.as_str()))
            .collect();
        let annotations = [
            "layer",
            "sequence",
            "request",
            "tokens",
            "flops",
            "bytes",
            "working_set_bytes",
            "arithmetic",
        ];
        Self {
            sites,
            events,
            annotations,
        }
    }

    fn annotation(&self, name: &str) -> u64 {
        let position = self.annotations.iter().position(|known| *known == name);
        position.expect("stacks::numbers names only these") as u64 + 1
    }

    /// `InternedData`.
    fn message(&self) -> Message {
        let entry =
            |index: usize, name: &str| Message::new().number(1, index as u64 + 1).text(2, name);
        let mut data = Message::new();
        for (index, name) in self.events.iter().enumerate() {
            data.append(2, &entry(index, name));
        }
        for (index, name) in self.annotations.iter().enumerate() {
            data.append(3, &entry(index, name));
        }
        data
    }
}

struct Writer {
    file: Message,
    names: Names,
}

impl Writer {
    fn packet(&mut self, packet: &Message) {
        self.file.append(1, packet);
    }

    fn begin(&mut self) {
        let packet = Message::new()
            .number(10, SEQUENCE)
            .number(13, STATE_CLEARED | NEEDS_STATE)
            .message(12, &self.names.message());
        self.packet(&packet);
    }

    fn tracks(&mut self, trace: &Trace) {
        let process = Message::new().signed(1, PROCESS).text(6, "carnot");
        let track = Message::new().number(1, PROCESS_TRACK).message(3, &process);
        self.descriptor(&track);
        for (id, name) in threads(trace) {
            let thread = Message::new()
                .signed(1, PROCESS)
                .signed(2, tid(id))
                .text(5, shown(&name));
            self.descriptor(
                &Message::new()
                    .number(1, thread_track(id))
                    .message(4, &thread),
            );
        }
    }

    fn descriptor(&mut self, descriptor: &Message) {
        let packet = Message::new()
            .number(8, 0)
            .number(10, SEQUENCE)
            .message(60, descriptor);
        self.packet(&packet);
    }

    fn event(&mut self, time_ns: u64, event: &Message) {
        let packet = Message::new()
            .number(8, time_ns)
            .number(10, SEQUENCE)
            .number(13, NEEDS_STATE)
            .message(11, event);
        self.packet(&packet);
    }

    fn slices(&mut self, trace: &Trace, tree: &SpanTree) {
        let flows = Flows::of(trace);
        for edge in edges(tree) {
            match edge {
                Edge::Open(span) => {
                    let event = self.slice(trace, span, &flows);
                    self.event(tree.start_ns(span), &event);
                }
                Edge::Close(span) => {
                    let track = thread_track(trace.spans[span as usize].thread);
                    let event = Message::new().number(9, SLICE_END).number(11, track);
                    self.event(tree.end_ns(span), &event);
                }
            }
        }
    }

    fn slice(&self, trace: &Trace, index: u32, flows: &Flows) -> Message {
        let span = &trace.spans[index as usize];
        let mut event = Message::new()
            .number(9, SLICE_BEGIN)
            .number(11, thread_track(span.thread));
        event = match self.names.sites.get(span.site as usize) {
            Some(interned) => event.number(10, *interned),
            None => event.text(23, name(trace, span)),
        };
        for (name, value) in numbers(span) {
            let annotation = Message::new()
                .number(1, self.names.annotation(name))
                .number(3, value);
            event.append(4, &annotation);
        }
        if span.flops > 0 {
            let iid = self.names.annotation("arithmetic");
            event.append(
                4,
                &Message::new()
                    .number(1, iid)
                    .text(6, span.arithmetic.name()),
            );
        }
        let field_of_flow = |terminating: bool| if terminating { 48 } else { 47 };
        flows.at(index).fold(event, |event, (id, end)| {
            event.fixed64(field_of_flow(end), id)
        })
    }

    fn instants(&mut self, trace: &Trace) {
        for instant in &trace.instants {
            self.instant(
                thread_track(instant.thread),
                instant.time_ns,
                shown(&instant.name),
            );
        }
        for event in &trace.cache {
            let outcome = match event.outcome {
                CacheOutcome::Hit => "hit",
                CacheOutcome::Miss => "miss",
                CacheOutcome::Evict => "evict",
            };
            self.instant(
                PROCESS_TRACK,
                event.time_ns,
                &format!("{} {outcome}", event.cache),
            );
        }
        for frame in &trace.frames {
            self.instant(
                PROCESS_TRACK,
                frame.time_ns,
                &format!("frame {}", frame.index),
            );
        }
    }

    fn instant(&mut self, track: u64, time_ns: u64, name: &str) {
        let event = Message::new()
            .number(9, INSTANT)
            .number(11, track)
            .text(23, name);
        self.event(time_ns, &event);
    }

    fn counters(&mut self, trace: &Trace) {
        let mut tracks: HashMap<(&str, &str), u64> = HashMap::new();
        for sample in &trace.counters {
            let track = self.counter_track(&mut tracks, (&sample.name, &sample.unit));
            self.sample(track, sample.time_ns, sample.value);
        }
        let mut held: HashMap<&str, i64> = HashMap::new();
        let mut events: Vec<_> = trace.memory.iter().collect();
        events.sort_by_key(|event| event.time_ns);
        for event in events {
            let name = format!("memory {}", event.owner);
            let track = match tracks.get(&(event.owner.as_str(), MEMORY)) {
                Some(track) => *track,
                None => self.new_counter(&mut tracks, (&event.owner, MEMORY), &name, "bytes"),
            };
            let level = held.entry(&event.owner).or_default();
            *level = level.saturating_add(event.bytes);
            self.sample(track, event.time_ns, *level as f64);
        }
    }

    fn counter_track<'a>(
        &mut self,
        tracks: &mut HashMap<(&'a str, &'a str), u64>,
        key: (&'a str, &'a str),
    ) -> u64 {
        match tracks.get(&key) {
            Some(track) => *track,
            None => self.new_counter(tracks, key, key.0, key.1),
        }
    }

    fn new_counter<'a>(
        &mut self,
        tracks: &mut HashMap<(&'a str, &'a str), u64>,
        key: (&'a str, &'a str),
        name: &str,
        unit: &str,
    ) -> u64 {
        let track = FIRST_COUNTER_TRACK + tracks.len() as u64;
        tracks.insert(key, track);
        let counter = Message::new().text(6, unit);
        let descriptor = Message::new()
            .number(1, track)
            .text(2, shown(name))
            .number(5, PROCESS_TRACK)
            .message(8, &counter);
        self.descriptor(&descriptor);
        track
    }

    fn sample(&mut self, track: u64, time_ns: u64, value: f64) {
        let event = Message::new()
            .number(9, COUNTER)
            .number(11, track)
            .double(44, value);
        self.event(time_ns, &event);
    }
}

/// A unit that no counter of a trace has, since it holds a control character.
const MEMORY: &str = "\u{1}memory";

/// For each span, the flows that pass it, and whether they end there.
struct Flows(HashMap<u32, Vec<(u64, bool)>>);

impl Flows {
    fn of(trace: &Trace) -> Self {
        let begins: HashSet<(u64, u32)> = trace
            .flows
            .iter()
            .map(|flow| (flow.id, flow.from))
            .collect();
        let mut spans: HashMap<u32, Vec<(u64, bool)>> = HashMap::new();
        for flow in &trace.flows {
            spans.entry(flow.from).or_default().push((flow.id, false));
            if !begins.contains(&(flow.id, flow.to)) {
                spans.entry(flow.to).or_default().push((flow.id, true));
            }
        }
        Self(spans)
    }

    fn at(&self, span: u32) -> impl Iterator<Item = (u64, bool)> {
        self.0.get(&span).into_iter().flatten().copied()
    }
}

fn thread_track(id: u32) -> u64 {
    FIRST_THREAD_TRACK + u64::from(id)
}

/// Thread 0 is the idle thread to Perfetto, so ours begin at 1.
fn tid(id: u32) -> i64 {
    i64::from(id & 0x3fff_ffff) + 1
}

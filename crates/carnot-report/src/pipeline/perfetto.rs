//! All of a session as a Perfetto trace, written while it is read: a process for each rank, a track for each thread, counters beside
//! them. Memory does not grow with the events.
//!
//! Field numbers are those of `perfetto.rs`, and of `protos/perfetto/trace/` in the Perfetto sources.

use std::collections::HashMap;
use std::io::{self, Read, Seek, Write};

use carnot_analyze::pipeline::stands_for;
use carnot_record::CacheOutcome;
use carnot_record::trace_file::{EventSite, Occurrence, TraceReader};
use carnot_record::{Session, Thread};

use crate::protobuf::Message;

const SLICE_BEGIN: u64 = 1;
const SLICE_END: u64 = 2;
const INSTANT: u64 = 3;
const COUNTER: u64 = 4;
const STATE_CLEARED: u64 = 1;
const NEEDS_STATE: u64 = 2;
/// Annotations that slices have, by their interned numbers.
const ANNOTATIONS: [&str; 4] = ["index", "items", "flops", "bytes"];

/// A trace that is being written.
pub struct PerfettoStream<W> {
    out: W,
    /// Of the process whose events come.
    process: u64,
    offset_ns: i64,
    counters: HashMap<(u64, String), u64>,
    held: HashMap<(u64, u32), i64>,
    /// What all places that allocate hold, of each process.
    allocated: HashMap<u64, f64>,
    event: Vec<u8>,
    packet: Vec<u8>,
    buffer: Vec<u8>,
}

impl<W: Write> PerfettoStream<W> {
    /// Begins a trace.
    pub fn new(out: W) -> Self {
        Self {
            out,
            process: 0,
            offset_ns: 0,
            counters: HashMap::new(),
            held: HashMap::new(),
            allocated: HashMap::new(),
            event: Vec::new(),
            packet: Vec::new(),
            buffer: Vec::with_capacity(1 << 20),
        }
    }

    /// The events from now on are of this session; `offset_ns` is added to their times.
    pub fn session(
        &mut self,
        session: &Session,
        sites: &[EventSite],
        threads: &[Thread],
        offset_ns: i64,
    ) -> io::Result<()> {
        self.process += 1;
        self.offset_ns = offset_ns;
        let mut names = Message::new();
        let entry = |index: usize, name: &str| {
            Message::new()
                .number(1, index as u64 + 1)
                .text(2, visible(name))
        };
        for (index, site) in sites.iter().enumerate() {
            names.append(2, &entry(index, &site.name));
        }
        for (index, name) in ANNOTATIONS.iter().enumerate() {
            names.append(3, &entry(index, name));
        }
        let state = Message::new()
            .number(10, self.process)
            .number(13, STATE_CLEARED | NEEDS_STATE)
            .message(12, &names);
        self.message(&state)?;
        let rank = session.rank.map_or_else(
            || "pipeline".to_owned(),
            |rank| format!("rank {}", rank.rank),
        );
        let name = format!("{rank} {}", session.id);
        let process = Message::new().signed(1, self.pid()).text(6, visible(&name));
        let track = Message::new()
            .number(1, self.process_track())
            .message(3, &process);
        self.descriptor(&track)?;
        for thread in threads {
            let of = Message::new()
                .signed(1, self.pid())
                .signed(2, self.pid() * 1_000_000 + i64::from(thread.id) + 1)
                .text(5, visible(&thread.name));
            let track = Message::new()
                .number(1, self.thread_track(thread.id))
                .message(4, &of);
            self.descriptor(&track)?;
        }
        Ok(())
    }

    /// An event of site number `number` of the session.
    pub fn take(
        &mut self,
        site: &EventSite,
        number: u32,
        occurrence: Occurrence,
    ) -> io::Result<()> {
        match occurrence {
            Occurrence::Span {
                times,
                index,
                items,
                flops,
                bytes,
                ..
            } => {
                let track = self.thread_track(times.thread);
                self.begin_event(SLICE_BEGIN, track);
                field(&mut self.event, 10, u64::from(number) + 1);
                self.annotate(0, index.map(u64::from));
                self.annotate(1, (items > 0).then(|| items.into()));
                self.annotate(2, (flops > 0).then_some(flops));
                self.annotate(3, (bytes > 0).then_some(bytes));
                self.end_event(times.start_ns)?;
                self.begin_event(SLICE_END, track);
                self.end_event(times.end_ns)
            }
            Occurrence::Counter { time_ns, value } => self.sample(&site.name, time_ns, value),
            Occurrence::Memory { time_ns, bytes, .. } => {
                let level = self.held.entry((self.process, number)).or_default();
                *level = level.saturating_add(bytes);
                let level = *level as f64;
                self.sample(&format!("memory {}", site.name), time_ns, level)
            }
            Occurrence::Allocation {
                time_ns,
                bytes,
                mean_bytes,
                ..
            } => {
                // All places together: hundreds of tracks would say nothing.
                let level = self.allocated.entry(self.process).or_default();
                *level = (*level + stands_for(bytes, mean_bytes)).max(0.0);
                let level = *level;
                self.sample("memory of all places that allocate", time_ns, level)
            }
            Occurrence::Instant { time_ns, thread } => {
                self.begin_event(INSTANT, self.thread_track(thread));
                field(&mut self.event, 10, u64::from(number) + 1);
                self.end_event(time_ns)
            }
            Occurrence::Flow {
                time_ns,
                thread,
                id,
            } => {
                self.begin_event(INSTANT, self.thread_track(thread));
                field(&mut self.event, 10, u64::from(number) + 1);
                // `flow_ids`, a list of fixed 64-bit numbers.
                varint(&mut self.event, 47 << 3 | 1);
                self.event.extend(id.to_le_bytes());
                self.end_event(time_ns)
            }
            Occurrence::Cache {
                time_ns, outcome, ..
            } => {
                let outcome = match outcome {
                    CacheOutcome::Hit => "hit",
                    CacheOutcome::Miss => "miss",
                    CacheOutcome::Evict => "evict",
                };
                self.named(time_ns, &format!("{} {outcome}", site.name))
            }
            Occurrence::Frame {
                time_ns,
                index,
                occupancy,
                ..
            } => {
                if let Some(occupancy) = occupancy {
                    self.sample(&format!("{} buffer", site.name), time_ns, occupancy.into())?;
                }
                self.named(time_ns, &format!("{} {index}", site.name))
            }
            Occurrence::DroppedFrames { time_ns, count } => {
                self.named(time_ns, &format!("{} dropped {count}", site.name))
            }
        }
    }

    /// All of a trace file; `offset_ns` is added to its times.
    pub fn file<R: Read + Seek>(
        &mut self,
        file: &mut TraceReader<R>,
        offset_ns: i64,
    ) -> io::Result<()> {
        let (session, threads) = (file.session().clone(), file.threads().to_vec());
        self.session(&session, file.sites(), &threads, offset_ns)?;
        let mut result = Ok(());
        file.for_each(|site, number, occurrence| {
            if result.is_ok() {
                result = self.take(site, number, occurrence);
            }
        })?;
        result
    }

    /// Writes what is left.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&self.buffer)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn named(&mut self, time_ns: u64, name: &str) -> io::Result<()> {
        self.begin_event(INSTANT, self.process_track());
        bytes(&mut self.event, 23, visible(name).as_bytes());
        self.end_event(time_ns)
    }

    fn sample(&mut self, name: &str, time_ns: u64, value: f64) -> io::Result<()> {
        let key = (self.process, name.to_owned());
        let track = match self.counters.get(&key) {
            Some(track) => *track,
            None => self.new_counter(key)?,
        };
        self.begin_event(COUNTER, track);
        varint(&mut self.event, 44 << 3 | 1);
        self.event.extend(value.to_bits().to_le_bytes());
        self.end_event(time_ns)
    }

    fn new_counter(&mut self, key: (u64, String)) -> io::Result<u64> {
        let track = self.base() + 0x2_0000_0000 + self.counters.len() as u64;
        let descriptor = Message::new()
            .number(1, track)
            .text(2, visible(&key.1))
            .number(5, self.process_track())
            .message(8, &Message::new());
        self.counters.insert(key, track);
        self.descriptor(&descriptor)?;
        Ok(track)
    }

    fn begin_event(&mut self, kind: u64, track: u64) {
        self.event.clear();
        field(&mut self.event, 9, kind);
        field(&mut self.event, 11, track);
    }

    fn annotate(&mut self, annotation: u64, value: Option<u64>) {
        if let Some(value) = value {
            let mut content = [0; 13];
            content[..3].copy_from_slice(&[1 << 3, annotation as u8 + 1, 3 << 3]);
            let mut length = 3;
            let mut rest = value;
            while rest >= 0x80 {
                content[length] = rest as u8 | 0x80;
                (rest, length) = (rest >> 7, length + 1);
            }
            content[length] = rest as u8;
            bytes(&mut self.event, 4, &content[..=length]);
        }
    }

    fn end_event(&mut self, time_ns: u64) -> io::Result<()> {
        self.packet.clear();
        field(
            &mut self.packet,
            8,
            time_ns.saturating_add_signed(self.offset_ns),
        );
        field(&mut self.packet, 10, self.process);
        field(&mut self.packet, 13, NEEDS_STATE);
        bytes(&mut self.packet, 11, &self.event);
        bytes(&mut self.buffer, 1, &self.packet);
        self.hand_on()
    }

    fn descriptor(&mut self, descriptor: &Message) -> io::Result<()> {
        let packet = Message::new()
            .number(8, 0)
            .number(10, self.process)
            .message(60, descriptor);
        self.message(&packet)
    }

    fn message(&mut self, packet: &Message) -> io::Result<()> {
        let file = Message::new().message(1, packet);
        self.buffer.extend(file.into_bytes());
        self.hand_on()
    }

    fn hand_on(&mut self) -> io::Result<()> {
        if self.buffer.len() >= 1 << 20 {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn pid(&self) -> i64 {
        self.process as i64
    }

    fn base(&self) -> u64 {
        self.process << 40
    }

    fn process_track(&self) -> u64 {
        self.base() + 1
    }

    fn thread_track(&self, thread: u32) -> u64 {
        self.base() + 0x1_0000 + u64::from(thread)
    }
}

/// Perfetto shows nothing for an empty name.
fn visible(name: &str) -> &str {
    if name.is_empty() { "(unnamed)" } else { name }
}

fn field(out: &mut Vec<u8>, number: u32, value: u64) {
    varint(out, u64::from(number << 3));
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    varint(out, u64::from(number << 3 | 2));
    varint(out, content.len() as u64);
    out.extend(content);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

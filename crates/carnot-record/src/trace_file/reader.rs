//! Reading a trace file: once over its frames for everything but the events, then over the events as often as wanted, a frame in memory
//! at a time.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use serde::de::DeserializeOwned;

use super::packed::{Before, RawEvent, unpack};
use super::{ClockPoint, EventKind, EventSite, FileError, Lost, MAGIC, Names, VERSION, checksum};
use crate::{CacheOutcome, Note, Session, Thread};

/// A frame's kind, length and checksum.
const HEAD: usize = 9;
/// No frame that was ever written is longer.
const LONGEST: u32 = 256 * 1024 * 1024;
/// A hundred and four days: nothing that is recorded is later, and sums of what a damaged clock says stay numbers.
const LATEST_NS: u64 = 1 << 53;

/// A trace file, whole but for its events.
#[derive(Debug)]
pub struct TraceReader<R> {
    input: R,
    session: Session,
    sites: Vec<EventSite>,
    threads: Vec<Thread>,
    clocks: Vec<ClockPoint>,
    lost: Lost,
    notes: Vec<Note>,
    /// Where the contents of event frames lie: position, length, checksum.
    frames: Vec<(u64, u32, u32)>,
    damage: Vec<String>,
}

/// When a span began and ended, and on which thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanTimes {
    /// The number of the thread.
    pub thread: u32,
    /// From the start of the trace.
    pub start_ns: u64,
    /// Never before `start_ns`.
    pub end_ns: u64,
}

/// What happened: an event with its times in nanoseconds from the start of the trace.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of the probe's functions")]
pub enum Occurrence {
    Span {
        times: SpanTimes,
        index: Option<u32>,
        items: u32,
        flops: u64,
        bytes: u64,
        working_set_bytes: u64,
        sequence: Option<u32>,
        request: Option<u32>,
    },
    Counter {
        time_ns: u64,
        value: f64,
    },
    Instant {
        time_ns: u64,
        thread: u32,
    },
    Memory {
        time_ns: u64,
        bytes: i64,
        id: Option<u64>,
    },
    Allocation {
        time_ns: u64,
        bytes: i64,
        count: u32,
        id: Option<u64>,
        mean_bytes: u64,
    },
    Cache {
        time_ns: u64,
        outcome: CacheOutcome,
        key: Option<u64>,
        bytes: u64,
    },
    Frame {
        time_ns: u64,
        index: u32,
        count: u32,
        generate_ns: u64,
        encode_ns: u64,
        send_ns: u64,
        bytes: u64,
        occupancy: Option<u32>,
        prompt: Option<u32>,
    },
    DroppedFrames {
        time_ns: u64,
        count: u32,
    },
    Flow {
        time_ns: u64,
        thread: u32,
        id: u64,
    },
}

impl<R: Read + Seek> TraceReader<R> {
    /// Reads everything but the events.
    pub fn new(mut input: R) -> Result<Self, FileError> {
        check_head(&mut input)?;
        let mut reader = Self {
            input,
            session: Session::default(),
            sites: Vec::new(),
            threads: Vec::new(),
            clocks: Vec::new(),
            lost: Lost::new(),
            notes: Vec::new(),
            frames: Vec::new(),
            damage: Vec::new(),
        };
        reader.scan()?;
        if reader.clocks.is_empty() {
            let why = reader.damage.first().cloned();
            return Err(FileError::Empty(
                why.unwrap_or_else(|| "it ends before its first moment".to_owned()),
            ));
        }
        Ok(reader)
    }

    /// What the session last said of itself.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Where events come from, by number.
    pub fn sites(&self) -> &[EventSite] {
        &self.sites
    }

    /// The threads, by number.
    pub fn threads(&self) -> &[Thread] {
        &self.threads
    }

    /// Events that were lost for want of memory, by site.
    pub fn lost(&self) -> &BTreeMap<u32, u64> {
        &self.lost
    }

    /// What the author noted, with times in nanoseconds.
    pub fn notes(&self) -> Vec<Note> {
        let timed = |note: &Note| Note {
            time: self.ns(note.time),
            ..note.clone()
        };
        self.notes.iter().map(timed).collect()
    }

    /// What is not as it was written, a line each; empty for a whole file.
    pub fn damage(&self) -> &[String] {
        &self.damage
    }

    /// The start of the trace, in nanoseconds since 1970.
    pub fn start_unix_ns(&self) -> u64 {
        self.clocks.first().map_or(0, |point| point.unix_ns)
    }

    /// From the first moment that the file knows to the last.
    pub fn length_ns(&self) -> u64 {
        self.clocks.last().map_or(0, |point| self.ns(point.ticks))
    }

    fn ns(&self, ticks: u64) -> u64 {
        scale(&self.clocks)(ticks)
    }

    /// Goes through all events, those of a thread in the order in which it recorded them: spans by their ends.
    ///
    /// Frames that are not what was written are left out, and said in [`damage`](Self::damage).
    pub fn for_each(
        &mut self,
        mut each: impl FnMut(&EventSite, u32, Occurrence),
    ) -> io::Result<()> {
        let mut content = Vec::new();
        let mut damage = Vec::new();
        let ns = scale(&self.clocks);
        for &(position, length, sum) in &self.frames {
            content.resize(length as usize, 0);
            self.input.seek(SeekFrom::Start(position))?;
            self.input.read_exact(&mut content)?;
            if checksum(&content) != sum {
                damage.push(format!(
                    "the events at byte {position} are not what was written, and are left out"
                ));
                continue;
            }
            let (mut rest, mut before) = (content.as_slice(), Before::default());
            while let Some(event) = unpack(&mut rest, &mut before) {
                if let Some(site) = self.sites.get(event.site as usize) {
                    each(site, event.site, occurrence(site.kind, &event, &ns));
                }
            }
            if !rest.is_empty() {
                damage.push(format!(
                    "the events at byte {position} end in the middle of one"
                ));
            }
        }
        for line in damage {
            if !self.damage.contains(&line) {
                self.damage.push(line);
            }
        }
        Ok(())
    }

    fn scan(&mut self) -> Result<(), FileError> {
        let end = self.input.seek(SeekFrom::End(0))?;
        let mut position = self.input.seek(SeekFrom::Start((MAGIC.len() + 4) as u64))?;
        while position < end {
            let mut head = [0; HEAD];
            let left = end - position;
            if left < HEAD as u64 {
                self.damage.push(cut(position, HEAD as u64, left));
                break;
            }
            self.input.read_exact(&mut head)?;
            let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
            let sum = u32::from_le_bytes([head[5], head[6], head[7], head[8]]);
            let content = position + HEAD as u64;
            if u64::from(length) > end - content || length > LONGEST {
                self.damage
                    .push(cut(position, u64::from(length), end - content));
                break;
            }
            if head[0] == b'E' {
                self.frames.push((content, length, sum));
                self.input.seek_relative(length.into())?;
            } else {
                let mut bytes = vec![0; length as usize];
                self.input.read_exact(&mut bytes)?;
                if checksum(&bytes) == sum {
                    self.take(head[0], position, &bytes);
                } else {
                    let kind = char::from(head[0]);
                    self.damage.push(format!(
                        "the frame {kind:?} at byte {position} is not what was written, and is left out"
                    ));
                }
            }
            position = content + u64::from(length);
        }
        Ok(())
    }

    fn take(&mut self, kind: u8, position: u64, content: &[u8]) {
        let damage = &mut self.damage;
        match kind {
            b'S' => self.session = parse(content, position, damage).unwrap_or_default(),
            b'N' => {
                if let Some(names) = parse::<Names>(content, position, damage) {
                    self.sites.extend(names.sites);
                    self.threads.extend(names.threads);
                }
            }
            b'D' => {
                for (site, count) in parse::<Lost>(content, position, damage).unwrap_or_default() {
                    *self.lost.entry(site).or_default() += count;
                }
            }
            b'J' => self.notes.extend(parse::<Note>(content, position, damage)),
            b'C' if content.len() == 24 => {
                let number = |at: usize| {
                    let bytes = content[at..at + 8].try_into().expect("eight bytes");
                    u64::from_le_bytes(bytes)
                };
                self.clocks.push(ClockPoint {
                    ticks: number(0),
                    ns_per_tick: f64::from_bits(number(8)),
                    unix_ns: number(16),
                });
            }
            // A later version may have frames that this one need not know.
            _ => {}
        }
    }
}

fn check_head(input: &mut impl Read) -> Result<(), FileError> {
    let mut head = Vec::new();
    input
        .take((MAGIC.len() + 4) as u64)
        .read_to_end(&mut head)?;
    let Some((magic, version)) = head.split_at_checked(MAGIC.len()) else {
        return Err(FileError::Foreign(format!("{} bytes", head.len())));
    };
    if magic != MAGIC {
        return Err(FileError::Foreign(format!(
            "{:?}",
            String::from_utf8_lossy(magic)
        )));
    }
    match version.try_into().map(u32::from_le_bytes) {
        Ok(version) if version > VERSION => Err(FileError::Newer(version)),
        Ok(_) => Ok(()),
        Err(_) => Err(FileError::Empty(format!("it has {} bytes", head.len()))),
    }
}

fn cut(position: u64, expected: u64, found: u64) -> String {
    format!("cut at byte {position}: expected {expected} bytes more, found {found}")
}

fn parse<T: DeserializeOwned>(
    content: &[u8],
    position: u64,
    damage: &mut Vec<String>,
) -> Option<T> {
    let parsed = serde_json::from_slice(content);
    parsed
        .inspect_err(|error| damage.push(format!("the frame at byte {position}: {error}")))
        .ok()
}

/// From ticks to nanoseconds since the first moment; 0 for what lies before it.
fn scale(clocks: &[ClockPoint]) -> impl Fn(u64) -> u64 + use<> {
    let origin = clocks.first().map_or(0, |first| first.ticks);
    let rate = clocks.last().map_or(1.0, |last| last.ns_per_tick);
    move |at| ((at.saturating_sub(origin) as f64 * rate) as u64).min(LATEST_NS)
}

fn occurrence(kind: EventKind, event: &RawEvent, ns: &impl Fn(u64) -> u64) -> Occurrence {
    let some = |value: u32| (value != u32::MAX).then_some(value);
    let id = |value: u64| (value != 0).then_some(value);
    let time_ns = ns(event.start);
    match kind {
        EventKind::Span(..) => Occurrence::Span {
            times: SpanTimes {
                thread: event.track,
                start_ns: time_ns,
                end_ns: ns(event.end).max(time_ns),
            },
            index: some(event.layer),
            items: event.tokens,
            flops: event.flops,
            bytes: event.bytes,
            working_set_bytes: event.working_set_bytes,
            sequence: some((event.sequence_and_request >> 32) as u32),
            request: some(event.sequence_and_request as u32),
        },
        EventKind::Counter => Occurrence::Counter {
            time_ns,
            value: f64::from_bits(event.bytes),
        },
        EventKind::Instant => Occurrence::Instant {
            time_ns,
            thread: event.track,
        },
        EventKind::Memory => Occurrence::Memory {
            time_ns,
            bytes: event.bytes.cast_signed(),
            id: id(event.flops),
        },
        EventKind::Allocation => Occurrence::Allocation {
            time_ns,
            bytes: event.bytes.cast_signed(),
            count: event.tokens,
            id: id(event.flops),
            mean_bytes: event.working_set_bytes,
        },
        EventKind::Cache => Occurrence::Cache {
            time_ns,
            outcome: match event.tokens {
                0 => CacheOutcome::Hit,
                1 => CacheOutcome::Miss,
                _ => CacheOutcome::Evict,
            },
            key: id(event.flops),
            bytes: event.bytes,
        },
        EventKind::Frame if event.sequence_and_request >> 32 == 0 => Occurrence::DroppedFrames {
            time_ns,
            count: event.tokens,
        },
        EventKind::Frame => Occurrence::Frame {
            time_ns,
            index: event.tokens,
            count: (event.sequence_and_request >> 32) as u32,
            generate_ns: event.end,
            encode_ns: event.flops,
            send_ns: event.working_set_bytes,
            bytes: event.bytes,
            occupancy: some(event.layer),
            prompt: some(event.sequence_and_request as u32),
        },
        EventKind::Flow => Occurrence::Flow {
            time_ns,
            thread: event.track,
            id: event.bytes,
        },
    }
}

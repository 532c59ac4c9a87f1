//! Everything recorded so far, in nanoseconds since the first recording began.

use std::collections::{BTreeMap, HashMap};

use crate::buffer::{self, Event, NONE, Taken};
use crate::clock::{Scale, calibrate};
use crate::event::{Allocation, CacheOutcome, Frame};
use crate::site::{self, Kind, SiteInfo};

/// What the probe recorded between two drains.
#[derive(Debug)]
pub struct Recording {
    /// Names of the tracks; spans and events refer to them by index.
    pub tracks: Vec<String>,
    /// For each track that another track's thread recorded on (and bore the cost of), that one.
    pub recorded_by: HashMap<u32, u32>,
    /// The sites; spans and events refer to them by index.
    pub sites: Vec<SiteInfo>,
    /// Events lost for want of memory.
    pub dropped: u64,
    /// The same by site.
    pub dropped_by_site: BTreeMap<u32, u64>,
    /// The calibration that was used.
    pub scale: Scale,
    events: Vec<Event>,
}

/// A finished span.
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "the fields are those of the builder methods of `Span`"
)]
pub struct RecordedSpan<'a> {
    pub name: &'a str,
    pub kind: Kind,
    pub site: usize,
    pub track: usize,
    pub start_ns: u64,
    pub end_ns: u64,
    pub layer: Option<u32>,
    pub sequence: Option<u32>,
    pub request: Option<u32>,
    pub tokens: u32,
    pub flops: u64,
    pub bytes: u64,
    pub working_set_bytes: u64,
}

/// An event that is no span, with its time.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    missing_docs,
    reason = "the fields are those of the functions in `event`"
)]
pub enum RecordedEvent<'a> {
    Counter {
        name: &'a str,
        time_ns: u64,
        value: f64,
    },
    Instant {
        name: &'a str,
        track: usize,
        time_ns: u64,
    },
    Memory {
        owner: &'a str,
        time_ns: u64,
        bytes: i64,
        id: u64,
    },
    Allocation {
        site: usize,
        time_ns: u64,
        of: Allocation,
    },
    Cache {
        cache: &'a str,
        time_ns: u64,
        outcome: CacheOutcome,
        key: u64,
        bytes: u64,
    },
    Frame {
        stream: &'a str,
        time_ns: u64,
        frame: Frame,
    },
    DroppedFrames {
        stream: &'a str,
        time_ns: u64,
        count: u32,
    },
    Flow {
        id: u64,
        track: usize,
        time_ns: u64,
    },
}

/// An event as it was recorded, for whoever keeps it whole; what its fields hold depends on the kind of its site, as `event.rs`
/// and `span.rs` fill them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the event's own")]
pub struct RawEvent {
    pub site: u32,
    pub track: u32,
    /// In [`ticks`](crate::clock::ticks).
    pub start: u64,
    /// In ticks, of a span.
    pub end: u64,
    pub layer: u32,
    pub tokens: u32,
    pub flops: u64,
    pub bytes: u64,
    pub working_set_bytes: u64,
    pub sequence_and_request: u64,
}

fn some(value: u32) -> Option<u32> {
    (value != NONE).then_some(value)
}

/// Takes everything recorded so far, from all threads, ordered by start.
pub fn drain() -> Recording {
    let mut recording = drain_unsorted();
    let events = &mut recording.events;
    events.sort_by_key(|event| (event.start, std::cmp::Reverse(event.end)));
    recording
}

/// Takes everything recorded so far, from all threads, those of each thread in the order in which it recorded them: spans by their ends.
pub fn drain_unsorted() -> Recording {
    let scale = calibrate();
    let Taken {
        events,
        recorded_by,
        dropped,
    } = buffer::take();
    Recording {
        tracks: buffer::tracks(),
        recorded_by,
        sites: site::all(),
        dropped: dropped.values().sum(),
        dropped_by_site: dropped,
        scale,
        events,
    }
}

impl Recording {
    /// Puts an earlier recording before this one; tracks and sites are those of this one, which has them all.
    pub fn prepend(&mut self, earlier: Self) {
        self.dropped += earlier.dropped;
        for (site, count) in earlier.dropped_by_site {
            *self.dropped_by_site.entry(site).or_default() += count;
        }
        self.events.splice(0..0, earlier.events);
    }

    /// Number of events of all kinds.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The spans, by start; of two that begin together the longer comes first.
    pub fn spans(&self) -> impl Iterator<Item = RecordedSpan<'_>> {
        self.events
            .iter()
            .filter(|event| self.info(event).kind.is_span())
            .map(|event| {
                let info = self.info(event);
                RecordedSpan {
                    name: &info.name,
                    kind: info.kind,
                    site: event.site.0 as usize,
                    track: event.track as usize,
                    start_ns: self.scale.ns(event.start),
                    end_ns: self.scale.ns(event.end),
                    layer: some(event.layer),
                    sequence: some((event.sequence_and_request >> 32) as u32),
                    request: some(event.sequence_and_request as u32),
                    tokens: event.tokens,
                    flops: event.flops,
                    bytes: event.bytes,
                    working_set_bytes: event.working_set_bytes,
                }
            })
    }

    /// All events, spans and others, as they were recorded.
    pub fn raw(&self) -> impl Iterator<Item = RawEvent> {
        self.events.iter().map(|event| RawEvent {
            site: event.site.0,
            track: event.track,
            start: event.start,
            end: event.end,
            layer: event.layer,
            tokens: event.tokens,
            flops: event.flops,
            bytes: event.bytes,
            working_set_bytes: event.working_set_bytes,
            sequence_and_request: event.sequence_and_request,
        })
    }

    /// Everything that is no span, by time.
    pub fn events(&self) -> impl Iterator<Item = RecordedEvent<'_>> {
        self.events.iter().filter_map(|event| self.event(event))
    }

    fn event(&self, event: &Event) -> Option<RecordedEvent<'_>> {
        let info = self.info(event);
        let (name, time_ns, track) = (
            info.name.as_str(),
            self.scale.ns(event.start),
            event.track as usize,
        );
        Some(match info.kind {
            Kind::Counter => RecordedEvent::Counter {
                name,
                time_ns,
                value: f64::from_bits(event.bytes),
            },
            Kind::Instant => RecordedEvent::Instant {
                name,
                track,
                time_ns,
            },
            Kind::Memory => RecordedEvent::Memory {
                owner: name,
                time_ns,
                bytes: event.bytes.cast_signed(),
                id: event.flops,
            },
            Kind::Allocation => RecordedEvent::Allocation {
                site: event.site.0 as usize,
                time_ns,
                of: Allocation {
                    time: event.start,
                    bytes: event.bytes.cast_signed(),
                    count: event.tokens,
                    id: event.flops,
                    mean_bytes: event.working_set_bytes,
                },
            },
            Kind::Cache => {
                let outcome = [CacheOutcome::Hit, CacheOutcome::Miss, CacheOutcome::Evict]
                    [event.tokens as usize % 3];
                RecordedEvent::Cache {
                    cache: name,
                    time_ns,
                    outcome,
                    key: event.flops,
                    bytes: event.bytes,
                }
            }
            Kind::Frame if event.sequence_and_request >> 32 == 0 => RecordedEvent::DroppedFrames {
                stream: name,
                time_ns,
                count: event.tokens,
            },
            Kind::Frame => RecordedEvent::Frame {
                stream: name,
                time_ns,
                frame: Frame {
                    index: event.tokens,
                    count: (event.sequence_and_request >> 32) as u32,
                    generate_ns: event.end,
                    encode_ns: event.flops,
                    send_ns: event.working_set_bytes,
                    bytes: event.bytes,
                    occupancy: some(event.layer),
                    prompt: some(event.sequence_and_request as u32),
                },
            },
            Kind::Flow => RecordedEvent::Flow {
                id: event.bytes,
                track,
                time_ns,
            },
            _ => return None,
        })
    }

    fn info(&self, event: &Event) -> &SiteInfo {
        &self.sites[event.site.0 as usize]
    }
}

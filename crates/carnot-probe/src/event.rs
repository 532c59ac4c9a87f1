//! Events that are no intervals. Each takes one clock read and one cache line.

use crate::buffer::{self, Event, NONE};
use crate::clock::ticks;
use crate::is_enabled;
use crate::site::SiteId;

/// What happened in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheOutcome {
    /// What was asked for was there.
    Hit,
    /// It was not.
    Miss,
    /// Something was given up for room.
    Evict,
}

/// A frame that a stream delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number; of several, the first one's.
    pub index: u32,
    /// How many frames this is.
    pub count: u32,
    /// How long making it took.
    pub generate_ns: u64,
    /// How long encoding it took.
    pub encode_ns: u64,
    /// How long sending it took, where somebody knows.
    pub send_ns: u64,
    /// Its encoded size.
    pub bytes: u64,
    /// Frames that wait in the buffer behind it, where there is one.
    pub occupancy: Option<u32>,
    /// The prompt that it shows.
    pub prompt: Option<u32>,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            index: 0,
            count: 1,
            generate_ns: 0,
            encode_ns: 0,
            send_ns: 0,
            bytes: 0,
            occupancy: None,
            prompt: None,
        }
    }
}

/// An event of this moment with nothing in it.
#[inline]
fn now(site: SiteId) -> Event {
    Event {
        start: ticks(),
        ..nothing(site)
    }
}

#[inline]
fn nothing(site: SiteId) -> Event {
    Event {
        start: 0,
        end: 0,
        site,
        track: NONE,
        layer: NONE,
        tokens: 0,
        flops: 0,
        bytes: 0,
        working_set_bytes: 0,
        sequence_and_request: u64::MAX,
    }
}

/// The value of a counter or gauge, from now on. `site` must be of [`Kind::Counter`](crate::Kind::Counter).
#[inline]
pub fn counter(site: SiteId, value: f64) {
    if is_enabled() {
        buffer::push(Event {
            bytes: value.to_bits(),
            ..now(site)
        });
    }
}

/// A point in time. `site` must be of [`Kind::Instant`](crate::Kind::Instant).
#[inline]
pub fn instant(site: SiteId) {
    if is_enabled() {
        buffer::push(now(site));
    }
}

/// Bytes taken (positive) or given back (negative) by the owner that names `site`, of [`Kind::Memory`](crate::Kind::Memory).
///
/// `id` joins an allocation to its release, such as its address; 0 where nobody knows, and lifetimes then stay unknown.
#[inline]
pub fn memory(site: SiteId, bytes: i64, id: u64) {
    if is_enabled() {
        buffer::push(Event {
            bytes: bytes.cast_unsigned(),
            flops: id,
            ..now(site)
        });
    }
}

/// Allocations at a place in the code, as somebody noted them who cannot call the probe while they are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// When, in [`ticks`](crate::clock::ticks).
    pub time: u64,
    /// Bytes taken (positive) or given back (negative): of one allocation where it is of a sample, else of all together.
    pub bytes: i64,
    /// How many allocations these are.
    pub count: u32,
    /// Joins an allocation to its release, such as its address; 0 where nobody knows.
    pub id: u64,
    /// Of a sample, the bytes between two points of it, in the mean: the chance to be in it follows. 0 where everything is told.
    pub mean_bytes: u64,
}

/// What was taken or given back at the place that `site`, of [`Kind::Allocation`](crate::Kind::Allocation), is. Recorded even where recording has
/// been turned off since: what is told has happened before.
pub fn allocation(site: SiteId, of: &Allocation) {
    if cfg!(feature = "record") {
        buffer::push(Event {
            start: of.time,
            bytes: of.bytes.cast_unsigned(),
            tokens: of.count,
            flops: of.id,
            working_set_bytes: of.mean_bytes,
            ..nothing(site)
        });
    }
}

/// What happened in the cache that names `site`, of [`Kind::Cache`](crate::Kind::Cache), and to how many bytes.
///
/// `key` stands for the entry, such as a hash of it; 0 where nobody knows, and reuse distances then stay unknown.
#[inline]
pub fn cache(site: SiteId, outcome: CacheOutcome, key: u64, bytes: u64) {
    if is_enabled() {
        buffer::push(Event {
            bytes,
            flops: key,
            tokens: outcome as u32,
            ..now(site)
        });
    }
}

/// A frame, or several, that a stream has delivered. `site` must be of [`Kind::Frame`](crate::Kind::Frame).
#[inline]
pub fn frame(site: SiteId, frame: &Frame) {
    if is_enabled() {
        buffer::push(Event {
            end: frame.generate_ns,
            flops: frame.encode_ns,
            working_set_bytes: frame.send_ns,
            bytes: frame.bytes,
            tokens: frame.index,
            layer: frame.occupancy.unwrap_or(NONE),
            sequence_and_request: (u64::from(frame.count.max(1)) << 32)
                | u64::from(frame.prompt.unwrap_or(NONE)),
            ..now(site)
        });
    }
}

/// Frames of a stream that were given up, never to be delivered. `site` must be of [`Kind::Frame`](crate::Kind::Frame).
#[inline]
pub fn drop_frames(site: SiteId, count: u32) {
    if is_enabled() {
        buffer::push(Event {
            tokens: count,
            sequence_and_request: u64::from(NONE),
            ..now(site)
        });
    }
}

/// An end of the arrow `id`; the first one recorded is where it starts. Binds to the innermost span around it.
/// `site` must be of [`Kind::Flow`](crate::Kind::Flow).
#[inline]
pub fn flow(site: SiteId, id: u64) {
    if is_enabled() {
        buffer::push(Event {
            bytes: id,
            ..now(site)
        });
    }
}

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

#[inline]
fn push(site: SiteId, end: u64, bytes: u64, flops: u64, tokens: u32) {
    let start = ticks();
    buffer::push(Event {
        start,
        end,
        site,
        track: NONE,
        layer: NONE,
        tokens,
        flops,
        bytes,
        working_set_bytes: 0,
        sequence_and_request: u64::MAX,
    });
}

/// The value of a counter or gauge, from now on. `site` must be of [`Kind::Counter`](crate::Kind::Counter).
#[inline]
pub fn counter(site: SiteId, value: f64) {
    if is_enabled() {
        push(site, 0, value.to_bits(), 0, 0);
    }
}

/// A point in time. `site` must be of [`Kind::Instant`](crate::Kind::Instant).
#[inline]
pub fn instant(site: SiteId) {
    if is_enabled() {
        push(site, 0, 0, 0, 0);
    }
}

/// Bytes taken (positive) or given back (negative) by the owner that names `site`, of [`Kind::Memory`](crate::Kind::Memory).
#[inline]
pub fn memory(site: SiteId, bytes: i64) {
    if is_enabled() {
        push(site, 0, bytes.cast_unsigned(), 0, 0);
    }
}

/// What happened in the cache that names `site`, of [`Kind::Cache`](crate::Kind::Cache), and to how many bytes.
#[inline]
pub fn cache(site: SiteId, outcome: CacheOutcome, bytes: u64) {
    if is_enabled() {
        push(site, 0, bytes, 0, outcome as u32);
    }
}

/// Frame `index` of a stream, how long making and encoding it took, and its size. `site` must be of
/// [`Kind::Frame`](crate::Kind::Frame).
#[inline]
pub fn frame(site: SiteId, index: u32, generate_ns: u64, encode_ns: u64, bytes: u64) {
    if is_enabled() {
        push(site, generate_ns, bytes, encode_ns, index);
    }
}

/// An end of the arrow `id`; the first one recorded is where it starts. Binds to the innermost span around it.
/// `site` must be of [`Kind::Flow`](crate::Kind::Flow).
#[inline]
pub fn flow(site: SiteId, id: u64) {
    if is_enabled() {
        push(site, 0, id, 0, 0);
    }
}

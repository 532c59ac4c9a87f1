//! Traces as a file that is written while the pipeline runs: whoever dies leaves what it recorded until then.
//!
//! ```text
//! file    CARNOTTR, version (u32), then frames
//! frame   kind (u8), length of the content (u32), CRC-32 of the content (u32), content
//!
//! S  the session, JSON; the last one counts          N  sites and threads that are new, JSON
//! C  a moment: ticks, ns of a tick, Unix ns          D  events that were lost since the last, by site, JSON
//! E  events, packed (see `packed.rs`)                J  a note, JSON
//! ```
//!
//! Numbers are little-endian. Times are ticks; the first `C` is the start of the trace, the last one tells their rate. A file that ends in the middle of
//! a frame, or has a frame that is not what was written, reads as far as it is whole, and [`TraceReader::damage`] says where it is not.

mod packed;
mod reader;
mod writer;

pub use packed::RawEvent;
pub use reader::{Occurrence, SpanTimes, TraceReader};
pub use writer::TraceWriter;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Arithmetic, SpanKind, Thread};

/// How every file begins.
pub const MAGIC: &[u8; 8] = b"CARNOTTR";
/// The newest version that is known, and the one that is written.
pub const VERSION: u32 = 1;

/// A place in the code, and what its events are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSite {
    /// The name.
    pub name: String,
    /// What its events are.
    pub kind: EventKind,
    /// The source file, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The line in `file`, or 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub line: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_zero(line: &u32) -> bool {
    *line == 0
}

/// What an event is; `probe` fills its fields accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// An interval.
    Span(SpanKind, Arithmetic),
    /// A value over time.
    Counter,
    /// A moment.
    Instant,
    /// Memory taken or given back.
    Memory,
    /// Memory taken or given back at a place in the code.
    Allocation,
    /// A look-up in a cache.
    Cache,
    /// Frames of a stream.
    Frame,
    /// An end of an arrow.
    Flow,
}

/// A moment, and how fast its clock is known to run by then.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClockPoint {
    /// Of the counter that events are timed by.
    pub ticks: u64,
    /// Nanoseconds of a tick; the longer a recording is, the better it is known.
    pub ns_per_tick: f64,
    /// Since 1970.
    pub unix_ns: u64,
}

/// The content of a frame `N`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Names {
    sites: Vec<EventSite>,
    threads: Vec<Thread>,
}

/// The content of a frame `D`.
type Lost = BTreeMap<u32, u64>;

/// Why a trace file could not be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file could not be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is something else.
    #[error("not a trace file: expected it to begin with CARNOTTR, found {0}")]
    Foreign(String),
    /// It was written by a newer Carnot.
    #[error(
        "the trace file has version {0}, the newest that this carnot reads is {VERSION}; a newer carnot reads it"
    )]
    Newer(u32),
    /// Nothing in it is whole.
    #[error("the trace file holds no session: {0}")]
    Empty(String),
}

/// The checksum of a frame's content: CRC-32 as Ethernet and zip have it.
fn checksum(content: &[u8]) -> u32 {
    crc32fast::hash(content)
}

//! Spans, counters and events with a cost of nanoseconds, for any pipeline.
//!
//! ```text
//! site      what is fixed about a place in the code (name, kind), registered once
//! span      an interval; instant, counter, memory, cache and frame events beside it
//! buffer    per-thread chunks; a thread writes only to its own, without locks or read-modify-write
//! clock     the time-stamp counter, calibrated; the system's clock where it cannot be trusted
//! task      spans of futures, which go on on other threads; a lane of the timeline for each that runs beside another
//! nvtx      the same spans as ranges of NVIDIA's tools, with the feature `nvtx`
//! drain     everything recorded so far, in nanoseconds or as it was recorded
//! ```
//!
//! Off at run time a call is one relaxed load and a branch; without the feature `record` it is nothing.
//! Memory is bounded: past the limit events are dropped, counted, and shown.
//!
//! ```
//! use carnot_probe::{Kind, span};
//!
//! carnot_probe::enable();
//! {
//!     let _decode = span!("vae decode", Kind::Stage);
//! }
//! let recording = carnot_probe::drain();
//! # if cfg!(feature = "record") {
//! assert_eq!(recording.spans().next().unwrap().name, "vae decode");
//! # }
//! ```
#![expect(
    unsafe_code,
    reason = "thread-local chunks are shared with the drain without a lock; each block says why it is sound"
)]

mod buffer;
pub mod clock;
mod cost;
mod drain;
mod event;
pub mod nvtx;
mod site;
mod span;
mod task;

pub use buffer::{name_thread, reserve, set_limit};
pub use cost::{Cost, measure_cost};
pub use drain::{RawEvent, RecordedEvent, RecordedSpan, Recording, drain, drain_unsorted};
pub use event::{
    Allocation, CacheOutcome, Frame, allocation, cache, counter, drop_frames, flow, frame, instant,
    memory,
};
pub use site::{CallSite, Kind, SiteId, SiteInfo, site, site_at};
pub use span::{Span, TrackId, nothing, record_span, span, track};
pub use task::{InSpan, Traced};

use std::sync::atomic::{AtomicBool, Ordering};

static ENABLED: AtomicBool = AtomicBool::new(false);

/// Whether events are recorded: one relaxed load, or a constant without the feature `record`.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "the whole cost of being off is this load"
)]
pub fn is_enabled() -> bool {
    cfg!(feature = "record") && ENABLED.load(Ordering::Relaxed)
}

/// Starts recording, on all threads.
pub fn enable() {
    clock::start();
    ENABLED.store(true, Ordering::SeqCst);
}

/// Stops recording; what was recorded stays until [`drain`].
pub fn disable() {
    ENABLED.store(false, Ordering::SeqCst);
}

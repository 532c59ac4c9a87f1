//! Spans: an interval with what was done in it.

use std::marker::PhantomData;

use crate::buffer::{self, Event, NONE};
use crate::clock::ticks;
use crate::is_enabled;
use crate::nvtx::Range;
use crate::site::SiteId;

/// A line of the timeline: a thread's, or one made with [`track`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrackId(u32);

/// A new line of the timeline for intervals that this thread records on behalf of another.
pub fn track(name: &str) -> TrackId {
    TrackId(buffer::new_track(name.to_owned()))
}

/// An open span: recorded when it is dropped. Does nothing where recording was off when it began.
///
/// Bound to its thread; spans of one thread nest.
#[must_use = "a span that is dropped at once has no length"]
#[derive(Debug)]
pub struct Span {
    event: Event,
    /// The same for NVIDIA's tools; nothing without the feature.
    range: Range,
    on_thread: PhantomData<*const ()>,
}

/// Begins a span of `site`. Off: a load and a branch. On: a clock read here and one at the end.
#[inline]
pub fn span(site: SiteId) -> Span {
    if !is_enabled() {
        return Span::new(site, 0, 0);
    }
    let range = crate::nvtx::range(site);
    let mut span = Span::new(site, ticks(), 0);
    span.range = range;
    span
}

/// A span that is not recorded, to put in place of one that has ended.
#[inline]
pub fn nothing() -> Span {
    Span::new(SiteId(0), 0, 0)
}

/// Records an interval that was measured elsewhere, on `track` or else on this thread's own.
///
/// `start` and `end` are [`ticks`](crate::clock::ticks).
#[inline]
pub fn record_span(site: SiteId, track: Option<TrackId>, start: u64, end: u64) -> Span {
    let mut span = Span::new(site, if is_enabled() { start } else { 0 }, end.max(start));
    span.event.track = track.map_or(NONE, |track| track.0);
    span
}

impl Span {
    #[inline]
    fn new(site: SiteId, start: u64, end: u64) -> Self {
        let event = Event {
            start,
            end,
            site,
            track: NONE,
            layer: NONE,
            tokens: 0,
            flops: 0,
            bytes: 0,
            working_set_bytes: 0,
            sequence_and_request: u64::MAX,
        };
        Self {
            event,
            range: Range::default(),
            on_thread: PhantomData,
        }
    }

    /// When it began, in ticks; 0 where recording is off.
    #[inline]
    pub fn start(&self) -> u64 {
        self.event.start
    }

    /// The model's layer.
    #[inline]
    pub fn layer(mut self, layer: u32) -> Self {
        self.event.layer = layer;
        self
    }

    /// The number of the prompt, chunk, block or step, counted from 0. The same place as [`layer`](Self::layer).
    #[inline]
    pub fn index(self, index: u32) -> Self {
        self.layer(index)
    }

    /// What came of it in the unit of the session: frames, tokens, images. The same place as [`tokens`](Self::tokens).
    #[inline]
    pub fn items(self, items: u32) -> Self {
        self.tokens(items)
    }

    /// Arithmetic operations and bytes that must be moved, and the memory gone through before any is read again.
    #[inline]
    pub fn work(mut self, flops: u64, bytes: u64, working_set_bytes: u64) -> Self {
        (
            self.event.flops,
            self.event.bytes,
            self.event.working_set_bytes,
        ) = (flops, bytes, working_set_bytes);
        self
    }

    /// Tokens that were processed.
    #[inline]
    pub fn tokens(mut self, tokens: u32) -> Self {
        self.event.tokens = tokens;
        self
    }

    /// The running number of a parallel operation, the same on all its threads and on the wait that ends it.
    #[inline]
    pub fn sequence(mut self, sequence: u32) -> Self {
        self.event.sequence_and_request =
            (u64::from(sequence) << 32) | (self.event.sequence_and_request & u64::from(NONE));
        self
    }

    /// The request that was worked for.
    #[inline]
    pub fn request(mut self, request: u32) -> Self {
        self.event.sequence_and_request =
            (self.event.sequence_and_request & !u64::from(NONE)) | u64::from(request);
        self
    }

    /// Sets the number of tokens when it is known only at the end.
    #[inline]
    pub fn set_tokens(&mut self, tokens: u32) {
        self.event.tokens = tokens;
    }

    /// Ends the span now.
    #[inline]
    pub fn end(self) {}

    /// Forgets the span.
    #[inline]
    pub fn cancel(mut self) {
        self.event.start = 0;
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if cfg!(feature = "record") && self.event.start != 0 {
            if self.event.end == 0 {
                self.event.end = ticks();
            }
            buffer::push(self.event);
        }
    }
}

/// Begins a span of this place in the code: `span!("vae decode")` or `span!("vae decode", Kind::Stage)`.
#[macro_export]
macro_rules! span {
    ($name:literal) => {
        $crate::span!($name, $crate::Kind::Other)
    };
    ($name:literal, $kind:expr) => {{
        static SITE: $crate::CallSite = $crate::CallSite::new($name, $kind, file!(), line!());
        $crate::CallSite::begin(&SITE)
    }};
}

impl crate::CallSite {
    /// Begins a span here; registers nothing while recording is off.
    #[inline]
    pub fn begin(&self) -> Span {
        if is_enabled() {
            span(self.id())
        } else {
            nothing()
        }
    }
}

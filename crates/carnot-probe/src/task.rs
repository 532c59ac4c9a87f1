//! Spans of futures. A future goes on on whatever thread polls it, and others go on between its polls, so that its span lies on no
//! thread's line but on a *lane*: a line of the timeline whose spans nest.
//!
//! ```text
//! lane 1  |---------- request ----------------|
//!           |--- fetch ---|  |--- decode ---|       what is awaited one after the other shares the lane
//! lane 2             |-- prefetch --|               what runs beside it takes another
//! ```
//!
//! Lanes are used again, so that there are as many as spans were ever open beside each other.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use crate::clock::ticks;
use crate::site::SiteId;
use crate::span::{TrackId, record_span, track};
use crate::{Span, is_enabled};

/// Lanes that no span is open on.
static FREE: Mutex<Vec<TrackId>> = Mutex::new(Vec::new());

thread_local! {
    /// The innermost traced future that this thread polls.
    static POLLED: RefCell<Option<Arc<Place>>> = const { RefCell::new(None) };
}

/// Where an open span lies.
#[derive(Debug)]
struct Place {
    lane: TrackId,
    /// Whether a span within this one is open on the same lane.
    is_taken: AtomicBool,
    /// Whose lane it is; `None` for its own.
    above: Option<Arc<Place>>,
}

impl Place {
    /// Within what this thread polls, where there is room; else a lane of its own.
    fn take() -> Arc<Self> {
        let above = POLLED.with_borrow(Clone::clone);
        let above = above.filter(|above| !above.is_taken.swap(true, Ordering::AcqRel));
        let lane = above.as_ref().map_or_else(free_lane, |above| above.lane);
        Arc::new(Self {
            lane,
            is_taken: AtomicBool::new(false),
            above,
        })
    }

    fn give_back(&self) {
        match &self.above {
            Some(above) => above.is_taken.store(false, Ordering::Release),
            None => lanes().push(self.lane),
        }
    }
}

fn lanes() -> std::sync::MutexGuard<'static, Vec<TrackId>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn free_lane() -> TrackId {
    let free = lanes().pop();
    free.unwrap_or_else(|| track("lane"))
}

/// Puts futures into spans.
pub trait InSpan: Future + Sized {
    /// The future in a span of `site`, from its first poll to its end, or until it is dropped. Off, a poll costs a branch more.
    fn in_span(self, site: SiteId) -> Traced<Self> {
        Traced {
            future: self,
            site,
            open: None,
            is_over: false,
        }
    }
}

impl<F: Future> InSpan for F {}

/// A future in a span.
#[must_use = "futures do nothing unless they are polled"]
#[derive(Debug)]
pub struct Traced<F> {
    future: F,
    site: SiteId,
    open: Option<(Arc<Place>, u64)>,
    is_over: bool,
}

impl<F> Traced<F> {
    fn close(&mut self) {
        if let Some((place, start)) = self.open.take() {
            let span: Span = record_span(self.site, Some(place.lane), start, ticks());
            span.end();
            place.give_back();
        }
    }
}

impl<F> Drop for Traced<F> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Puts back what was polled before, even if the poll panics.
struct Polling(Option<Arc<Place>>);

impl Drop for Polling {
    fn drop(&mut self) {
        let before = self.0.take();
        POLLED.with_borrow_mut(|polled| *polled = before);
    }
}

impl<F: Future> Future for Traced<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is never moved out of `self`, and nothing else of it is pinned; `drop` touches only the other fields.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: see above.
        let future = unsafe { Pin::new_unchecked(&mut this.future) };
        if this.open.is_none() && !this.is_over && is_enabled() {
            this.open = Some((Place::take(), ticks()));
        }
        let Some((place, _)) = &this.open else {
            return future.poll(context);
        };
        let before = POLLED.with_borrow_mut(|polled| polled.replace(Arc::clone(place)));
        let polling = Polling(before);
        let result = future.poll(context);
        drop(polling);
        if result.is_ready() {
            this.is_over = true;
            this.close();
        }
        result
    }
}

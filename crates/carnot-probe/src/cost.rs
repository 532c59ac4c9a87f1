//! What measuring costs, measured.

use std::hint::black_box;
use std::time::Instant;

use crate::clock::ticks;
use crate::site::{Kind, site};
use crate::{buffer, counter, is_enabled, record_span, span};

const BATCH: u32 = 500;
const BATCHES: usize = 41;

/// Nanoseconds per call on this machine, each the median of many batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// One clock read.
    pub clock_read_ns: f64,
    /// A span, begun and ended; two clock reads among it.
    pub span_ns: f64,
    /// A span that was measured elsewhere, recorded.
    pub recorded_span_ns: f64,
    /// A counter; one clock read among it.
    pub counter_ns: f64,
}

/// Measures the cost of events on this thread, in a few milliseconds. Recording must be on, and what was recorded before
/// must have been drained: the events of the measurement are taken out and thrown away.
pub fn measure_cost() -> Cost {
    debug_assert!(
        is_enabled() || !cfg!(feature = "record"),
        "the cost of being on is measured while on"
    );
    buffer::reserve(4 * BATCHES * BATCH as usize);
    let (span_site, counter_site) = (
        site("cost of a span", Kind::Other),
        site("cost of a counter", Kind::Counter),
    );
    let cost = Cost {
        clock_read_ns: median(|| _ = black_box(ticks())),
        span_ns: median(|| span(span_site).end()),
        recorded_span_ns: median(|| record_span(span_site, None, 1, 2).end()),
        counter_ns: median(|| counter(counter_site, 1.0)),
    };
    let _thrown_away = buffer::take();
    cost
}

/// The median over batches of one call's mean time. Batches stay within one chunk or two, as they do in use.
fn median(mut call: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let begin = Instant::now();
            (0..BATCH).for_each(|_| call());
            begin.elapsed().as_nanos() as f64 / f64::from(BATCH)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

//! What the probe costs, off and on, alone and on two threads: `cargo bench -p carnot-probe`.
//!
//! Goals: off ≤ 1 ns; a span ≤ two clock reads + 6 ns; a counter ≤ one clock read + 4 ns; threads do not slow each other.
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::hint::black_box;
use std::time::Instant;

use carnot_probe::{Kind, counter, disable, drain, enable, measure_cost, reserve, site, span};

const CALLS: u32 = 100_000;

fn main() {
    let calls = if std::env::args().any(|a| a == "--test") {
        1000
    } else {
        CALLS
    };
    let span_site = site("span", Kind::Other);
    let counter_site = site("counter", Kind::Counter);

    disable();
    let empty = time(calls, || _ = black_box(0));
    let off = time(calls, || span(black_box(span_site)).end());
    println!(
        "off       span {off:.2} ns (an empty loop {empty:.2} ns), counter {:.2} ns",
        time(calls, || counter(counter_site, 1.0))
    );

    enable();
    drain();
    let cost = measure_cost();
    println!(
        "on        clock read {:.1} ns, span {:.1} ns (two reads + {:.1}), recorded span {:.1} ns, counter {:.1} ns (one read + {:.1})",
        cost.clock_read_ns,
        cost.span_ns,
        cost.span_ns - 2.0 * cost.clock_read_ns,
        cost.recorded_span_ns,
        cost.counter_ns,
        cost.counter_ns - cost.clock_read_ns
    );
    reserve(3 * calls as usize);
    let alone = batches(calls, span_site);
    drain();
    let both: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| batches(calls, span_site)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a bench thread ends"))
            .collect()
    });
    drain();
    println!(
        "threads   one alone {alone:.1} ns, two at once {:.1} and {:.1} ns a span",
        both[0], both[1]
    );
}

/// Spans into reserved chunks.
fn batches(calls: u32, site: carnot_probe::SiteId) -> f64 {
    time(calls, || span(site).end())
}

fn time(calls: u32, mut call: impl FnMut()) -> f64 {
    let begin = Instant::now();
    for _ in 0..calls {
        call();
    }
    begin.elapsed().as_nanos() as f64 / f64::from(calls)
}

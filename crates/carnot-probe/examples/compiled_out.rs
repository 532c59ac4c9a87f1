//! Two functions that must become the same machine code without the feature `record`; `tests/compiled_out.rs` compares them.
#![expect(
    unsafe_code,
    reason = "names that survive compilation, so that the test finds them"
)]

use std::hint::black_box;

use carnot_probe::{Kind, counter, site, span};

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn with_probe(x: u64) -> u64 {
    let _span = span!("work", Kind::Stage).layer(3).work(x, x, x);
    black_box(x).wrapping_mul(3)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn without_probe(x: u64) -> u64 {
    black_box(x).wrapping_mul(3)
}

fn main() {
    let started = std::env::args().len() as u64;
    counter(site("started", Kind::Counter), started as f64);
    assert_eq!(with_probe(started), without_probe(started));
}

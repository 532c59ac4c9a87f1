//! A program with the counting allocator: what is counted, where it comes from, and what is left.

use std::hint::black_box;

use carnot_sampling::heap::{self, Counting, Site};
use carnot_sampling::symbols::Names;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[inline(never)]
fn somebody_who_keeps(kept: &mut Vec<Vec<u8>>) {
    kept.push(black_box(Vec::with_capacity(3_000)));
}

#[inline(never)]
fn somebody_who_frees() {
    drop(black_box(Vec::<u8>::with_capacity(100_000)));
}

fn is_of(site: &Site, function: &str) -> bool {
    let names = Names::of(&site.addresses);
    let mut frames = site
        .addresses
        .iter()
        .flat_map(|&address| names.frames(address));
    frames.any(|frame| frame.function.contains(function))
}

/// All in one test: there is one tracker in a process.
#[test]
fn allocations_are_counted_at_their_sites() {
    let mut kept = Vec::with_capacity(16);
    heap::track();
    for _ in 0..10 {
        somebody_who_keeps(&mut kept);
    }
    somebody_who_frees();
    let mut grows = black_box(vec![0_u8; 10]);
    grows.reserve_exact(black_box(5_000_000));
    drop(grows);
    let other = std::thread::spawn(|| vec![1_u8; 777]).join().unwrap();
    let heap = heap::stop();
    drop((kept, other));

    let keeps: Vec<&Site> = heap
        .sites
        .iter()
        .filter(|site| is_of(site, "somebody_who_keeps"))
        .collect();
    let of = |value: fn(&Site) -> u64| keeps.iter().map(|site| value(site)).sum::<u64>();
    assert_eq!(
        (of(|site| site.allocations), of(|site| site.bytes)),
        (10, 30_000)
    );
    assert_eq!(
        (of(|site| site.live), of(|site| site.live_bytes)),
        (10, 30_000)
    );
    let frees = heap
        .sites
        .iter()
        .find(|site| is_of(site, "somebody_who_frees"))
        .unwrap();
    assert_eq!((frees.bytes, frees.live_bytes), (100_000, 0));
    assert!(
        heap.peak_live_bytes >= 5_030_000,
        "{}",
        heap.peak_live_bytes
    );
    assert!(heap.live_bytes >= 30_777 && heap.live_bytes < 1_000_000);
    assert_eq!(heap.classes[12].0, 10, "3,000 bytes are up to 2^12");
    assert_eq!(
        heap.allocations,
        heap.classes.iter().map(|class| class.0).sum::<u64>()
    );
    assert!(
        heap.sites
            .windows(2)
            .all(|pair| pair[0].bytes >= pair[1].bytes)
    );

    // Nothing is noted after the end, and what was noted before a beginning is not freed twice.
    assert_eq!(heap::so_far(), heap::Heap::default());
    let before = black_box(vec![0_u8; 100]);
    heap::track();
    drop(before);
    assert_eq!(heap::stop().live_bytes, 0);
}

//! Estimates of a sample, held to what was allocated, for sizes from 16 bytes to 1 MiB; whose allocations they are, and what is left of them.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use carnot_sampling::heap::{CannotSample, Counting, Event, Sampler, weight};
use carnot_sampling::symbols::Names;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static NOW: AtomicU64 = AtomicU64::new(0);

fn clock() -> u64 {
    NOW.fetch_add(1, Ordering::Relaxed)
}

#[inline(never)]
fn somebody(size: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(size))
}

/// All in one test: there is one sampler in a process.
#[test]
fn estimates_are_those_of_all_allocations() {
    const MEAN: u64 = 16 * 1024;
    let sizes: Vec<usize> = (4..=20).map(|power| 1_usize << power).collect();
    let sampler = Sampler::start(MEAN, clock).unwrap();
    assert_eq!(
        Sampler::start(MEAN, clock).unwrap_err(),
        CannotSample::Running
    );
    let mut events: Vec<Event> = Vec::new();
    let (mut stacks, mut lost) = (Vec::new(), 0);
    let mut take = || {
        let taken = sampler.take();
        assert_eq!(taken.first_stack as usize, stacks.len());
        stacks.extend(taken.stacks);
        events.extend(taken.events);
        lost += taken.lost;
    };
    // 64 MiB of each size; every fourth is kept to the end.
    let each = 64 << 20;
    let mut kept = Vec::new();
    for &size in &sizes {
        for at in 0..each / size {
            let memory = somebody(size);
            if at % 4 == 0 && size >= 1024 {
                kept.push(memory);
            }
        }
        take();
    }
    let elsewhere =
        std::thread::spawn(|| (0..4096).map(|_| somebody(5000).capacity()).sum::<usize>());
    assert!(elsewhere.join().unwrap() >= 4096 * 5000);
    take();
    drop(sampler);
    assert_eq!(lost, 0);

    let names = Names::of(stacks.iter().flatten());
    let is_of_somebody = |event: &&Event| {
        let frame = names.allocating(&stacks[event.stack as usize]);
        frame.is_some_and(|frame| {
            frame.function.ends_with("somebody")
                && frame.file.ends_with("heap_sample.rs")
                && frame.line > 0
        })
    };
    for &size in &sizes {
        let of_size = || {
            events
                .iter()
                .filter(|event| event.size == size as u64)
                .filter(is_of_somebody)
        };
        let taken = of_size().filter(|event| !event.is_release).count() as f64;
        let released = of_size().filter(|event| event.is_release).count() as f64;
        let (exact, weight) = ((each / size) as f64, weight(size as u64, MEAN));
        // The count of those in the sample is binomial; six standard deviations, and the estimate is not exact where some are not seen.
        let deviation = (exact * (1.0 - 1.0 / weight) * weight).sqrt();
        let estimate = taken * weight;
        assert!(
            (estimate - exact).abs() <= 6.0 * deviation + 1.0,
            "{size} bytes: expected {exact} allocations, estimated {estimate} ± {deviation}"
        );
        let freed = if size >= 1024 { 0.75 } else { 1.0 };
        assert!(
            (released * weight - freed * exact).abs() <= 6.0 * deviation + 1.0,
            "{size} bytes: {released} releases of {taken} in the sample"
        );
    }
    let other = events
        .iter()
        .filter(|event| event.size == 5000 && !event.is_release);
    let estimate = other.count() as f64 * weight(5000, MEAN);
    assert!(
        (estimate - 4096.0).abs() < 6.0 * (4096.0 * weight(5000, MEAN)).sqrt(),
        "{estimate}"
    );

    // Releases follow what they release, at the same address, and times rise.
    let mut live: HashMap<u64, u64> = HashMap::new();
    for event in &events {
        if event.is_release {
            assert_eq!(live.remove(&event.address), Some(event.size));
        } else {
            assert_eq!(live.insert(event.address, event.size), None);
        }
    }
    assert!(events.is_sorted_by_key(|event| event.time));

    // A new sampler knows nothing of what the old one saw, and one that nobody asks loses nothing but what is new.
    let sampler = Sampler::start(1, clock).unwrap();
    drop(kept);
    let _ = sampler.take();
    let many: Vec<Box<u64>> = (0..70_000).map(|at| black_box(Box::new(at))).collect();
    drop(many);
    let taken = sampler.take();
    let (taking, releasing): (Vec<&Event>, Vec<&Event>) =
        taken.events.iter().partition(|event| !event.is_release);
    assert!(
        taken.lost > 1000 && taking.len() >= 60_000,
        "{} {}",
        taken.lost,
        taking.len()
    );
    assert!(releasing.len() <= taking.len() && releasing.len() >= 60_000);
}

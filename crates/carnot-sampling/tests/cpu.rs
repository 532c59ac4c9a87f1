//! A thread that works in one function is seen in that function, for as long as it worked.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::hint::black_box;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use carnot_sampling::cpu::{CannotSample, RATE, Sampler, Samples};
use carnot_sampling::symbols::Names;

#[inline(never)]
fn outer_that_works(until: Instant) -> u64 {
    let mut sum: u64 = 0;
    while Instant::now() < until {
        sum ^= inner_that_works(50_000);
    }
    black_box(sum)
}

#[inline(never)]
fn inner_that_works(rounds: u64) -> u64 {
    (0..rounds).fold(1, |sum: u64, round| {
        black_box(sum.wrapping_mul(31).wrapping_add(round))
    })
}

/// The share of processor time whose stack has a function of that name, of all or of a thread's.
fn share(samples: &Samples, thread: &str, function: &str) -> f64 {
    let names = Names::of(samples.stacks.iter().flat_map(|stack| &stack.addresses));
    let of_thread = |index: u32| samples.threads[index as usize] == thread;
    let stacks = samples
        .stacks
        .iter()
        .filter(|stack| of_thread(stack.thread));
    let (mut whole, mut part) = (0.0, 0.0);
    for stack in stacks {
        whole += stack.cpu_ns as f64;
        let frames = stack
            .addresses
            .iter()
            .flat_map(|&address| names.frames(address));
        if frames
            .clone()
            .any(|frame| frame.function.contains(function))
        {
            part += stack.cpu_ns as f64;
        }
    }
    part / whole
}

/// All in one test: there is one sampler in a process.
#[test]
fn work_is_seen_where_it_is_done_and_waiting_is_not() {
    let sampler = Sampler::start(RATE).unwrap();
    assert_eq!(Sampler::start(RATE).unwrap_err(), CannotSample::Running);
    let (ends, wait) = mpsc::channel::<()>();
    let worker = std::thread::Builder::new().name("works".to_owned());
    let worker = worker.spawn(|| outer_that_works(Instant::now() + Duration::from_millis(600)));
    let waiter = std::thread::Builder::new().name("waits".to_owned());
    let waiter = waiter.spawn(move || wait.recv());
    worker.unwrap().join().unwrap();
    let samples = sampler.stop();
    drop(ends);
    assert!(waiter.unwrap().join().unwrap().is_err());

    assert!(samples.count > 20, "{samples:?}");
    let inner = share(&samples, "works", "inner_that_works");
    let outer = share(&samples, "works", "outer_that_works");
    assert!(inner > 0.8 && outer > 0.9, "{inner} {outer}");
    let waited: u64 = samples
        .stacks
        .iter()
        .filter(|stack| samples.threads[stack.thread as usize] == "waits")
        .map(|stack| stack.cpu_ns)
        .sum();
    let used: u64 = samples.stacks.iter().map(|stack| stack.cpu_ns).sum();
    assert!(
        used <= 2 * samples.wall_ns,
        "{used} of {} ns",
        samples.wall_ns
    );
    assert!(waited < used / 10, "{waited} of {used} ns");
    assert!(samples.sampler_ns > 0);

    // A second one, after the first has ended.
    Sampler::start(RATE).unwrap().stop();
}

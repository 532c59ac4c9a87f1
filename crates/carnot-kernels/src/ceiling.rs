//! What this machine can do at most, measured with the instructions and the pool that the kernels use.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::aligned::AlignedBytes;
use crate::compute::Compute;
use crate::cpu::InstructionSet;
use crate::generic::peak::{F32_OPERATIONS, INT8_OPERATIONS};
use crate::pool::share_of;

/// The kinds of arithmetic whose peak is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Dot products of unsigned by signed bytes.
    Int8,
    /// Fused multiply-adds of single floats.
    F32,
}

/// Operations per second with every worker of `compute`; the best of `repeats`, each about `time` long.
pub fn peak(compute: &Compute, arithmetic: Arithmetic, time: Duration, repeats: usize) -> f64 {
    let (kernel, operations) = match arithmetic {
        Arithmetic::Int8 => (compute.table().peak_int8, INT8_OPERATIONS),
        Arithmetic::F32 => (compute.table().peak_f32, F32_OPERATIONS),
    };
    let threads = compute.pool().threads() as u64;
    let run = |rounds: u64| {
        let start = Instant::now();
        compute.pool().run(|_| {
            // SAFETY: the table was chosen for this processor.
            black_box(unsafe { kernel(black_box(rounds)) });
        });
        (rounds * operations * threads) as f64 / start.elapsed().as_secs_f64()
    };
    let rounds = (run(20_000) * time.as_secs_f64()) as u64 / operations / threads;
    best(repeats, || run(rounds.max(1)))
}

/// Bytes per second that all workers read together from a working set of `bytes`; the best of `repeats`.
///
/// Each worker reads its own share again and again, as decoding reads its share of the weights at every step.
pub fn read_bandwidth(compute: &Compute, bytes: usize, time: Duration, repeats: usize) -> f64 {
    let workers = compute.pool().threads();
    let mut memory = AlignedBytes::zeroed(bytes.next_multiple_of(512 * workers));
    // Written, not only read: pages that were never written all stand for one page of zeros, which stays in the cache.
    memory.as_mut_slice().fill(1);
    let memory = memory.as_slice();
    let run = |passes: usize| {
        let start = Instant::now();
        compute.pool().run(|worker| {
            let steps = share_of(memory.len() / 512, worker, workers);
            let mine = &memory[steps.start * 512..steps.end * 512];
            for _ in 0..passes {
                // SAFETY: the table was chosen for this processor.
                black_box(unsafe { (compute.table().read)(black_box(mine)) });
            }
        });
        (passes * memory.len()) as f64 / start.elapsed().as_secs_f64()
    };
    let passes = (run(1) * time.as_secs_f64() / memory.len() as f64) as usize;
    best(repeats, || run(passes.max(1)))
}

/// Nanoseconds that a fork and a join of an empty task take; the median of many.
pub fn fork_join_ns(compute: &Compute) -> f64 {
    const BATCH: u32 = 100;
    let mut times: Vec<f64> = (0..101)
        .map(|_| {
            let start = Instant::now();
            (0..BATCH).for_each(|_| compute.pool().run(|_| ()));
            start.elapsed().as_nanos() as f64 / f64::from(BATCH)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// How many times as fast `threads` workers do the same short tasks as `base` workers: the median of `rounds` comparisons, each of
/// which runs both for `time`, one after the other.
///
/// A task is int8 arithmetic that takes `base` workers some 30 µs, as an operation of a small model does, with a fork and a join.
pub fn relative_speed(
    set: InstructionSet,
    (threads, base): (usize, usize),
    time: Duration,
    rounds: usize,
) -> f64 {
    const TASK_SECONDS: f64 = 30e-6;
    let each = best(3, || {
        peak(
            &Compute::with_instruction_set(1, set),
            Arithmetic::Int8,
            time / 8,
            1,
        )
    });
    let work = (each / INT8_OPERATIONS as f64 * TASK_SECONDS * base as f64) as usize;
    // A pool for each measurement: idle workers of another would spin beside it.
    let rate = |threads| tasks_per_second(&Compute::with_instruction_set(threads, set), work, time);
    let mut ratios: Vec<f64> = (0..rounds.max(1))
        .map(|_| rate(threads) / rate(base))
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// Tasks of `work` rounds of int8 arithmetic, shared out evenly, that are done in a second.
fn tasks_per_second(compute: &Compute, work: usize, time: Duration) -> f64 {
    let kernel = compute.table().peak_int8;
    let mut tasks = 0_u32;
    let start = Instant::now();
    while start.elapsed() < time {
        compute.pool().divide(work, 1, |part| {
            // SAFETY: the table was chosen for this processor.
            black_box(unsafe { kernel(black_box(part.len() as u64)) });
        });
        tasks += 1;
    }
    f64::from(tasks) / start.elapsed().as_secs_f64()
}

fn best(repeats: usize, mut run: impl FnMut() -> f64) -> f64 {
    (0..repeats.max(1)).map(|_| run()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_speed_is_a_number_above_nothing() {
        let time = Duration::from_millis(1);
        let speed = relative_speed(InstructionSet::Scalar, (3, 1), time, 1);
        assert!(speed.is_finite() && speed > 0.0, "{speed}");
    }
}

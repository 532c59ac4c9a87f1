//! Who allocates while a program runs as always: a sample of its allocations, by bytes.
//!
//! Points lie at random over the bytes that are asked for, one in so many (the *mean*); an allocation is in the sample if a point lies in it, which is so with the
//! probability `1 − e^(−size / mean)`. Counted with one over that ([`weight`]), the sample's sums are right in the mean, for every size: a
//! Poisson process has no memory, so that each thread counts down to its next point by itself.
//!
//! ```text
//! allocation not in the sample    a load, and a subtraction on the thread's own counter
//! release of what is not in it    a load, and one of a table of counts by address: no lock
//! of what is in it                a walk of the stack and a lock, for one allocation in so many bytes
//! ```
//!
//! What happened is queued with its time and told by [`Sampler::take`]: nothing but this module runs within the allocation.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{DEEPEST, Inside, SAMPLES, WATCHES, capture};

/// Events that wait to be taken, at most; allocations past it are counted and not followed.
const MOST_WAITING: usize = 1 << 16;
/// Counts of live samples by address: as many as make it rare that another address has the same place.
const PLACES: usize = 1 << 16;

static LIVE: [AtomicU32; PLACES] = [const { AtomicU32::new(0) }; PLACES];
static QUEUE: Mutex<Option<Queue>> = Mutex::new(None);
static IS_TAKEN: AtomicBool = AtomicBool::new(false);
static MEAN: AtomicU64 = AtomicU64::new(0);
/// Which sampler this is; threads begin to count anew with each.
static ROUND: AtomicU64 = AtomicU64::new(0);
static SEED: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);

thread_local! {
    /// Bytes to the next point, and of which round.
    static LEFT: Cell<(u64, f64)> = const { Cell::new((0, 0.0)) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
    static IS_UNWATCHED: Cell<bool> = const { Cell::new(false) };
}

/// Why allocations cannot be sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotSample {
    /// The program has another allocator.
    #[error(
        "expected carnot_sampling::heap::Counting to be the program's global allocator, found another"
    )]
    OtherAllocator,
    /// There is one sampler in a process.
    #[error("another sampler of this process's allocations runs")]
    Running,
}

/// How many allocations of `size` bytes one in the sample stands for, `mean` bytes lying between two points; at least 1.
pub fn weight(size: u64, mean: u64) -> f64 {
    if size == 0 || mean == 0 {
        return 1.0;
    }
    -1.0 / (-(size as f64) / mean as f64).exp_m1()
}

/// An allocation of the sample, or its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, by the clock that the sampler was given.
    pub time: u64,
    /// Number of the stack that allocated; see [`Taken::stacks`].
    pub stack: u32,
    /// Its address.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it was given back.
    pub is_release: bool,
}

/// What happened since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// In the order in which it happened.
    pub events: Vec<Event>,
    /// Stacks that are new, the innermost call first. The first has the number [`first_stack`](Self::first_stack).
    pub stacks: Vec<Vec<u64>>,
    /// The number of the first new stack.
    pub first_stack: u32,
    /// Allocations of the sample that were lost, because nobody took the events.
    pub lost: u64,
}

/// Samples until it is dropped.
#[derive(Debug)]
pub struct Sampler {
    mean: u64,
}

#[derive(Default)]
struct Queue {
    clock: Option<fn() -> u64>,
    events: Vec<Event>,
    stacks: Vec<Vec<u64>>,
    told_stacks: usize,
    by_stack: HashMap<Vec<u64>, u32>,
    live: HashMap<usize, (u32, u64)>,
    lost: u64,
}

impl Sampler {
    /// Begins, with a point in every `mean` bytes in the mean, at least 1. `clock` is read for each event; it must neither allocate nor lock.
    pub fn start(mean: u64, clock: fn() -> u64) -> Result<Self, CannotSample> {
        if !super::is_installed() {
            return Err(CannotSample::OtherAllocator);
        }
        if IS_TAKEN.swap(true, Ordering::AcqRel) {
            return Err(CannotSample::Running);
        }
        let mean = mean.max(1);
        let _inside = Inside::enter();
        *queue() = Some(Queue {
            clock: Some(clock),
            ..Queue::default()
        });
        MEAN.store(mean, Ordering::Relaxed);
        ROUND.fetch_add(1, Ordering::Relaxed);
        WATCHES.fetch_or(SAMPLES, Ordering::Release);
        Ok(Self { mean })
    }

    /// The bytes between two points, in the mean.
    pub fn mean(&self) -> u64 {
        self.mean
    }

    /// What happened since the last time.
    pub fn take(&self) -> Taken {
        let _inside = Inside::enter();
        let mut queue = queue();
        let Some(queue) = queue.as_mut() else {
            return Taken::default();
        };
        let first = std::mem::replace(&mut queue.told_stacks, queue.stacks.len());
        Taken {
            events: std::mem::take(&mut queue.events),
            stacks: queue.stacks[first..].to_vec(),
            first_stack: first as u32,
            lost: std::mem::take(&mut queue.lost),
        }
    }

    /// From now on nothing that this thread allocates is in the sample: for those who deal with the sample.
    pub fn leave_out_this_thread(&self) {
        IS_UNWATCHED.set(true);
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        let _inside = Inside::enter();
        WATCHES.fetch_and(!SAMPLES, Ordering::Release);
        let ended = queue().take();
        for address in ended.iter().flat_map(|queue| queue.live.keys()) {
            place(*address).fetch_sub(1, Ordering::Relaxed);
        }
        drop(ended);
        IS_TAKEN.store(false, Ordering::Release);
    }
}

fn queue() -> MutexGuard<'static, Option<Queue>> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where live samples with this address, and some others, are counted.
fn place(address: usize) -> &'static AtomicU32 {
    let hash = ((address >> 4) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    &LIVE[(hash >> 48) as usize % PLACES]
}

/// An allocation was made; it may be in the sample.
#[inline]
pub(super) fn allocated(pointer: *mut u8, size: usize) {
    let (round, left) = LEFT.get();
    let left = left - size as f64;
    if left > 0.0 && round == ROUND.load(Ordering::Relaxed) {
        LEFT.set((round, left));
        return;
    }
    reached(pointer as usize, size);
}

/// A point was reached, or another sampler began.
#[cold]
fn reached(address: usize, size: usize) {
    let (round, mut left) = LEFT.get();
    let now = ROUND.load(Ordering::Relaxed);
    if round != now {
        left = distance();
    }
    left -= size as f64;
    if left > 0.0 {
        LEFT.set((now, left));
        return;
    }
    LEFT.set((now, distance()));
    if size == 0 || IS_UNWATCHED.get() {
        return;
    }
    let _inside = Inside::enter();
    let mut stack = [0; DEEPEST];
    let depth = capture(&mut stack);
    if let Some(queue) = queue().as_mut() {
        queue.allocated(address, size as u64, &stack[..depth]);
    }
}

/// Memory is about to be given back.
#[inline]
pub(super) fn released(pointer: *mut u8) {
    if place(pointer as usize).load(Ordering::Relaxed) != 0 {
        let _inside = Inside::enter();
        if let Some(queue) = queue().as_mut() {
            queue.released(pointer as usize);
        }
    }
}

impl Queue {
    fn allocated(&mut self, address: usize, size: u64, stack: &[u64]) {
        if self.events.len() >= MOST_WAITING {
            self.lost += 1;
            return;
        }
        let next = self.stacks.len() as u32;
        let stack = self.by_stack.get(stack).copied().unwrap_or_else(|| {
            self.by_stack.insert(stack.to_vec(), next);
            self.stacks.push(stack.to_vec());
            next
        });
        self.live.insert(address, (stack, size));
        place(address).fetch_add(1, Ordering::Relaxed);
        self.push(address, (stack, size), false);
    }

    fn released(&mut self, address: usize) {
        if let Some(sample) = self.live.remove(&address) {
            place(address).fetch_sub(1, Ordering::Relaxed);
            // Always told: as many as there were allocations, which are bounded.
            self.push(address, sample, true);
        }
    }

    fn push(&mut self, address: usize, (stack, size): (u32, u64), is_release: bool) {
        self.events.push(Event {
            time: self.clock.map_or(0, |clock| clock()),
            stack,
            address: address as u64,
            size,
            is_release,
        });
    }
}

/// Bytes to the next point: exponential, with the mean that was asked for.
fn distance() -> f64 {
    let mut state = RANDOM.get();
    if state == 0 {
        // Another sequence for each thread; the step is odd, so that none comes twice.
        state = SEED.fetch_add(0xd1b5_4a32_d192_ed03, Ordering::Relaxed) | 1;
    }
    // splitmix64.
    state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    RANDOM.set(state);
    let mut bits = state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    // Above 0 and up to 1, in steps of 2^-53.
    let uniform = ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    -uniform.ln() * MEAN.load(Ordering::Relaxed) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_one_over_the_chance_to_be_seen() {
        assert!((weight(1, 1_000_000) - 1_000_000.5).abs() < 0.01);
        assert!((weight(1000, 1000) - 1.0 / (1.0 - (-1.0_f64).exp())).abs() < 1e-12);
        assert_eq!(weight(1 << 30, 1000), 1.0);
        assert_eq!((weight(0, 1000), weight(1000, 0)), (1.0, 1.0));
    }

    #[test]
    fn distances_have_the_mean_that_was_asked_for() {
        MEAN.store(1000, Ordering::Relaxed);
        let all: Vec<f64> = (0..100_000).map(|_| distance()).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let beyond = all.iter().filter(|&&one| one > 1000.0).count() as f64 / all.len() as f64;
        // Six standard errors of each.
        assert!((mean - 1000.0).abs() < 19.0, "{mean}");
        assert!((beyond - (-1.0_f64).exp()).abs() < 0.0092, "{beyond}");
    }
}

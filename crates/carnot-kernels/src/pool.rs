//! The compute pool: persistent threads that run one closure together and meet again.
//!
//! [`Pool::run`] is a fork and a join. The caller is worker 0. The others spin for a short while on the next generation
//! number, then park, so that a decode loop never pays for a wake-up and an idle process uses no processor time.
//! A fork and a join cost two transfers of a cache line per worker, as much as one barrier would.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::clock::ticks;

/// How long a worker spins before it parks.
const SPIN: Duration = Duration::from_millis(20);
/// Spins between two offers of the core to other threads: a few microseconds, so that a busy neighbour or too many
/// workers cost their share of the cores and not whole time slices.
const SPINS_PER_YIELD: u32 = 1 << 7;

/// When one worker was busy with the last task, in [`ticks`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// When the worker began its share.
    pub start: u64,
    /// When the worker had finished its share.
    pub end: u64,
}

/// The closure of the running task, with its lifetime erased; valid from the fork to the join.
#[derive(Clone, Copy)]
struct Task(*const (dyn Fn(usize) + Sync));

// SAFETY: the closure behind the pointer is `Sync`, and `run` keeps it alive until every worker has finished.
unsafe impl Send for Task {}

/// What one worker and the caller share; alone on its cache lines, so that workers do not disturb each other.
#[repr(align(128))]
struct Slot {
    done: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
    parked: AtomicBool,
    has_panicked: AtomicBool,
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

struct Shared {
    /// Number of the newest task; odd and even alike. Workers wait for it to move.
    generation: AtomicU64,
    stop: AtomicBool,
    timing: AtomicBool,
    /// Written by the caller between a join and the next fork, read by workers between a fork and its join.
    task: UnsafeCell<Option<Task>>,
    slots: Vec<Slot>,
    /// Counts parks, for tests and for the report.
    parks: AtomicU32,
}

// SAFETY: `task` follows the protocol written beside it, ordered by `generation` and `done`; all else is `Sync`.
unsafe impl Sync for Shared {}

/// A fixed set of threads that execute closures together.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<(Thread, Option<JoinHandle<()>>)>,
    running: Mutex<()>,
    own_end: AtomicU64,
}

impl Pool {
    /// Starts a pool of `threads` workers, the caller of [`Pool::run`] included; at least one.
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            generation: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            timing: AtomicBool::new(false),
            task: UnsafeCell::new(None),
            slots: (1..threads).map(|_| Slot::new()).collect(),
            parks: AtomicU32::new(0),
        });
        let handles = (1..threads)
            .map(|index| start_worker(index, &shared))
            .collect();
        Self {
            shared,
            threads: handles,
            running: Mutex::new(()),
            own_end: AtomicU64::new(0),
        }
    }

    /// Number of workers, the caller included.
    pub fn threads(&self) -> usize {
        self.shared.slots.len() + 1
    }

    /// Turns the recording of [`Pool::busy`] on or off; off, a task costs no clock read.
    pub fn set_timing(&self, on: bool) {
        self.shared.timing.store(on, Ordering::Relaxed);
    }

    /// Whether busy times are recorded.
    pub fn is_timing(&self) -> bool {
        self.shared.timing.load(Ordering::Relaxed)
    }

    /// Calls `share(worker)` once on every worker, `0..threads`, and returns when all have finished.
    ///
    /// A panic of any share is raised again here, after the others have finished. Calls from several threads take turns.
    pub fn run(&self, share: impl Fn(usize) + Sync) {
        let _turn = lock(&self.running);
        let timing = self.is_timing();
        if self.shared.slots.is_empty() {
            self.run_own_share(timing, &share)
                .unwrap_or_else(|panic| resume_unwind(panic));
            return;
        }
        let generation = self.fork(&share);
        let own = self.run_own_share(timing, &share);
        self.join(generation);
        let theirs = self.shared.slots.iter().find_map(Slot::take_panic);
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }

    /// When `worker`, from 1 on, was busy with the last task; zeros while timing is off.
    ///
    /// # Panics
    /// If there is no such worker; the caller's own time is its own to take, but for [`Pool::own_end`].
    pub fn busy(&self, worker: usize) -> Busy {
        let slot = &self.shared.slots[worker - 1];
        Busy {
            start: slot.start.load(Ordering::Relaxed),
            end: slot.end.load(Ordering::Relaxed),
        }
    }

    /// How many tasks have been forked since the start; tells whether an operation used the pool.
    pub fn forks(&self) -> u64 {
        self.shared.generation.load(Ordering::Relaxed)
    }

    /// How often workers have gone to sleep since the start.
    pub fn parks(&self) -> u32 {
        self.shared.parks.load(Ordering::Relaxed)
    }

    fn run_own_share(&self, timing: bool, share: &(impl Fn(usize) + Sync)) -> thread::Result<()> {
        let result = catch_unwind(AssertUnwindSafe(|| share(0)));
        if timing {
            self.own_end.store(ticks(), Ordering::Relaxed);
        }
        result
    }

    /// When the caller had finished its own share of the last task; zero while timing is off.
    pub fn own_end(&self) -> u64 {
        self.own_end.load(Ordering::Relaxed)
    }

    fn fork(&self, share: &(dyn Fn(usize) + Sync)) -> u64 {
        // SAFETY: only the lifetime changes; `join` returns after the last use, before `share` can be dropped.
        let erased: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(share) };
        // SAFETY: the last join is over and this fork not announced, so no worker reads now; `running` excludes other callers.
        unsafe { *self.shared.task.get() = Some(Task(erased)) };
        let generation = self.shared.generation.fetch_add(1, Ordering::SeqCst) + 1;
        for (slot, (thread, _)) in self.shared.slots.iter().zip(&self.threads) {
            if slot.parked.load(Ordering::SeqCst) {
                thread.unpark();
            }
        }
        generation
    }

    fn join(&self, generation: u64) {
        for slot in &self.shared.slots {
            let mut spins = 0_u32;
            while slot.done.load(Ordering::Acquire) != generation {
                spins = spins.wrapping_add(1);
                if spins.is_multiple_of(SPINS_PER_YIELD) {
                    thread::yield_now();
                }
                std::hint::spin_loop();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
        for (thread, handle) in &mut self.threads {
            thread.unpark();
            if let Some(handle) = handle.take() {
                let _ = handle.join();
            }
        }
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            done: AtomicU64::new(0),
            start: AtomicU64::new(0),
            end: AtomicU64::new(0),
            parked: AtomicBool::new(false),
            has_panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
        }
    }

    fn set_panic(&self, panic: Box<dyn std::any::Any + Send>) {
        *lock(&self.panic) = Some(panic);
        self.has_panicked.store(true, Ordering::Release);
    }

    fn take_panic(&self) -> Option<Box<dyn std::any::Any + Send>> {
        if !self.has_panicked.load(Ordering::Acquire) {
            return None;
        }
        self.has_panicked.store(false, Ordering::Release);
        lock(&self.panic).take()
    }
}

fn start_worker(index: usize, shared: &Arc<Shared>) -> (Thread, Option<JoinHandle<()>>) {
    let shared = Arc::clone(shared);
    let handle = thread::Builder::new()
        .name(format!("carnot-worker-{index}"))
        .spawn(move || work(index, &shared))
        .expect("the operating system starts a thread");
    (handle.thread().clone(), Some(handle))
}

fn work(index: usize, shared: &Shared) {
    let slot = &shared.slots[index - 1];
    let mut seen = 0;
    loop {
        seen = next_generation(shared, slot, seen);
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        // SAFETY: the caller wrote the task before it announced this generation, and writes again only after `done`.
        let task = unsafe { *shared.task.get() }
            .expect("a task is set before its generation is announced");
        let timing = shared.timing.load(Ordering::Relaxed);
        if timing {
            slot.start.store(ticks(), Ordering::Relaxed);
        }
        // SAFETY: `run` waits for `done` before the closure goes out of scope.
        let result = catch_unwind(AssertUnwindSafe(|| unsafe { (*task.0)(index) }));
        if let Err(panic) = result {
            slot.set_panic(panic);
        }
        if timing {
            slot.end.store(ticks(), Ordering::Relaxed);
        }
        slot.done.store(seen, Ordering::Release);
    }
}

/// Waits, spinning and then parked, until the generation has moved past `seen`.
fn next_generation(shared: &Shared, slot: &Slot, seen: u64) -> u64 {
    let mut since: Option<Instant> = None;
    let mut spins = 0_u32;
    loop {
        let now = shared.generation.load(Ordering::Acquire);
        if now != seen {
            return now;
        }
        std::hint::spin_loop();
        spins = spins.wrapping_add(1);
        if !spins.is_multiple_of(SPINS_PER_YIELD) {
            continue;
        }
        thread::yield_now();
        if since.get_or_insert_with(Instant::now).elapsed() < SPIN {
            continue;
        }
        slot.parked.store(true, Ordering::SeqCst);
        shared.parks.fetch_add(1, Ordering::Relaxed);
        while shared.generation.load(Ordering::SeqCst) == seen {
            thread::park();
        }
        slot.parked.store(false, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of `0..count` that belongs to `worker` of `workers`: contiguous, in order, sizes differ by one at most.
pub fn share_of(count: usize, worker: usize, workers: usize) -> std::ops::Range<usize> {
    count * worker / workers..count * (worker + 1) / workers
}

/// A counter from which workers take the next piece of work; for pieces of unequal cost.
#[derive(Debug, Default)]
pub struct Ticket(AtomicUsize);

impl Ticket {
    /// A counter at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next number below `count`, or `None` when all are taken.
    pub fn take(&self, count: usize) -> Option<usize> {
        let next = self.0.fetch_add(1, Ordering::Relaxed);
        (next < count).then_some(next)
    }
}

/// A mutable slice whose parts several workers write at once; each must write only what no other touches.
pub(crate) struct Scattered<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: parts are handed out by `part`, whose contract forbids overlap between threads.
unsafe impl<T: Send> Sync for Scattered<'_, T> {}

impl<'a, T> Scattered<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            length: slice.len(),
            slice: PhantomData,
        }
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.start
    }

    /// # Safety
    /// No other thread may hold or take a part that overlaps `range` until this part is dropped.
    #[expect(
        clippy::mut_from_ref,
        reason = "handing out disjoint mutable parts is what this type is for"
    )]
    pub(crate) unsafe fn part(&self, range: std::ops::Range<usize>) -> &mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.length,
            "part {range:?} of {}",
            self.length
        );
        // SAFETY: in bounds by the assertion, exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_runs_once() {
        for threads in 1..5 {
            let pool = Pool::new(threads);
            for _ in 0..200 {
                let counts: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
                pool.run(|worker| {
                    counts[worker].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    counts
                        .iter()
                        .all(|count| count.load(Ordering::Relaxed) == 1)
                );
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        let pool = Pool::new(3);
        for bad in 0..3 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(|worker| assert!(worker != bad, "worker {worker} fails on purpose"));
            }));
            assert!(result.is_err());
        }
        let sum = AtomicUsize::new(0);
        pool.run(|worker| {
            sum.fetch_add(worker, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 3);
    }

    #[test]
    fn parked_workers_wake_up() {
        let pool = Pool::new(2);
        pool.run(|_| ());
        let deadline = Instant::now() + Duration::from_secs(20);
        while pool.parks() == 0 {
            assert!(Instant::now() < deadline, "an idle worker never parked");
            thread::yield_now();
        }
        let ran = AtomicUsize::new(0);
        pool.run(|_| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.into_inner(), 2);
    }

    #[test]
    fn busy_times_are_recorded_when_asked_for() {
        let pool = Pool::new(2);
        pool.run(|_| ());
        assert_eq!(pool.busy(1), Busy::default());
        pool.set_timing(true);
        pool.run(|_| ());
        let busy = pool.busy(1);
        assert!(busy.start > 0 && busy.start <= busy.end && pool.own_end() > 0);
    }

    #[test]
    fn shares_cover_everything_once() {
        for count in [0, 1, 7, 64, 1000] {
            for workers in 1..9 {
                let all: Vec<usize> = (0..workers)
                    .flat_map(|worker| share_of(count, worker, workers))
                    .collect();
                assert_eq!(all, (0..count).collect::<Vec<_>>());
            }
        }
    }
}

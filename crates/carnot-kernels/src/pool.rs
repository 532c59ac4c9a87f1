//! The compute pool: persistent threads that run one closure together and meet again.
//!
//! A task is `threads × pieces` calls of a closure. Worker w's share are the pieces `w × pieces..`, which it takes one by one from a
//! counter of its own; who has finished takes what others have not begun. The caller is worker 0. It waits for pieces that were
//! begun, never for a worker that has not come: on a busy machine that one may be waiting for its core for milliseconds.
//!
//! ```text
//! caller    fork ── own share ── take what nobody has begun ── join: spin, then park ──▶
//! worker    spin, then park ──▶ own share ── help the others (where a share has several pieces) ── done
//! ```
//!
//! Nobody yields: on Linux a yield gives away a whole time slice, so that a neighbour on the core would cost milliseconds each time.
//! Waiting threads spin for a short while and then park, which leaves the core to whoever wants it, and costs nothing when idle.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::clock::ticks;

/// How long a worker spins for the next task before it parks: longer than what lies between two operations or two steps.
const WORKER_SPIN: Duration = Duration::from_micros(50);
/// How long the caller spins for pieces that others have begun: more than that, and one of them has lost its core. Parking then frees
/// the caller's core, to which the system moves the other.
const JOIN_SPIN: Duration = Duration::from_micros(30);
/// Spins between two readings of the clock.
const SPINS_PER_READING: u32 = 1 << 6;
/// Low bits of a [`Mark`].
const COUNT_BITS: u32 = 16;

/// When one worker was busy with the last task, in [`ticks`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// When the worker began its first piece.
    pub start: u64,
    /// When the worker had finished its last piece.
    pub end: u64,
}

/// The closure of the running task, with its lifetime erased; valid from the fork to the join.
#[derive(Clone, Copy)]
struct Task(*const (dyn Fn(usize) + Sync));

// SAFETY: the closure behind the pointer is `Sync`, and `run` keeps it alive until every piece is finished.
unsafe impl Send for Task {}

/// The number of a task with a count: of its pieces in a share, of those that were taken, of those that are done.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark(u64);

impl Mark {
    fn new(generation: u64, count: usize) -> Self {
        debug_assert!(count < 1 << COUNT_BITS, "{count} pieces in a share");
        Self(generation << COUNT_BITS | count as u64)
    }

    fn generation(self) -> u64 {
        self.0 >> COUNT_BITS
    }

    fn count(self) -> usize {
        (self.0 & ((1 << COUNT_BITS) - 1)) as usize
    }
}

/// What one worker and the others share; alone on its cache lines, so that workers do not disturb each other.
#[repr(align(128))]
struct Slot {
    /// Pieces of this worker's share that were taken, by whomever, of the task that was last looked at: a [`Mark`].
    taken: AtomicU64,
    /// Pieces that this worker has finished, of whichever share, of the last task it took part in: a [`Mark`].
    done: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
    parked: AtomicBool,
    has_panicked: AtomicBool,
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

struct Shared {
    /// The newest task and the pieces in a share: a [`Mark`]. Workers wait for it to move.
    announced: AtomicU64,
    stop: AtomicBool,
    timing: AtomicBool,
    /// Written by the caller between a join and the next fork; read by whoever has taken a piece, until that is done.
    task: UnsafeCell<Option<Task>>,
    /// Of all workers, the caller first.
    slots: Vec<Slot>,
    /// The caller, while it is parked at a join.
    waiting: Mutex<Option<Thread>>,
    is_waiting: AtomicBool,
    /// Counts parks of workers, for tests and for the report.
    parks: AtomicU32,
}

// SAFETY: `task` follows the protocol written beside it, ordered by `announced` and `done`; all else is `Sync`.
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
            announced: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            timing: AtomicBool::new(false),
            task: UnsafeCell::new(None),
            slots: (0..threads).map(|_| Slot::new()).collect(),
            waiting: Mutex::new(None),
            is_waiting: AtomicBool::new(false),
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
        self.shared.slots.len()
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
        self.execute(1, false, &share);
    }

    /// Calls `part` with ranges that cover `0..count` once, and returns when all are done.
    ///
    /// Each worker has a contiguous share in `pieces` parts of its own, the same for the same numbers; parts that nobody has begun go
    /// to whoever is free. A part costs some 20 ns beside its work, and a single piece the least. Panics are as in [`Pool::run`].
    pub fn divide(&self, count: usize, pieces: usize, part: impl Fn(Range<usize>) + Sync) {
        let pieces = pieces.clamp(1, self.most_pieces());
        let parts = self.threads() * pieces;
        self.execute(pieces, true, &|piece| {
            let range = share_of(count, piece, parts);
            if !range.is_empty() {
                part(range);
            }
        });
    }

    /// Calls `each` once with every number of `0..count`, low ones first, and returns when all are done: for pieces of unequal cost,
    /// the longest first. Panics are as in [`Pool::run`].
    pub fn each(&self, count: usize, each: impl Fn(usize) + Sync) {
        let threads = self.threads();
        let most = threads * self.most_pieces();
        for first in (0..count).step_by(most) {
            let count = most.min(count - first);
            let pieces = count.div_ceil(threads);
            self.execute(pieces, true, &|piece| {
                let number = piece % pieces * threads + piece / pieces;
                if number < count {
                    each(first + number);
                }
            });
        }
    }

    /// As many pieces in a share as one worker can count that does them all.
    fn most_pieces(&self) -> usize {
        ((1 << COUNT_BITS) - 1) / self.threads()
    }

    fn execute(&self, pieces: usize, may_take: bool, piece: &(impl Fn(usize) + Sync)) {
        let _turn = lock(&self.running);
        let timing = self.is_timing();
        if self.threads() == 1 {
            let result = catch_unwind(AssertUnwindSafe(|| (0..pieces).for_each(piece)));
            self.note_own_end(timing);
            return result.unwrap_or_else(|panic| resume_unwind(panic));
        }
        let task = self.fork(pieces, piece);
        let (mut finished, mut own) = (0, Ok(()));
        let mut work = |from: usize| {
            while let Some(next) = self.shared.slots[from].take(task) {
                let number = from * pieces + next;
                own = std::mem::replace(&mut own, Ok(()))
                    .and(catch_unwind(AssertUnwindSafe(|| piece(number))));
                finished += 1;
            }
        };
        work(0);
        if may_take {
            (1..self.threads()).for_each(work);
        }
        self.note_own_end(timing);
        self.join(task, finished);
        if timing {
            self.note_absence(task);
        }
        let theirs = self.shared.slots.iter().find_map(Slot::take_panic);
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }

    /// When `worker`, from 1 on, was busy with the last task; of no length if it had no part in it, zeros while timing is off.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn busy(&self, worker: usize) -> Busy {
        let slot = &self.shared.slots[worker];
        Busy {
            start: slot.start.load(Ordering::Relaxed),
            end: slot.end.load(Ordering::Relaxed),
        }
    }

    /// How many tasks have been forked since the start; tells whether an operation used the pool.
    pub fn forks(&self) -> u64 {
        Mark(self.shared.announced.load(Ordering::Relaxed)).generation()
    }

    /// How often workers have gone to sleep since the start.
    pub fn parks(&self) -> u32 {
        self.shared.parks.load(Ordering::Relaxed)
    }

    /// When the caller had finished its own work of the last task; zero while timing is off.
    pub fn own_end(&self) -> u64 {
        self.own_end.load(Ordering::Relaxed)
    }

    fn note_own_end(&self, timing: bool) {
        if timing {
            self.own_end.store(ticks(), Ordering::Relaxed);
        }
    }

    /// Workers that had no part in `task` were busy from the end to the end.
    fn note_absence(&self, task: Mark) {
        for slot in &self.shared.slots[1..] {
            if Mark(slot.done.load(Ordering::Relaxed)).generation() != task.generation() {
                slot.start.store(self.own_end(), Ordering::Relaxed);
                slot.end.store(self.own_end(), Ordering::Relaxed);
            }
        }
    }

    fn fork(&self, pieces: usize, piece: &(dyn Fn(usize) + Sync)) -> Mark {
        // SAFETY: only the lifetime changes; `join` returns after the last use, before `piece` can be dropped.
        let erased: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(piece) };
        // SAFETY: the last join is over and this fork not announced, so that there is no piece to take and nobody reads now; `running`
        // excludes other callers.
        unsafe { *self.shared.task.get() = Some(Task(erased)) };
        let task = Mark::new(self.forks() + 1, pieces);
        self.shared.announced.store(task.0, Ordering::SeqCst);
        for (slot, (thread, _)) in self.shared.slots[1..].iter().zip(&self.threads) {
            if slot.parked.load(Ordering::SeqCst) {
                thread.unpark();
            }
        }
        task
    }

    /// Waits until the others have done all pieces but the caller's `own`.
    fn join(&self, task: Mark, own: usize) {
        let all = self.threads() * task.count();
        let is_over = || own + self.shared.done_of(task) == all;
        let mut wait = Wait::new(JOIN_SPIN);
        while !is_over() {
            if wait.is_over() {
                self.shared.park_caller(is_over);
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let last = Mark::new(self.forks() + 1, 0);
        self.shared.announced.store(last.0, Ordering::SeqCst);
        for (thread, handle) in &mut self.threads {
            thread.unpark();
            if let Some(handle) = handle.take() {
                let _ = handle.join();
            }
        }
    }
}

impl Shared {
    /// Pieces of `task` that workers have done, the caller left out.
    fn done_of(&self, task: Mark) -> usize {
        let marks = self.slots[1..]
            .iter()
            .map(|slot| Mark(slot.done.load(Ordering::SeqCst)));
        marks
            .filter(|done| done.generation() == task.generation())
            .map(Mark::count)
            .sum()
    }

    fn park_caller(&self, is_over: impl Fn() -> bool) {
        *lock(&self.waiting) = Some(thread::current());
        self.is_waiting.store(true, Ordering::SeqCst);
        while !is_over() {
            thread::park();
        }
        self.is_waiting.store(false, Ordering::SeqCst);
    }

    fn wake_caller(&self) {
        if self.is_waiting.load(Ordering::SeqCst)
            && let Some(caller) = lock(&self.waiting).as_ref()
        {
            caller.unpark();
        }
    }

    /// Waits, spinning and then parked, until a task after `seen` is announced.
    fn next_task(&self, slot: &Slot, seen: Mark) -> Mark {
        let newest = || Mark(self.announced.load(Ordering::SeqCst));
        let mut wait = Wait::new(WORKER_SPIN);
        while newest() == seen {
            if wait.is_over() {
                slot.parked.store(true, Ordering::SeqCst);
                self.parks.fetch_add(1, Ordering::Relaxed);
                while newest() == seen {
                    thread::park();
                }
                slot.parked.store(false, Ordering::SeqCst);
            }
        }
        newest()
    }

    /// A worker's part in `task`: its own share, then what others left.
    fn work(&self, index: usize, task: Mark) {
        let (slot, pieces) = (&self.slots[index], task.count());
        // Shares of one piece are short: looking for others' would cost more than it gains.
        let others = if pieces > 1 { self.slots.len() } else { 1 };
        let shares = (index..index + others).map(|share| share % self.slots.len());
        let timing = self.timing.load(Ordering::Relaxed);
        let mut finished = 0;
        for share in shares {
            while let Some(next) = self.slots[share].take(task) {
                if timing && finished == 0 {
                    slot.start.store(ticks(), Ordering::Relaxed);
                }
                // SAFETY: the caller wrote the task before it announced it, and writes again only when all pieces are done; this
                // one is taken and not done.
                let closure =
                    unsafe { *self.task.get() }.expect("a task is set before it is announced");
                // SAFETY: the caller waits for this piece before the closure goes out of scope.
                let call = || unsafe { (*closure.0)(share * pieces + next) };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
                    slot.set_panic(panic);
                }
                finished += 1;
            }
        }
        if finished > 0 {
            if timing {
                slot.end.store(ticks(), Ordering::Relaxed);
            }
            let done = Mark::new(task.generation(), finished);
            slot.done.store(done.0, Ordering::SeqCst);
            self.wake_caller();
        }
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            taken: AtomicU64::new(0),
            done: AtomicU64::new(0),
            start: AtomicU64::new(0),
            end: AtomicU64::new(0),
            parked: AtomicBool::new(false),
            has_panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
        }
    }

    /// Takes the next piece of this slot's share of `task`; `None` when all are taken, or when a later task was looked at.
    fn take(&self, task: Mark) -> Option<usize> {
        let mut now = self.taken.load(Ordering::Relaxed);
        loop {
            let mark = Mark(now);
            let taken = match mark.generation().cmp(&task.generation()) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => mark.count(),
                std::cmp::Ordering::Greater => return None,
            };
            if taken >= task.count() {
                return None;
            }
            let next = Mark::new(task.generation(), taken + 1);
            match self
                .taken
                .compare_exchange_weak(now, next.0, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return Some(taken),
                Err(other) => now = other,
            }
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

/// Spins for a while, reading the clock now and then.
struct Wait {
    most: Duration,
    since: Option<Instant>,
    spins: u32,
}

impl Wait {
    fn new(most: Duration) -> Self {
        Self {
            most,
            since: None,
            spins: 0,
        }
    }

    /// Spins once; whether that was long enough in all.
    fn is_over(&mut self) -> bool {
        std::hint::spin_loop();
        self.spins = self.spins.wrapping_add(1);
        self.spins.is_multiple_of(SPINS_PER_READING)
            && self.since.get_or_insert_with(Instant::now).elapsed() >= self.most
    }
}

fn start_worker(index: usize, shared: &Arc<Shared>) -> (Thread, Option<JoinHandle<()>>) {
    let shared = Arc::clone(shared);
    let handle = thread::Builder::new()
        .name(format!("carnot-worker-{index}"))
        .spawn(move || serve(index, &shared))
        .expect("the operating system starts a thread");
    (handle.thread().clone(), Some(handle))
}

fn serve(index: usize, shared: &Shared) {
    let mut seen = Mark(0);
    loop {
        seen = shared.next_task(&shared.slots[index], seen);
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        shared.work(index, seen);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of `0..count` that belongs to `worker` of `workers`: contiguous, in order, sizes differ by one at most.
pub fn share_of(count: usize, worker: usize, workers: usize) -> std::ops::Range<usize> {
    count * worker / workers..count * (worker + 1) / workers
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
mod tests;

//! Which spans are open, innermost last, and on which line of the timeline they lie when they end.
//!
//! ```text
//! thread      the thread's own line: its spans nest, because `with` does
//! task        a lane for each task of asyncio that has a span open, used again when it has none
//! crossing    spans that end while others, begun within them, go on: generators that hold one across `yield`
//! ```
//!
//! What is open on the thread's own line is a range of NVIDIA's tools too, where the package was built for them (feature `nvtx`).
//!
//! So there are as many lanes as tasks ever had spans open beside each other. Nothing here calls Python while a table is borrowed:
//! that could run a destructor that ends another span.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use carnot_probe::clock::ticks;
use carnot_probe::{SiteId, TrackId, is_enabled, nvtx, track};
use pyo3::prelude::*;

use crate::tasks::{self, TaskKey};

/// An open span.
struct Open {
    /// The address of the object that began it; `with` keeps that alive.
    owner: usize,
    start: u64,
    /// What was counted within it.
    items: u32,
    /// Whether a range was pushed for it.
    in_range: bool,
}

/// A span that has ended.
pub struct Ended {
    /// Its line; `None` for the thread's own.
    pub line: Option<TrackId>,
    pub start: u64,
    pub end: u64,
    pub items: u32,
}

/// The open spans of a thread or a task.
#[derive(Default)]
struct Stack {
    open: Vec<Open>,
    /// A task's; `None` for the thread's own line.
    lane: Option<TrackId>,
}

/// All that is open on a thread.
#[derive(Default)]
struct Table {
    /// The recording that it is of.
    recording: u32,
    /// How many are open, in tasks and outside.
    count: usize,
    thread: Stack,
    tasks: HashMap<TaskKey, Stack>,
}

thread_local! {
    static OPEN: RefCell<Table> = RefCell::default();
}

/// The number of the recording, so that what began in one does not end in another.
static RECORDING: AtomicU32 = AtomicU32::new(0);
static FREE_LANES: Mutex<Vec<TrackId>> = Mutex::new(Vec::new());
/// Lanes of crossing spans, and until when each is taken.
static CROSSING: Mutex<Vec<(TrackId, u64)>> = Mutex::new(Vec::new());

/// From now on spans belong to a new recording.
pub fn next_recording() {
    RECORDING.fetch_add(1, Ordering::Relaxed);
}

/// Notes that a span of `owner`, of `site`, begins, if recording is on.
#[inline]
pub fn begin(py: Python<'_>, owner: usize, site: SiteId) {
    if is_enabled() {
        let task = tasks::current(py);
        let is_new = OPEN.with_borrow_mut(|table| table.push(task, owner, site));
        if is_new {
            name_thread(py);
        }
    }
}

/// Threads that Python started have names that only Python knows.
#[cold]
pub fn name_thread(py: Python<'_>) {
    let name = || -> PyResult<String> {
        let thread = py.import("threading")?.call_method0("current_thread")?;
        thread.getattr("name")?.extract()
    };
    // A thread without a name is still a thread.
    carnot_probe::name_thread(name().as_deref().unwrap_or("thread"));
}

/// Ends the innermost open span of `owner`; `None` where none was begun in this recording.
#[inline]
pub fn end(py: Python<'_>, owner: usize) -> Option<Ended> {
    let (count, tasks) = OPEN.with_borrow(|table| (table.count, table.tasks.len()));
    if count == 0 {
        return None;
    }
    let now = ticks();
    let task = if tasks == 0 { None } else { tasks::current(py) };
    OPEN.with_borrow_mut(|table| table.pop(task, owner, now))
}

/// Adds to what the innermost open span of `owner` counts.
pub fn count(py: Python<'_>, owner: usize, items: u32) {
    let task = tasks::current(py);
    OPEN.with_borrow_mut(|table| {
        let stack = match task {
            None => Some(&mut table.thread),
            Some(task) => table.tasks.get_mut(&task),
        };
        let mut open = stack
            .into_iter()
            .flat_map(|stack| stack.open.iter_mut().rev());
        if let Some(open) = open.find(|open| open.owner == owner) {
            open.items = open.items.saturating_add(items);
        }
    });
}

impl Table {
    /// Whether this is the first of this thread in this recording.
    #[inline]
    fn push(&mut self, task: Option<TaskKey>, owner: usize, site: SiteId) -> bool {
        let recording = RECORDING.load(Ordering::Relaxed);
        let is_new = self.recording != recording;
        if is_new {
            self.renew(recording);
        }
        self.count += 1;
        // Those of tasks go on beside each other; pushes and pops of a thread must nest.
        let in_range = task.is_none() && nvtx::push(site);
        let stack = match task {
            None => &mut self.thread,
            Some(task) => self.tasks.entry(task).or_insert_with(Stack::on_lane),
        };
        stack.open.push(Open {
            owner,
            start: ticks(),
            items: 0,
            in_range,
        });
        is_new
    }

    /// Forgets what an earlier recording left open; its end will find nothing.
    #[cold]
    fn renew(&mut self, recording: u32) {
        lock(&FREE_LANES).extend(self.tasks.drain().filter_map(|(_, stack)| stack.lane));
        let ranges = self.thread.open.drain(..).filter(|open| open.in_range);
        ranges.for_each(|_| nvtx::pop());
        self.count = 0;
        self.recording = recording;
    }

    /// Where the current task has no such span, another one's is ended: destructors end what a lost task or generator left open.
    #[inline]
    fn pop(&mut self, task: Option<TaskKey>, owner: usize, now: u64) -> Option<Ended> {
        let ended = match task {
            None => self.thread.pop(owner, now),
            Some(task) => self.pop_task(task, owner, now),
        };
        let ended = ended.or_else(|| self.pop_any(owner, now))?;
        self.count -= 1;
        (self.recording == RECORDING.load(Ordering::Relaxed)).then_some(ended)
    }

    fn pop_task(&mut self, task: TaskKey, owner: usize, now: u64) -> Option<Ended> {
        let stack = self.tasks.get_mut(&task)?;
        let ended = stack.pop(owner, now)?;
        if stack.open.is_empty() {
            lock(&FREE_LANES).extend(stack.lane);
            self.tasks.remove(&task);
        }
        Some(ended)
    }

    #[cold]
    fn pop_any(&mut self, owner: usize, now: u64) -> Option<Ended> {
        let holds = |stack: &Stack| stack.open.iter().any(|open| open.owner == owner);
        let task = self.tasks.iter().find(|(_, stack)| holds(stack));
        match task.map(|(task, _)| *task) {
            Some(task) => self.pop_task(task, owner, now),
            None => self.thread.pop(owner, now),
        }
    }
}

impl Stack {
    /// A task's. Its lane is taken before its first span begins: what lay on it before has ended by then.
    fn on_lane() -> Self {
        Self {
            open: Vec::new(),
            lane: Some(free_lane()),
        }
    }

    #[inline]
    fn pop(&mut self, owner: usize, now: u64) -> Option<Ended> {
        let at = self.open.iter().rposition(|open| open.owner == owner)?;
        let Open {
            start,
            items,
            in_range,
            ..
        } = self.open.remove(at);
        if in_range {
            nvtx::pop();
        }
        let is_crossing = at < self.open.len();
        Some(Ended {
            line: if is_crossing {
                Some(crossing_lane(start, now))
            } else {
                self.lane
            },
            start,
            end: now,
            items,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn free_lane() -> TrackId {
    let free = lock(&FREE_LANES).pop();
    free.unwrap_or_else(|| track("task"))
}

/// A lane on which nothing else lies between `start` and `end`.
fn crossing_lane(start: u64, end: u64) -> TrackId {
    let mut lanes = lock(&CROSSING);
    if let Some((lane, taken_until)) = lanes.iter_mut().find(|(_, until)| *until <= start) {
        *taken_until = end;
        return *lane;
    }
    let lane = track("crossing");
    lanes.push((lane, end));
    lane
}

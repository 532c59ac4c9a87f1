//! Where memory comes from: an allocator that counts, and that keeps the stack of each allocation, or of a sample of them, while it is asked to.
//!
//! A program puts [`Counting`] in as its global allocator. Until [`track`] it costs a load and a branch; from then on a walk of the stack for each
//! allocation: not for runs whose time matters. Tracking is exact: what is live is what was allocated since then and not yet freed.
//!
//! A [`Sampler`] is for runs whose time does matter: of the bytes that are allocated it looks at one in so many, and its sums are estimates.
//!
//! The memory below is the system's allocator.

mod sampled;

pub use sampled::{CannotSample, Event, Sampler, Taken, weight};

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Calls that are kept of a stack.
const DEEPEST: usize = 48;
/// Classes of sizes: the k-th ends at 2^k bytes.
pub const CLASSES: usize = 48;

/// The system's allocator, which can be asked who allocates.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

/// Who wants to know of allocations: none, one or both of the two below.
static WATCHES: AtomicU8 = AtomicU8::new(0);
const TRACKS: u8 = 1;
const SAMPLES: u8 = 2;
/// Asks whether allocations come here at all.
const ASKS: u8 = 4;
static HAS_ANSWERED: AtomicBool = AtomicBool::new(false);
static TRACKED: Mutex<Option<Tracked>> = Mutex::new(None);

thread_local! {
    /// This thread is in the tracker: what it allocates now is the tracker's own.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: memory is the system allocator's, with the layouts that it is asked for.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        let pointer = unsafe { System.alloc(layout) };
        note(pointer, layout.size());
        pointer
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        note(pointer, layout.size());
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // Before the memory is somebody else's.
        forget(pointer);
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) };
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        forget(pointer);
        // SAFETY: the caller's.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        // Where it fails the old memory is still there.
        let (pointer, size) = if moved.is_null() {
            (pointer, layout.size())
        } else {
            (moved, size)
        };
        note(pointer, size);
        moved
    }
}

/// What has been allocated since [`track`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heap {
    /// Allocations, those that grew or shrank among them.
    pub allocations: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Those of each class of sizes: allocations, and their bytes. The k-th has sizes above 2^(k − 1) and up to 2^k.
    pub classes: Vec<(u64, u64)>,
    /// Bytes that are not freed.
    pub live_bytes: u64,
    /// The most that ever was.
    pub peak_live_bytes: u64,
    /// Who allocated, the most bytes first.
    pub sites: Vec<Site>,
}

/// All allocations with one stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The calls, the innermost first, the allocator's own among them.
    pub addresses: Vec<u64>,
    /// How often.
    pub allocations: u64,
    /// How much.
    pub bytes: u64,
    /// How many are not freed.
    pub live: u64,
    /// How much of it is not freed.
    pub live_bytes: u64,
}

/// From now on allocations are noted. What was noted before is lost.
pub fn track() {
    let _inside = Inside::enter();
    *tracked() = Some(Tracked::default());
    WATCHES.fetch_or(TRACKS, Ordering::Release);
}

/// What has been noted so far.
pub fn so_far() -> Heap {
    let _inside = Inside::enter();
    tracked().as_ref().map(Tracked::heap).unwrap_or_default()
}

/// Ends tracking, and gives what was noted.
pub fn stop() -> Heap {
    let _inside = Inside::enter();
    WATCHES.fetch_and(!TRACKS, Ordering::Release);
    let ended = tracked().take();
    ended.as_ref().map(Tracked::heap).unwrap_or_default()
}

/// What the system's allocator has of the system and nobody holds, in bytes; `None` where it does not say.
pub fn free_bytes() -> Option<u64> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: it reads the allocator's own counts, under its locks.
        let info = unsafe { libc::mallinfo2() };
        Some(info.fordblks as u64)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    None
}

/// Marks this thread as being in the tracker, until it is dropped.
struct Inside {
    was: bool,
}

impl Inside {
    fn enter() -> Self {
        Self {
            was: INSIDE.replace(true),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(self.was);
    }
}

fn tracked() -> MutexGuard<'static, Option<Tracked>> {
    TRACKED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[inline]
fn note(pointer: *mut u8, size: usize) {
    let watches = WATCHES.load(Ordering::Relaxed);
    if watches != 0 && !pointer.is_null() && !INSIDE.get() {
        note_for(watches, pointer, size);
    }
}

fn note_for(watches: u8, pointer: *mut u8, size: usize) {
    if watches & SAMPLES != 0 {
        sampled::allocated(pointer, size);
    }
    if watches & ASKS != 0 {
        HAS_ANSWERED.store(true, Ordering::Relaxed);
    }
    if watches & TRACKS != 0 {
        let _inside = Inside::enter();
        let mut stack = [0; DEEPEST];
        let depth = capture(&mut stack);
        if let Some(tracked) = tracked().as_mut() {
            tracked.allocated(pointer as usize, size as u64, &stack[..depth]);
        }
    }
}

#[inline]
fn forget(pointer: *mut u8) {
    let watches = WATCHES.load(Ordering::Relaxed);
    if watches == 0 || INSIDE.get() {
        return;
    }
    if watches & SAMPLES != 0 {
        sampled::released(pointer);
    }
    if watches & TRACKS != 0 {
        let _inside = Inside::enter();
        if let Some(tracked) = tracked().as_mut() {
            tracked.freed(pointer as usize);
        }
    }
}

/// Whether [`Counting`] is this program's allocator: an allocation is made, and looked for.
pub fn is_installed() -> bool {
    HAS_ANSWERED.store(false, Ordering::Relaxed);
    WATCHES.fetch_or(ASKS, Ordering::Release);
    drop(std::hint::black_box(Box::new(1_u64)));
    WATCHES.fetch_and(!ASKS, Ordering::Release);
    HAS_ANSWERED.load(Ordering::Relaxed)
}

/// The calls of this thread; how many.
fn capture(stack: &mut [u64]) -> usize {
    let mut depth = 0;
    let keep = |frame: &backtrace::Frame| {
        stack[depth] = frame.ip() as u64;
        depth += 1;
        depth < stack.len()
    };
    // SAFETY: unwinding by the tables of the binary touches nothing that threads share; what must not run at once is looking up names.
    unsafe { backtrace::trace_unsynchronized(keep) };
    depth
}

#[derive(Default)]
struct Tracked {
    sites: Vec<Site>,
    by_stack: HashMap<Vec<u64>, u32>,
    /// By address: the site, and the size.
    live: HashMap<usize, (u32, u64)>,
    classes: Vec<(u64, u64)>,
    live_bytes: u64,
    peak_live_bytes: u64,
}

impl Tracked {
    fn allocated(&mut self, address: usize, size: u64, stack: &[u64]) {
        let site = if let Some(&site) = self.by_stack.get(stack) {
            site
        } else {
            let site = self.sites.len() as u32;
            self.by_stack.insert(stack.to_vec(), site);
            self.sites.push(Site {
                addresses: stack.to_vec(),
                ..Site::default()
            });
            site
        };
        let of_site = &mut self.sites[site as usize];
        of_site.allocations += 1;
        of_site.bytes += size;
        of_site.live += 1;
        of_site.live_bytes += size;
        let class = size.next_power_of_two().trailing_zeros() as usize;
        self.classes.resize(CLASSES, (0, 0));
        let (count, bytes) = &mut self.classes[class.min(CLASSES - 1)];
        *count += 1;
        *bytes += size;
        self.live.insert(address, (site, size));
        self.live_bytes += size;
        self.peak_live_bytes = self.peak_live_bytes.max(self.live_bytes);
    }

    fn freed(&mut self, address: usize) {
        // What was allocated before is not known.
        let Some((site, size)) = self.live.remove(&address) else {
            return;
        };
        let site = &mut self.sites[site as usize];
        site.live -= 1;
        site.live_bytes -= size;
        self.live_bytes -= size;
    }

    fn heap(&self) -> Heap {
        let mut sites = self.sites.clone();
        sites.sort_by(|a, b| {
            b.bytes
                .cmp(&a.bytes)
                .then_with(|| a.addresses.cmp(&b.addresses))
        });
        Heap {
            allocations: sites.iter().map(|site| site.allocations).sum(),
            bytes: sites.iter().map(|site| site.bytes).sum(),
            classes: self.classes.clone(),
            live_bytes: self.live_bytes,
            peak_live_bytes: self.peak_live_bytes,
            sites,
        }
    }
}

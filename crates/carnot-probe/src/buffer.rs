//! Where events go: each thread writes to chunks of its own; the drain reads them from outside.
//!
//! [`chunk`] says how a chunk is filled and read. No lock and no read-modify-write is on the hot path.

mod chunk;

use std::cell::{Cell, UnsafeCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::site::SiteId;

/// No layer, request, …
pub(crate) const NONE: u32 = u32::MAX;

/// One event, a cache line. Events that are no spans use the fields as `event.rs` says.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Event {
    pub start: u64,
    pub end: u64,
    pub site: SiteId,
    pub track: u32,
    pub layer: u32,
    pub tokens: u32,
    pub flops: u64,
    pub bytes: u64,
    pub working_set_bytes: u64,
    /// Sequence in the upper half, request in the lower half; `NONE` for neither.
    pub sequence_and_request: u64,
}

const CHUNK_EVENTS: usize = 2048;

type Chunk = chunk::Chunk<Event, CHUNK_EVENTS>;

fn new_chunk() -> Arc<Chunk> {
    Arc::new(Chunk::new(NONE))
}

/// A chunk whose every page has been written.
fn touched_chunk() -> Arc<Chunk> {
    let mut chunk = new_chunk();
    let only = Arc::get_mut(&mut chunk).expect("a new chunk has no other owner");
    // SAFETY: zeros are a valid, unread, event.
    only.touch(4096 / size_of::<Event>(), || unsafe { std::mem::zeroed() });
    chunk
}

/// A chunk and how much of it was drained.
struct Filed {
    chunk: Arc<Chunk>,
    drained: usize,
}

static CHUNKS: Mutex<Vec<Filed>> = Mutex::new(Vec::new());
/// Empty chunks whose pages have been touched, so that recording does not pay for page faults.
static FREE: Mutex<Vec<Arc<Chunk>>> = Mutex::new(Vec::new());
static TRACKS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LIMIT_CHUNKS: AtomicUsize = AtomicUsize::new(256 * 1024 * 1024 / size_of::<Chunk>());
/// Lost events by the number of their site.
static DROPPED: Mutex<BTreeMap<u32, u64>> = Mutex::new(BTreeMap::new());

thread_local! {
    static CURRENT: Cell<Option<&'static Chunk>> = const { Cell::new(None) };
    static OWN_TRACK: Cell<u32> = const { Cell::new(NONE) };
    static OWNED: Owned = const { Owned(UnsafeCell::new(None)) };
}

/// Keeps this thread's chunk alive; when the thread ends, `CURRENT` is cleared before the chunk can go.
struct Owned(UnsafeCell<Option<Arc<Chunk>>>);

impl Drop for Owned {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bounds the memory of all events that wait to be drained; 256 MiB unless told otherwise. At least one chunk a thread.
pub fn set_limit(bytes: usize) {
    LIMIT_CHUNKS.store((bytes / size_of::<Chunk>()).max(1), Ordering::Relaxed);
}

/// Makes room for `events` events ahead of time and touches it, so that recording them takes no page fault.
pub fn reserve(events: usize) {
    let chunks: Vec<_> = (0..events.div_ceil(CHUNK_EVENTS))
        .map(|_| touched_chunk())
        .collect();
    lock(&FREE).extend(chunks);
}

fn empty_chunk(track: u32) -> Arc<Chunk> {
    let mut chunk = lock(&FREE).pop().unwrap_or_else(new_chunk);
    let only = Arc::get_mut(&mut chunk).expect("a chunk on the free list has no other owner");
    only.reset(track);
    chunk
}

/// A track of its own, beside those of threads.
pub(crate) fn new_track(name: String) -> u32 {
    let mut tracks = lock(&TRACKS);
    tracks.push(name);
    tracks.len() as u32 - 1
}

/// Names this thread's own track, for threads that the standard library knows no name of. Too late once it has recorded something.
pub fn name_thread(name: &str) {
    if OWN_TRACK.get() == NONE {
        OWN_TRACK.set(new_track(name.to_owned()));
    }
}

/// Names of all tracks, in the order of their numbers.
pub(crate) fn tracks() -> Vec<String> {
    lock(&TRACKS).clone()
}

/// Appends an event of this thread; `event.track` of [`NONE`] stands for the thread's own track.
#[inline]
pub(crate) fn push(event: Event) {
    let pushed = CURRENT.with(|current| current.get().is_some_and(|chunk| chunk.push(event)));
    if !pushed {
        push_to_new_chunk(event);
    }
}

#[cold]
fn push_to_new_chunk(event: Event) {
    let track = OWN_TRACK.get();
    let track = if track == NONE {
        let name = std::thread::current()
            .name()
            .map_or_else(|| "thread".to_owned(), str::to_owned);
        let track = new_track(name);
        OWN_TRACK.set(track);
        track
    } else {
        track
    };
    let mut chunks = lock(&CHUNKS);
    if chunks.len() >= LIMIT_CHUNKS.load(Ordering::Relaxed) {
        drop(chunks);
        *lock(&DROPPED).entry(event.site.0).or_default() += 1;
        return;
    }
    let chunk = empty_chunk(track);
    chunks.push(Filed {
        chunk: Arc::clone(&chunk),
        drained: 0,
    });
    drop(chunks);
    chunk.push(event);
    // SAFETY: the reference lives in `CURRENT` of this thread, and `OWNED` keeps the chunk alive until `CURRENT` moves on
    // or the thread ends.
    let current: &'static Chunk = unsafe { &*Arc::as_ptr(&chunk) };
    CURRENT.set(Some(current));
    // SAFETY: only this thread touches its cell, and no reference into it is alive.
    OWNED.with(|owned| unsafe { *owned.0.get() = Some(chunk) });
}

/// What was recorded since the last time.
pub(crate) struct Taken {
    /// Events, each with the track of its thread where it named none.
    pub events: Vec<Event>,
    /// For each track that another one's thread recorded on, that one.
    pub recorded_by: HashMap<u32, u32>,
    /// Events lost for want of memory, by the number of their site.
    pub dropped: BTreeMap<u32, u64>,
}

/// Takes every event that was not taken before.
pub(crate) fn take() -> Taken {
    let mut events = Vec::new();
    let mut recorded_by = HashMap::new();
    let mut chunks = lock(&CHUNKS);
    for filed in chunks.iter_mut() {
        let new = filed.chunk.read_from(filed.drained);
        filed.drained += new.len();
        let own = filed.chunk.track();
        for mut event in new {
            if event.track == NONE {
                event.track = own;
            } else {
                recorded_by.insert(event.track, own);
            }
            events.push(event);
        }
    }
    // A full and drained chunk is finished; its thread has moved on or will at its next event.
    let finished: Vec<Filed> = chunks
        .extract_if(.., |filed| filed.drained == CHUNK_EVENTS)
        .collect();
    drop(chunks);
    let reusable = finished
        .into_iter()
        .map(|filed| filed.chunk)
        .filter(|chunk| Arc::strong_count(chunk) == 1);
    lock(&FREE).extend(reusable);
    Taken {
        events,
        recorded_by,
        dropped: std::mem::take(&mut *lock(&DROPPED)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(start: u64) -> Event {
        Event {
            start,
            end: start,
            site: SiteId(0),
            track: NONE,
            layer: NONE,
            tokens: 0,
            flops: 0,
            bytes: 0,
            working_set_bytes: 0,
            sequence_and_request: u64::MAX,
        }
    }

    #[test]
    fn an_event_is_one_cache_line() {
        assert_eq!(size_of::<Event>(), 64);
    }

    #[test]
    fn a_reader_sees_a_prefix_of_what_was_written() {
        let chunk = new_chunk();
        std::thread::scope(|scope| {
            let writer = Arc::clone(&chunk);
            scope.spawn(move || {
                (0..CHUNK_EVENTS as u64).for_each(|index| assert!(writer.push(event(index))));
            });
            let mut seen = 0;
            while seen < CHUNK_EVENTS {
                let new = chunk.read_from(seen);
                for (offset, event) in new.iter().enumerate() {
                    assert_eq!(event.start, (seen + offset) as u64);
                }
                seen += new.len();
            }
        });
        assert!(!chunk.push(event(0)), "a full chunk takes no more");
    }
}

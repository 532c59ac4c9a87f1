//! A chunk: filled once by the thread that owns it, from front to back, and read by another below its length.
//!
//! The writer stores an event, then the new length with release ordering; the reader loads the length with acquire ordering and reads
//! below it. All orders that the memory model allows are tried by
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release -p carnot-probe --lib chunk
//! ```

use std::mem::MaybeUninit;

#[cfg(all(test, loom))]
use loom::cell::UnsafeCell;
#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicUsize, Ordering};
#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicUsize, Ordering};

/// The part of loom's cell that is used here.
#[cfg(not(all(test, loom)))]
struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(all(test, loom)))]
impl<T> UnsafeCell<T> {
    const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    #[inline]
    fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

pub(super) struct Chunk<T, const N: usize> {
    track: u32,
    length: AtomicUsize,
    slots: [UnsafeCell<MaybeUninit<T>>; N],
}

// SAFETY: one thread writes slots at and above `length`; others read only below it, after an acquire load.
unsafe impl<T: Send, const N: usize> Sync for Chunk<T, N> {}
// SAFETY: what the slots hold may be sent.
unsafe impl<T: Send, const N: usize> Send for Chunk<T, N> {}

impl<T: Copy, const N: usize> Chunk<T, N> {
    #[cfg(not(all(test, loom)))]
    pub fn new(track: u32) -> Self {
        Self {
            track,
            length: AtomicUsize::new(0),
            slots: [const { UnsafeCell::new(MaybeUninit::uninit()) }; N],
        }
    }

    #[cfg(all(test, loom))]
    pub fn new(track: u32) -> Self {
        Self {
            track,
            length: AtomicUsize::new(0),
            slots: std::array::from_fn(|_| UnsafeCell::new(MaybeUninit::uninit())),
        }
    }

    /// Writes every `step`-th slot, which stays unread.
    pub fn touch(&mut self, step: usize, value: impl Fn() -> T) {
        for slot in self.slots.iter().step_by(step) {
            // SAFETY: nobody else has the chunk.
            slot.with_mut(|slot| unsafe { (*slot).write(value()) });
        }
    }

    /// Makes it empty, and another track's.
    pub fn reset(&mut self, track: u32) {
        self.track = track;
        // Nobody else has the chunk, so that the order is the caller's.
        self.length.store(0, Ordering::Relaxed);
    }

    /// Whose it is.
    pub fn track(&self) -> u32 {
        self.track
    }

    /// Appends a value unless the chunk is full. Only the owning thread may call this.
    #[inline]
    pub fn push(&self, value: T) -> bool {
        let length = self.length.load(Ordering::Relaxed);
        let Some(slot) = self.slots.get(length) else {
            return false;
        };
        // SAFETY: slots at and above `length` belong to the owning thread, which is the caller.
        slot.with_mut(|slot| unsafe { (*slot).write(value) });
        self.length.store(length + 1, Ordering::Release);
        true
    }

    /// All values from the `first` on that are there.
    pub fn read_from(&self, first: usize) -> Vec<T> {
        let length = self.length.load(Ordering::Acquire);
        let slots = self.slots[first.min(length)..length].iter();
        // SAFETY: slots below an acquired length are written and never written again.
        slots
            .map(|slot| slot.with(|slot| unsafe { (*slot).assume_init() }))
            .collect()
    }
}

#[cfg(all(test, loom))]
mod tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// The reader looks twice while the writer fills the chunk.
    #[test]
    fn in_every_order_a_reader_sees_what_was_written_before_the_length() {
        loom::model(|| {
            let chunk = Arc::new(Chunk::<u64, 3>::new(0));
            let writer = Arc::clone(&chunk);
            let filling = thread::spawn(move || {
                for value in 0..3 {
                    assert!(writer.push(value * 7));
                }
                assert!(!writer.push(21));
            });
            let mut seen = chunk.read_from(0);
            seen.extend(chunk.read_from(seen.len()));
            let expected: Vec<u64> = (0..seen.len() as u64).map(|value| value * 7).collect();
            assert_eq!(seen, expected);
            filling.join().unwrap();
            assert_eq!(chunk.read_from(0), [0, 7, 14]);
        });
    }
}

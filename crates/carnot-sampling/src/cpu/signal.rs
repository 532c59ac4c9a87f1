//! The signal that asks a thread for its registers and its stack, and the one place where it leaves them.
//!
//! The handler takes no lock, allocates nothing and calls what a handler may call: `gettid`, `process_vm_readv`, `sem_post`. The stack is copied by the
//! kernel, which stops where nothing is mapped: what lay beyond a stack's end a moment ago may be gone. The sampler's thread asks one thread at a time
//! and waits for it; a thread that answers after the sampler gave it up finds that nobody asks.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use super::CannotSample;

/// As much of a stack is read, from its top.
const STACK_BYTES: usize = 256 << 10;
/// The kernel copies a piece whole or not at all; a page is in one mapping.
const PAGE: usize = 4096;
const PIECES: usize = STACK_BYTES / PAGE + 1;
/// A thread that runs answers within microseconds, one that others keep from a core within their time slices.
const PATIENCE: Duration = Duration::from_millis(100);

/// Nobody is asked.
const NOBODY: i32 = 0;
/// Who was asked is answering.
const ANSWERING: i32 = -1;

/// Registers and stack of a thread, as they were.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub ip: u64,
    pub sp: u64,
    pub bp: u64,
    /// From `sp` on.
    stack: &'a [u8],
}

impl Answer<'_> {
    /// The word at an address of the stack.
    pub fn word(&self, address: u64) -> Result<u64, ()> {
        let at = address.checked_sub(self.sp).ok_or(())? as usize;
        let bytes = self.stack.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map(|bytes| u64::from_le_bytes(*bytes)).ok_or(())
    }
}

/// What the handler writes and the sampler reads, never at once: `asked` says whose turn it is.
struct Slot {
    asked: AtomicI32,
    /// Where the stack of who is asked ends.
    end: AtomicU64,
    done: UnsafeCell<MaybeUninit<libc::sem_t>>,
    registers: UnsafeCell<[u64; 3]>,
    length: UnsafeCell<usize>,
    stack: UnsafeCell<[u8; STACK_BYTES]>,
}

// SAFETY: see `asked`: the handler writes after it took the slot, the sampler reads after `done` was posted and before it asks again.
unsafe impl Sync for Slot {}

static SLOT: Slot = Slot {
    asked: AtomicI32::new(NOBODY),
    end: AtomicU64::new(0),
    done: UnsafeCell::new(MaybeUninit::uninit()),
    registers: UnsafeCell::new([0; 3]),
    length: UnsafeCell::new(0),
    stack: UnsafeCell::new([0; STACK_BYTES]),
};
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The right to ask, of which there is one.
pub struct Asker {
    slot: &'static Slot,
}

impl Asker {
    /// Sets the handler, which stays: a signal that is on its way when all is over must not end the process.
    pub fn new() -> Result<Self, CannotSample> {
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Err(CannotSample::Running);
        }
        let asker = Self { slot: &SLOT };
        // SAFETY: the semaphore is used by nobody yet, or was used by an asker that is gone and by handlers that have answered.
        let made = unsafe { libc::sem_init(SLOT.done.get().cast(), 0, 0) };
        refused(made, "making a semaphore")?;
        let mut action: libc::sigaction =
            // SAFETY: a structure of the system of which zeros are a value.
            unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        // SAFETY: the handler does what a handler may do.
        let set = unsafe { libc::sigaction(libc::SIGPROF, &raw const action, ptr::null_mut()) };
        refused(set, "handling SIGPROF")?;
        Ok(asker)
    }

    /// Asks a thread of this process, whose stack ends at `end`, and gives what it answers to `read`; `None` where it does not.
    /// Where `end` is 0 it answers with its registers alone.
    pub fn ask<R>(&mut self, thread: i32, end: u64, read: impl FnOnce(Answer) -> R) -> Option<R> {
        self.slot.end.store(end, Ordering::Relaxed);
        self.slot.asked.store(thread, Ordering::Release);
        // SAFETY: the handler is set.
        let sent =
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGPROF) };
        if sent != 0 || !answered() {
            let asked = &self.slot.asked;
            let given_up =
                asked.compare_exchange(thread, NOBODY, Ordering::AcqRel, Ordering::Acquire);
            if given_up.is_ok() {
                return None;
            }
            // It has begun to answer, and posts in no time.
            while !answered() {}
        }
        // SAFETY: the handler has answered, and nobody is asked until this one has been read.
        let ([ip, sp, bp], length) =
            unsafe { (*self.slot.registers.get(), *self.slot.length.get()) };
        // SAFETY: so many bytes were written, see above.
        let stack =
            unsafe { std::slice::from_raw_parts(self.slot.stack.get().cast::<u8>(), length) };
        let result = read(Answer { ip, sp, bp, stack });
        self.slot.asked.store(NOBODY, Ordering::Release);
        Some(result)
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

/// Waits until `done` is posted, for [`PATIENCE`] at most.
fn answered() -> bool {
    // SAFETY: a structure of the system of which zeros are a value.
    let mut until: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: it is written to.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut until) };
    let nanoseconds = until.tv_nsec + i64::from(PATIENCE.subsec_nanos());
    until.tv_sec += nanoseconds / 1_000_000_000;
    until.tv_nsec = nanoseconds % 1_000_000_000;
    // SAFETY: the semaphore was made by `Asker::new`.
    unsafe { libc::sem_timedwait(SLOT.done.get().cast(), &raw const until) == 0 }
}

extern "C" fn handler(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: it has no arguments and says which thread this is.
    let this = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
    let asked = &SLOT.asked;
    if asked
        .compare_exchange(this, ANSWERING, Ordering::AcqRel, Ordering::Relaxed)
        .is_err()
    {
        return;
    }
    // SAFETY: the system hands a context to a handler with `SA_SIGINFO`.
    let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let register = |index: i32| registers[index as usize] as u64;
    let sp = register(libc::REG_RSP);
    let left = SLOT.end.load(Ordering::Relaxed).saturating_sub(sp);
    let wanted = (left as usize).min(STACK_BYTES);
    // SAFETY: the slot is this handler's, and outlives it.
    unsafe {
        *SLOT.registers.get() = [register(libc::REG_RIP), sp, register(libc::REG_RBP)];
        *SLOT.length.get() = copy(sp as usize, wanted);
        // It sets `errno` only where the semaphore is not one.
        libc::sem_post(SLOT.done.get().cast());
    }
}

/// Copies from this process into the slot, page by page, until something is not there; how many bytes.
///
/// # Safety
/// The slot is the caller's.
unsafe fn copy(from: usize, wanted: usize) -> usize {
    let nothing = libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    };
    let mut pages = [nothing; PIECES];
    let (mut at, mut count) = (from, 0);
    while at < from + wanted {
        let end = ((at / PAGE + 1) * PAGE).min(from + wanted);
        pages[count] = libc::iovec {
            iov_base: at as *mut c_void,
            iov_len: end - at,
        };
        (at, count) = (end, count + 1);
    }
    let slot = libc::iovec {
        iov_base: SLOT.stack.get().cast(),
        iov_len: wanted,
    };
    // SAFETY: the kernel checks what is read; the slot takes so many bytes. `errno` of who was interrupted is put back.
    unsafe {
        let errno = *libc::__errno_location();
        let copied = libc::process_vm_readv(
            libc::getpid(),
            &raw const slot,
            1,
            pages.as_ptr(),
            count as libc::c_ulong,
            0,
        );
        *libc::__errno_location() = errno;
        copied.max(0) as usize
    }
}

fn refused(result: c_int, what: &'static str) -> Result<(), CannotSample> {
    if result == 0 {
        return Ok(());
    }
    TAKEN.store(false, Ordering::Release);
    Err(CannotSample::Refused {
        what,
        error: std::io::Error::last_os_error().to_string(),
    })
}

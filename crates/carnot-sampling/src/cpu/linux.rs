//! The sampler's thread: who runs, what it used since its last sample, and where it is.

use std::fs;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use framehop::Unwinder as _;
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};

use super::modules::unwinder;
use super::signal::{Answer, Asker};
use super::{CannotSample, Counted, Samples};

/// Threads are looked for this often.
const LOOK: Duration = Duration::from_millis(20);
/// Calls that are kept of a stack.
const DEEPEST: usize = 256;

#[derive(Debug)]
pub struct Running {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Samples>>,
}

impl Running {
    pub fn start(rate: f64) -> Result<Self, CannotSample> {
        let asker = Asker::new()?;
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let period = Duration::from_secs_f64(1.0 / rate.clamp(1.0, 10_000.0));
        let thread = std::thread::Builder::new().name("sampler".to_owned());
        let thread = thread.spawn(move || Sampling::new(asker).run(period, &told));
        let thread = thread.map_err(|error| CannotSample::Refused {
            what: "starting a thread",
            error: error.to_string(),
        })?;
        Ok(Self {
            ends,
            thread: Some(thread),
        })
    }

    pub fn stop(mut self) -> Samples {
        let samples = self.join().expect("it is joined once");
        samples.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn join(&mut self) -> Option<std::thread::Result<Samples>> {
        self.ends.store(true, Ordering::Release);
        Some(self.thread.take()?.join())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Who lets go of it wants no samples, and hears of no panic.
        drop(self.join());
    }
}

/// A thread that is sampled.
struct Known {
    id: i32,
    /// Index of its name, as it was when it was first sampled: a thread has its name some µs after it is there.
    name: u32,
    /// Where its stack ends; 0 until it was asked.
    stack_end: u64,
    /// Its processor time when it was sampled.
    sampled_ns: u64,
}

struct Sampling {
    asker: Asker,
    unwinder: UnwinderX86_64<Vec<u8>>,
    cache: CacheX86_64,
    own: i32,
    known: Vec<Known>,
    names: Vec<String>,
    counted: Counted,
    samples: Samples,
}

impl Sampling {
    fn new(asker: Asker) -> Self {
        Self {
            asker,
            unwinder: unwinder(),
            cache: CacheX86_64::new(),
            // SAFETY: it has no arguments and says which thread this is.
            own: unsafe { libc::syscall(libc::SYS_gettid) } as i32,
            known: Vec::new(),
            names: Vec::new(),
            counted: Counted::default(),
            samples: Samples::default(),
        }
    }

    fn run(mut self, period: Duration, ends: &AtomicBool) -> Samples {
        let begin = Instant::now();
        let own_begin = cpu_ns(self.own).unwrap_or(0);
        self.look(false);
        let (mut due, mut looked) = (begin, begin);
        while !ends.load(Ordering::Acquire) {
            due += period;
            let now = Instant::now();
            let missed = (now - due.min(now)).as_secs_f64() / period.as_secs_f64();
            self.samples.missed += missed as u64;
            due += (missed as u32) * period;
            std::thread::sleep(due.saturating_duration_since(now));
            if looked.elapsed() > LOOK {
                self.look(true);
                looked = Instant::now();
            }
            self.sample_all();
        }
        self.samples.wall_ns = begin.elapsed().as_nanos() as u64;
        self.samples.sampler_ns = cpu_ns(self.own).unwrap_or(0) - own_begin;
        self.samples.threads = self.names;
        self.samples.stacks = self.counted.into_stacks();
        self.samples
    }

    /// Takes in threads that are new. What a thread used before the sampler began is not counted, what one used that came later is.
    fn look(&mut self, from_nothing: bool) {
        let Ok(entries) = fs::read_dir("/proc/self/task") else {
            return;
        };
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let ids: Vec<i32> = ids.filter(|&id| id != self.own).collect();
        self.known.retain(|thread| ids.contains(&thread.id));
        for id in ids {
            if self.known.iter().any(|thread| thread.id == id) {
                continue;
            }
            let Some(used) = cpu_ns(id) else { continue };
            self.known.push(Known {
                id,
                name: 0,
                stack_end: 0,
                sampled_ns: if from_nothing { 0 } else { used },
            });
        }
    }

    fn sample_all(&mut self) {
        let Self {
            asker,
            unwinder,
            cache,
            known,
            names,
            counted,
            samples,
            ..
        } = self;
        for thread in known {
            let Some(used) = cpu_ns(thread.id) else {
                continue;
            };
            if used == thread.sampled_ns || !runs(thread.id) {
                continue;
            }
            if thread.stack_end == 0 {
                let sp = asker.ask(thread.id, 0, |answer| answer.sp);
                thread.stack_end = sp.and_then(end_of_mapping).unwrap_or(0);
                thread.name = index_of_name(names, thread.id);
            }
            let mut stack = Vec::new();
            let whole = asker.ask(thread.id, thread.stack_end, |answer| {
                walk(unwinder, cache, &answer, &mut stack)
            });
            let Some(whole) = whole else {
                samples.unanswered += 1;
                continue;
            };
            samples.count += 1;
            samples.cut += u64::from(!whole);
            counted.add(thread.name, &stack, used - thread.sampled_ns);
            thread.sampled_ns = used;
        }
    }
}

/// The index of a thread's name; threads of one name are one.
fn index_of_name(names: &mut Vec<String>, id: i32) -> u32 {
    let name = fs::read_to_string(format!("/proc/self/task/{id}/comm")).unwrap_or_default();
    let name = name.trim();
    let index = names.iter().position(|known| known == name);
    index.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    }) as u32
}

/// The addresses of an answer's stack; whether they reach its beginning.
fn walk(
    unwinder: &UnwinderX86_64<Vec<u8>>,
    cache: &mut CacheX86_64,
    answer: &Answer,
    stack: &mut Vec<u64>,
) -> bool {
    let registers = UnwindRegsX86_64::new(answer.ip, answer.sp, answer.bp);
    let mut read = |address| answer.word(address);
    let mut frames = unwinder.iter_frames(answer.ip, registers, cache, &mut read);
    while stack.len() < DEEPEST {
        match frames.next() {
            // One more than the address of the call, as that of the return is: names are looked up one below.
            Ok(Some(frame)) => stack.push(frame.address_for_lookup() + 1),
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
    false
}

/// Processor time of a thread of this process; `None` if it is gone.
fn cpu_ns(thread: i32) -> Option<u64> {
    // How the kernel makes the clock of a thread from its id: per thread (4), as the scheduler counts (2).
    let clock = (!thread << 3) | 6;
    // SAFETY: a structure of the system of which zeros are a value.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: it is written to.
    let read = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (read == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Whether a thread is on a core, or waits for nothing else.
fn runs(thread: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat"));
    // `12 (name) R …`, and a name may hold anything.
    stat.is_ok_and(|stat| {
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('R'))
    })
}

/// Where the mapping ends that an address is in.
fn end_of_mapping(address: u64) -> Option<u64> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (begin, rest) = line.split_once('-')?;
        let end = rest.split(' ').next()?;
        let [begin, end] = [begin, end].map(|text| u64::from_str_radix(text, 16));
        let range = begin.ok()?..end.ok()?;
        range.contains(&address).then_some(range.end)
    })
}

//! Where processor time goes: the stacks of all threads of this process, sampled while they run.
//!
//! A thread of the sampler wakes [`RATE`] times a second. For each other thread that runs just then it sends that thread a signal, whose handler
//! copies registers and stack, and nothing else; the stack is walked by the sampler's thread from the copy, by the unwind tables of the binary. A
//! sample weighs what processor time its thread used since its sample before: weights add up to the time that was used, whatever the rate and however late
//! the samples came. Threads that wait are left alone.
//!
//! | cost | |
//! |---|---|
//! | in the thread that is sampled | a signal and a copy of its stack, for each sample |
//! | in the sampler's thread | told as [`Samples::sampler_ns`] |
//!
//! Linux on x86-64; elsewhere [`Sampler::start`] says that it cannot.

use std::collections::BTreeMap;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod modules;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod signal;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "cpu/linux.rs"]
mod system;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[path = "cpu/elsewhere.rs"]
mod system;

/// Samples a second where nobody says: no divisor of what programs do at round rates.
pub const RATE: f64 = 997.0;

/// Why there are no samples.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotSample {
    /// Stacks are read on this system only.
    #[error("sampling the processor: expected Linux on x86-64, got {0}")]
    System(&'static str),
    /// One at a time: there is one handler of the signal.
    #[error("sampling the processor: another sampler of this process runs")]
    Running,
    /// The system refused something.
    #[error("sampling the processor: {what}: {error}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// What it said.
        error: String,
    },
}

/// A sampler that runs until it is stopped, or dropped.
#[derive(Debug)]
pub struct Sampler {
    system: system::Running,
}

impl Sampler {
    /// Begins to sample all threads, `rate` times a second. Of each stack the 256 KiB next to its end are read.
    pub fn start(rate: f64) -> Result<Self, CannotSample> {
        system::Running::start(rate).map(|system| Self { system })
    }

    /// Ends it, and gives what it saw.
    pub fn stop(self) -> Samples {
        self.system.stop()
    }
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Stacks that were seen, each thread's apart.
    pub stacks: Vec<Stack>,
    /// Threads by the index that stacks name.
    pub threads: Vec<String>,
    /// Samples that were taken.
    pub count: u64,
    /// Moments that passed before the sampler came to them.
    pub missed: u64,
    /// Samples whose thread did not answer in time.
    pub unanswered: u64,
    /// Stacks that could not be followed to their beginning.
    pub cut: u64,
    /// How long it ran.
    pub wall_ns: u64,
    /// Processor time that the sampler's own thread took of it.
    pub sampler_ns: u64,
}

/// A stack of one thread, and what it weighs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// Index of the thread's name.
    pub thread: u32,
    /// The innermost first. Each is such that [`symbols`](crate::symbols) finds the call, not what follows it.
    pub addresses: Vec<u64>,
    /// Processor time.
    pub cpu_ns: u64,
    /// How often it was seen.
    pub count: u64,
}

/// Stacks that are being counted.
#[cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64")),
    expect(dead_code, reason = "nobody samples there")
)]
#[derive(Debug, Default)]
struct Counted {
    stacks: BTreeMap<(u32, Vec<u64>), (u64, u64)>,
}

#[cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64")),
    expect(dead_code, reason = "nobody samples there")
)]
impl Counted {
    fn add(&mut self, thread: u32, addresses: &[u64], cpu_ns: u64) {
        let (time, count) = self.stacks.entry((thread, addresses.to_vec())).or_default();
        *time += cpu_ns;
        *count += 1;
    }

    fn into_stacks(self) -> Vec<Stack> {
        let stack = |((thread, addresses), (cpu_ns, count))| Stack {
            thread,
            addresses,
            cpu_ns,
            count,
        };
        self.stacks.into_iter().map(stack).collect()
    }
}

//! One clock for every thread: the time-stamp counter where it runs at a constant rate, else the system's clock.
//!
//! Ticks are recorded raw; the rate is calibrated against the system's clock between the start of the recording and
//! the drain, so that the longer a recording is, the better its scale.

use std::sync::OnceLock;
use std::time::Instant;

/// The two clocks are read together so many times, and the closest pair is taken: a thread can lose its processor between two readings.
const READINGS: usize = 16;

static START: OnceLock<Moment> = OnceLock::new();

/// The present, in ticks of an unknown unit that never runs backwards.
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    if is_tsc() {
        // SAFETY: every x86-64 processor has the instruction.
        return unsafe { std::arch::x86_64::_rdtsc() };
    }
    system_ns()
}

/// Whether ticks are the time-stamp counter, which the processor promises to run at a constant rate on all cores.
#[inline]
pub fn is_tsc() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use std::sync::atomic::{AtomicU8, Ordering};
        static INVARIANT: AtomicU8 = AtomicU8::new(2);
        match INVARIANT.load(Ordering::Relaxed) {
            2 => {
                let invariant = has_invariant_tsc();
                INVARIANT.store(u8::from(invariant), Ordering::Relaxed);
                invariant
            }
            known => known == 1,
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

#[cfg(target_arch = "x86_64")]
#[cold]
fn has_invariant_tsc() -> bool {
    use std::arch::x86_64::__cpuid;
    let leaves = __cpuid(0x8000_0000).eax;
    leaves >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0
}

fn system_ns() -> u64 {
    static BASE: OnceLock<Instant> = OnceLock::new();
    BASE.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    at: Instant,
    ticks: u64,
}

impl Moment {
    fn now() -> Self {
        // Asking the processor takes tens of microseconds in a virtual machine: not between two readings.
        is_tsc();
        let readings = (0..READINGS).map(|_| (ticks(), Instant::now(), ticks()));
        Self::closest(readings).expect("some readings")
    }

    /// Of readings of the system's clock between two of the ticks, the one that is known most closely.
    fn closest(readings: impl Iterator<Item = (u64, Instant, u64)>) -> Option<Self> {
        let (before, at, after) =
            readings.min_by_key(|(before, _, after)| after.saturating_sub(*before))?;
        let ticks = before + after.saturating_sub(before) / 2;
        Some(Self { at, ticks })
    }
}

/// Notes the start of the first recording.
pub(crate) fn start() {
    START.get_or_init(Moment::now);
}

/// How to turn ticks into nanoseconds since the first recording began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    origin: u64,
    ns_per_tick: f64,
}

impl Scale {
    /// Nanoseconds since the first recording began; 0 for ticks before it.
    pub fn ns(&self, ticks: u64) -> u64 {
        (ticks.saturating_sub(self.origin) as f64 * self.ns_per_tick) as u64
    }

    /// Nanoseconds of one tick.
    pub fn ns_per_tick(&self) -> f64 {
        self.ns_per_tick
    }
}

/// Calibrates over all the time since the first recording began, at least two milliseconds.
pub fn calibrate() -> Scale {
    let begin = *START.get_or_init(Moment::now);
    while begin.at.elapsed().as_millis() < 2 {
        std::hint::spin_loop();
    }
    let now = Moment::now();
    let elapsed = (now.at - begin.at).as_nanos() as f64;
    Scale {
        origin: begin.ticks,
        ns_per_tick: elapsed / (now.ticks - begin.ticks).max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// How far the calibrated length of an interval is from the system clock's, as a share of it.
    fn disagreement() -> f64 {
        let (begin, from) = (Instant::now(), ticks());
        while begin.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let (elapsed, to) = (begin.elapsed().as_nanos() as f64, ticks());
        let scale = calibrate();
        ((scale.ns(to) - scale.ns(from)) as f64 / elapsed - 1.0).abs()
    }

    #[test]
    fn a_calibrated_interval_agrees_with_the_system_clock() {
        start();
        // The clocks are read one after the other, and a busy machine may put anything between; not ten times, though.
        let best = (0..10)
            .map(|_| disagreement())
            .fold(f64::INFINITY, f64::min);
        assert!(best < 0.01, "the clocks differ by {best}");
    }

    #[test]
    fn a_pause_between_two_readings_is_not_in_the_scale() {
        let at = Instant::now();
        let later = at + Duration::from_micros(100);
        let readings = [(1000, at, 90_000), (100_000, later, 100_040)];
        let closest = Moment::closest(readings.into_iter()).unwrap();
        let expected = Moment {
            at: later,
            ticks: 100_020,
        };
        assert_eq!(closest, expected);
    }

    #[test]
    fn ticks_do_not_run_backwards() {
        let mut last = ticks();
        for _ in 0..10_000 {
            let now = ticks();
            assert!(now >= last);
            last = now;
        }
    }
}

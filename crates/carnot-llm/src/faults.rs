//! Places where a test can make the engine panic, as a bug would, deny it what it asks for, or make it slower. They are nothing but in this crate's own
//! tests and with the feature `faults`, which only tests of the whole server and of comparisons have: there the variable `FAILPOINTS` arms them.

/// Arms what the environment says, for as long as the process lives.
#[cfg(feature = "faults")]
pub(crate) fn arm_from_environment() {
    static ARMED: std::sync::Once = std::sync::Once::new();
    // What its end would disarm, nobody wants disarmed.
    ARMED.call_once(|| std::mem::forget(fail::FailScenario::setup()));
}

/// Panics if a test wants it.
#[cfg(any(test, feature = "faults"))]
pub(crate) fn at(place: &str) {
    fail::fail_point!(place);
}

/// Whether a test wants something denied.
#[cfg(any(test, feature = "faults"))]
pub(crate) fn denies(place: &str) -> bool {
    fail::fail_point!(place, |_| true);
    false
}

/// Computes for nothing, as a slower kernel does: `FAILPOINTS=PLACE=return(N)` for N thousand additions that wait for each other.
#[cfg(any(test, feature = "faults"))]
pub(crate) fn computes(place: &str) {
    compute(wanted(place));
}

/// Waits N times for a lock that somebody else holds for a thousand additions: many short waits, so that a few percent can be planted.
#[cfg(any(test, feature = "faults"))]
pub(crate) fn contends(place: &str) {
    use std::sync::LazyLock;
    static HOLDER: LazyLock<&'static Holder> = LazyLock::new(Holder::start);
    (0..wanted(place)).for_each(|_| HOLDER.contend());
}

/// Who holds the lock: a thread that lives as long as the process, for starting one takes longer than a short wait.
#[cfg(any(test, feature = "faults"))]
#[derive(Default)]
struct Holder {
    lock: std::sync::Mutex<()>,
    /// How often it was asked to hold it.
    asked: std::sync::atomic::AtomicU64,
    /// How often it has taken it.
    taken: std::sync::atomic::AtomicU64,
}

#[cfg(any(test, feature = "faults"))]
impl Holder {
    fn start() -> &'static Self {
        let holder: &'static Self = Box::leak(Box::default());
        std::thread::spawn(|| {
            for turn in 1.. {
                holder.hold(turn);
            }
        });
        holder
    }

    fn hold(&self, turn: u64) {
        wait_for(&self.asked, turn);
        let _held = self.lock.lock();
        self.taken.store(turn, std::sync::atomic::Ordering::Release);
        compute(1);
    }

    fn contend(&self) {
        let turn = 1 + self.asked.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        wait_for(&self.taken, turn);
        drop(self.lock.lock());
    }
}

#[cfg(any(test, feature = "faults"))]
fn wait_for(count: &std::sync::atomic::AtomicU64, turn: u64) {
    while count.load(std::sync::atomic::Ordering::Acquire) < turn {
        std::thread::yield_now();
    }
}

/// Takes N kB of memory, writes to all of it, and gives it back.
#[cfg(any(test, feature = "faults"))]
pub(crate) fn allocates(place: &str) {
    let bytes = wanted(place) << 10;
    let taken = vec![1_u8; bytes as usize];
    std::hint::black_box(&taken);
}

#[cfg(any(test, feature = "faults"))]
fn wanted(place: &str) -> u64 {
    fail::fail_point!(place, |amount| amount
        .and_then(|amount| amount.parse().ok())
        .unwrap_or(0));
    0
}

#[cfg(any(test, feature = "faults"))]
fn compute(thousands: u64) {
    let additions = 0..1000 * thousands;
    additions.fold(0, |sum: u64, next| {
        std::hint::black_box(sum.wrapping_add(next))
    });
}

#[cfg(not(feature = "faults"))]
pub(crate) fn arm_from_environment() {}

#[cfg(not(any(test, feature = "faults")))]
#[inline]
pub(crate) fn at(_: &str) {}

#[cfg(not(any(test, feature = "faults")))]
#[inline]
pub(crate) fn denies(_: &str) -> bool {
    false
}

#[cfg(not(any(test, feature = "faults")))]
#[inline]
pub(crate) fn computes(_: &str) {}

#[cfg(not(any(test, feature = "faults")))]
#[inline]
pub(crate) fn contends(_: &str) {}

#[cfg(not(any(test, feature = "faults")))]
#[inline]
pub(crate) fn allocates(_: &str) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_waited_for_as_often_as_is_wanted_by_all_who_do() {
        let holder = Holder::start();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..50).for_each(|_| holder.contend()));
            }
        });
        assert_eq!(holder.taken.load(std::sync::atomic::Ordering::Acquire), 100);
    }
}

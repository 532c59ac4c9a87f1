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

/// Waits for a lock that somebody else holds for N thousand additions.
#[cfg(any(test, feature = "faults"))]
pub(crate) fn contends(place: &str) {
    let thousands = wanted(place);
    if thousands == 0 {
        return;
    }
    let lock = std::sync::Mutex::new(());
    let held = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _held = lock.lock();
            held.wait();
            compute(thousands);
        });
        held.wait();
        drop(lock.lock());
    });
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

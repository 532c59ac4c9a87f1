//! Places where a test can make the engine panic, as a bug would, or deny it what it asks for. They are nothing but in this crate's own
//! tests and with the feature `faults`, which only tests of the whole server have: there the variable `FAILPOINTS` arms them.

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

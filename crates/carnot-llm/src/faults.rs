//! Places where a test can make the engine panic, as a bug would. In everything but this crate's own tests they are nothing.

#[cfg(test)]
thread_local! {
    static ARMED: std::cell::Cell<Option<(&'static str, usize)>> = const { std::cell::Cell::new(None) };
}

/// From now on the thread panics at `place`, after passing it `passes` times.
#[cfg(test)]
pub(crate) fn arm(place: &'static str, passes: usize) {
    ARMED.set(Some((place, passes)));
}

/// Panics if a test wants it.
#[cfg(test)]
pub(crate) fn at(place: &str) {
    match ARMED.get() {
        Some((armed, 0)) if armed == place => {
            ARMED.set(None);
            panic!("a test wants a panic at {place}");
        }
        Some((armed, passes)) if armed == place => ARMED.set(Some((armed, passes - 1))),
        _ => (),
    }
}

#[cfg(not(test))]
#[inline]
pub(crate) fn at(_: &str) {}

//! The spans that a thread is in.

use std::cell::RefCell;

use carnot_probe::clock::ticks;
use tracing::span::Id;

use crate::sites::Site;

/// A span that was entered on this thread and not left yet.
struct Open {
    id: u64,
    site: Site,
    start: u64,
}

/// A span that was entered and left; in the probe's ticks.
pub struct Interval {
    pub site: Site,
    pub start: u64,
    pub end: u64,
}

thread_local! {
    static OPEN: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
}

/// The span is entered now.
#[inline]
pub fn begin(id: &Id, site: Site) {
    // A thread that ends has no such list any more; what its last destructors do is not recorded.
    let _ = OPEN.try_with(|open| {
        open.borrow_mut().push(Open {
            id: id.into_u64(),
            site,
            start: ticks(),
        });
    });
}

/// The span is left now; `None` where it was not entered on this thread while recording was on. Spans may be left in any order.
#[inline]
pub fn end(id: &Id) -> Option<Interval> {
    let id = id.into_u64();
    let ended = OPEN.try_with(|open| {
        let mut open = open.borrow_mut();
        let index = open.iter().rposition(|one| one.id == id)?;
        let Open { site, start, .. } = open.remove(index);
        let end = ticks();
        Some(Interval { site, start, end })
    });
    ended.ok().flatten()
}

//! Which site of the probe a callsite of `tracing` is: registered once, then found in a small table of each thread.

use std::cell::Cell;
use std::collections::HashMap;
use std::ptr;
use std::sync::{LazyLock, Mutex, PoisonError};

use carnot_probe::{Kind, SiteId, site_at};
use tracing::Metadata;

use crate::numbers;

/// A callsite that is known to the probe.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    pub id: SiteId,
    /// Whether it has a field that is taken.
    pub has_numbers: bool,
}

/// All callsites by the address of their metadata, which live for ever.
static KNOWN: LazyLock<Mutex<HashMap<usize, Site>>> = LazyLock::new(Mutex::default);

/// Callsites that a thread finds without a lock; two that fall on one place take turns there.
const PLACES: usize = 256;

thread_local! {
    static NEAR: [Cell<Option<(usize, Site)>>; PLACES] = const { [const { Cell::new(None) }; PLACES] };
}

/// The site of a callsite.
#[inline]
pub fn of(metadata: &'static Metadata<'static>) -> Site {
    let address = ptr::from_ref(metadata).addr();
    // The upper bits of the product depend on all bits of the address (Knuth, 6.4).
    let place = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    NEAR.with(|near| {
        let near = &near[place as usize];
        match near.get() {
            Some((of, site)) if of == address => site,
            _ => {
                let site = known(address, metadata);
                near.set(Some((address, site)));
                site
            }
        }
    })
}

#[cold]
fn known(address: usize, metadata: &'static Metadata<'static>) -> Site {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry(address).or_insert_with(|| register(metadata))
}

fn register(metadata: &'static Metadata<'static>) -> Site {
    let kind = if metadata.is_span() {
        Kind::Other
    } else {
        Kind::Instant
    };
    let (file, line) = (metadata.file(), metadata.line());
    Site {
        id: site_at(metadata.name(), kind, file.unwrap_or(""), line.unwrap_or(0)),
        has_numbers: metadata.is_span() && numbers::are_among(metadata.fields()),
    }
}

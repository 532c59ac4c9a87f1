//! The first tier: bounded by bytes, with an age.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use carnot_probe::{CacheOutcome, SiteId};
use moka::future::Cache;
use moka::notification::RemovalCause;
use moka::policy::{EvictionPolicy, Expiry};

use crate::envelope::{self, Entry};
use crate::{Causes, Key};

/// What an entry takes beside its value: key, place in the tables and in the order of use, measured over a million entries of 8 bytes.
pub(crate) const OVERHEAD: usize = 256;

/// The first tier.
#[derive(Clone, Debug)]
pub struct MemorySettings {
    /// Bytes of values and of what it takes to keep them; nothing is kept of 0.
    pub bytes: u64,
    /// What is given up first.
    pub policy: Policy,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            policy: Policy::default(),
        }
    }
}

/// What is given up first where there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// What was used longest ago: as the miss-ratio curve predicts.
    #[default]
    Lru,
    /// What is used least often, aged (Einziger and others, `TinyLFU`, 2017): better where many keys come once, and a new key has to be
    /// asked for again before it takes the place of another.
    TinyLfu,
}

/// Evictions by their cause.
#[derive(Debug, Default)]
struct Counters {
    size: AtomicU64,
    age: AtomicU64,
    removed: AtomicU64,
}

pub(crate) struct Memory {
    pub entries: Cache<Key, Entry>,
    counters: Arc<Counters>,
}

impl Memory {
    pub fn new(settings: &MemorySettings, site: SiteId) -> Self {
        let counters = Arc::<Counters>::default();
        let counted = Arc::clone(&counters);
        let policy = match settings.policy {
            Policy::Lru => EvictionPolicy::lru(),
            Policy::TinyLfu => EvictionPolicy::tiny_lfu(),
        };
        let entries = Cache::builder()
            .max_capacity(settings.bytes)
            .weigher(|_, entry: &Entry| u32::try_from(weight(entry)).unwrap_or(u32::MAX))
            .eviction_policy(policy)
            .expire_after(Ends)
            .eviction_listener(move |key: Arc<Key>, entry: Entry, cause| {
                let counter = match cause {
                    RemovalCause::Size => &counted.size,
                    RemovalCause::Expired => &counted.age,
                    RemovalCause::Explicit => &counted.removed,
                    // The same result once more is no eviction.
                    RemovalCause::Replaced => return,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                carnot_probe::cache(
                    site,
                    CacheOutcome::Evict,
                    key.short(),
                    weight(&entry) as u64,
                );
            })
            .build();
        Self { entries, counters }
    }

    pub fn evictions(&self) -> Causes {
        Causes {
            size: self.counters.size.load(Ordering::Relaxed),
            age: self.counters.age.load(Ordering::Relaxed),
            removed: self.counters.removed.load(Ordering::Relaxed),
        }
    }
}

/// Bytes that an entry counts for.
pub(crate) fn weight(entry: &Entry) -> usize {
    OVERHEAD + entry.value.len()
}

/// Entries end when their values do, wherever they came from.
struct Ends;

impl Expiry<Key, Entry> for Ends {
    fn expire_after_create(&self, _: &Key, entry: &Entry, _: Instant) -> Option<Duration> {
        entry.left(envelope::now())
    }

    fn expire_after_update(
        &self,
        _: &Key,
        entry: &Entry,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        entry.left(envelope::now())
    }
}

//! What was found where; the miss ratio of every size, while the cache runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use carnot_statistics::ReuseSketch;

use crate::breaker::BreakerState;

/// Keys in the sample: a megabyte.
const SAMPLED: usize = 8192;

/// Evictions by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// There was no room.
    pub size: u64,
    /// They had ended.
    pub age: u64,
    /// Somebody took them away.
    pub removed: u64,
}

/// A tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierStatistics {
    /// Look-ups that found what they wanted here.
    pub hits: u64,
    /// Those that came here and did not.
    pub misses: u64,
    /// What was given up.
    pub evictions: Causes,
    /// Bytes here now; of Redis nobody asks.
    pub bytes: u64,
    /// Values here now.
    pub entries: u64,
    /// Reads and writes that failed.
    pub failures: u64,
}

/// A cache: `requests = hits + misses`, and a miss is computed once or shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Look-ups.
    pub requests: u64,
    /// Those that some tier answered.
    pub hits: u64,
    /// Those that none did.
    pub misses: u64,
    /// Misses that waited for another's computation and took its result.
    pub shared: u64,
    /// In memory.
    pub memory: TierStatistics,
    /// On disk, if there is that tier.
    pub disk: Option<TierStatistics>,
    /// In Redis, if there is that tier.
    pub remote: Option<TierStatistics>,
    /// Whether Redis is asked.
    pub breaker: Option<BreakerState>,
    /// How often its breaker opened.
    pub breaker_opened: u64,
    /// Values that were not sent to Redis since too many were on their way.
    pub remote_dropped: u64,
    /// Mean age of values when they were found, for how long they are good: of those that end.
    pub mean_age: Option<Duration>,
    /// The share of look-ups that a cache of so many bytes, least recently used, would answer.
    pub hit_rate_by_bytes: Vec<(u64, f64)>,
}

impl Statistics {
    /// Of all look-ups, those that some tier answered; none of none.
    pub fn hit_rate(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.hits as f64 / self.requests as f64)
    }
}

/// Hits and misses of a tier as they happen.
#[derive(Debug, Default)]
pub(crate) struct TierCounter {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl TierCounter {
    pub fn count(&self, is_hit: bool) {
        let counter = if is_hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn told(&self) -> TierStatistics {
        TierStatistics {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            ..TierStatistics::default()
        }
    }
}

/// Everything that is counted of a cache.
#[derive(Debug)]
pub(crate) struct Counters {
    pub memory: TierCounter,
    pub disk: TierCounter,
    pub remote: TierCounter,
    pub shared: AtomicU64,
    pub ages: Mutex<(u64, Duration)>,
    sketch: Mutex<ReuseSketch>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            memory: TierCounter::default(),
            disk: TierCounter::default(),
            remote: TierCounter::default(),
            shared: AtomicU64::new(0),
            ages: Mutex::default(),
            sketch: Mutex::new(ReuseSketch::new(SAMPLED)),
        }
    }
}

impl Counters {
    /// A look-up of what takes `bytes`.
    pub fn access(&self, key: u64, bytes: usize) {
        let mut sketch = self.sketch.lock().unwrap_or_else(PoisonError::into_inner);
        sketch.access(key, bytes as u64);
    }

    /// A value was found that is `age` old.
    pub fn age(&self, age: Duration) {
        let mut ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        *ages = (ages.0 + 1, ages.1 + age);
    }

    pub fn mean_age(&self) -> Option<Duration> {
        let ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        (ages.0 > 0).then(|| ages.1.div_f64(ages.0 as f64))
    }

    /// The hit rate of powers of two of bytes, from a kilobyte to all that was ever asked for.
    pub fn curve(&self) -> Vec<(u64, f64)> {
        let sketch = self.sketch.lock().unwrap_or_else(PoisonError::into_inner);
        if sketch.accesses() == 0 {
            return Vec::new();
        }
        let all = sketch.footprint().ceil() as u64;
        let sizes = (10..63).map(|power| 1_u64 << power);
        sizes
            .take_while(|&size| size < all)
            .chain([all])
            .map(|size| (size, 1.0 - sketch.miss_ratio(size as f64)))
            .collect()
    }

    /// The hit rate that a cache of `bytes` would have.
    pub fn hit_rate(&self, bytes: u64) -> f64 {
        let sketch = self.sketch.lock().unwrap_or_else(PoisonError::into_inner);
        1.0 - sketch.miss_ratio(bytes as f64)
    }
}

//! Caches: what was there, what was thrown out, and how large each would have to be.

use serde::Serialize;

use carnot_statistics::{Reuse, ReuseSketch};

use crate::statistics::ratio;

/// Distances are exact up to so many look-ups; past it they are of a sample of the keys.
const MOST_EXACT: u64 = 1 << 20;
/// Keys in that sample.
const SAMPLED: usize = 8192;
/// Evictions of at least this share of look-ups, with entries that are asked for again, are thrashing.
const THRASHING: f64 = 0.2;

/// A cache.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CacheAnalysis {
    /// Its name.
    pub cache: String,
    /// Look-ups that found what they wanted.
    pub hits: u64,
    /// Those that did not.
    pub misses: u64,
    /// Entries that were thrown out.
    pub evictions: u64,
    /// `hits + misses`. Evictions are no requests.
    pub requests: u64,
    /// `hits / requests`.
    pub hit_rate: f64,
    /// `misses / requests`.
    pub miss_rate: f64,
    /// `evictions / requests`.
    pub eviction_rate: f64,
    /// Bytes that hits gave.
    pub hit_bytes: u64,
    /// Bytes that misses put in.
    pub miss_bytes: u64,
    /// Bytes in it at the end, as far as misses put in and evictions took out.
    pub resident_bytes: u64,
    /// The most of it.
    pub peak_resident_bytes: u64,
    /// Entries in it at most, counted the same way.
    pub peak_entries: u64,
    /// The share of look-ups that a cache of so many entries, the last used, would miss; empty where no look-up told its key.
    pub miss_ratio_curve: Vec<(u64, f64)>,
    /// The fewest entries with which it would miss no more than 5 % above the least that any size does; with what it would miss.
    pub advised: Option<(u64, f64)>,
    /// Whether it throws out what is asked for again.
    pub is_thrashing: bool,
    /// Whether the curve is of a sample of the keys.
    pub is_sampled: bool,
}

/// A cache as look-ups go by.
#[derive(Debug)]
pub(super) struct Cache {
    hits: u64,
    misses: u64,
    evictions: u64,
    hit_bytes: u64,
    miss_bytes: u64,
    resident: u64,
    peak_resident: u64,
    entries: u64,
    peak_entries: u64,
    keyed: u64,
    exact: Option<Reuse<u64>>,
    sampled: ReuseSketch,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            hits: 0,
            misses: 0,
            evictions: 0,
            hit_bytes: 0,
            miss_bytes: 0,
            resident: 0,
            peak_resident: 0,
            entries: 0,
            peak_entries: 0,
            keyed: 0,
            exact: None,
            sampled: ReuseSketch::new(SAMPLED),
        }
    }
}

impl Cache {
    pub fn take(&mut self, outcome: carnot_record::CacheOutcome, key: Option<u64>, bytes: u64) {
        use carnot_record::CacheOutcome::{Evict, Hit, Miss};
        match outcome {
            Hit => {
                self.hits += 1;
                self.hit_bytes = self.hit_bytes.saturating_add(bytes);
            }
            Miss => {
                self.misses += 1;
                self.miss_bytes = self.miss_bytes.saturating_add(bytes);
                self.resident = self.resident.saturating_add(bytes);
                self.entries += 1;
            }
            Evict => {
                self.evictions += 1;
                self.resident = self.resident.saturating_sub(bytes);
                self.entries = self.entries.saturating_sub(1);
            }
        }
        self.peak_resident = self.peak_resident.max(self.resident);
        self.peak_entries = self.peak_entries.max(self.entries);
        if let (Hit | Miss, Some(key)) = (outcome, key) {
            self.access(key);
        }
    }

    fn access(&mut self, key: u64) {
        self.keyed += 1;
        if self.keyed <= MOST_EXACT {
            self.exact.get_or_insert_default().access(key);
        } else {
            self.exact = None;
        }
        self.sampled.access(key, 1);
    }

    pub fn finish(self, cache: &str) -> CacheAnalysis {
        let requests = self.hits + self.misses;
        let reuse = match &self.exact {
            Some(exact) => Distances::Exact(exact),
            None => Distances::Sampled(&self.sampled),
        };
        let (miss_ratio_curve, advised) = (reuse.curve(), reuse.advised());
        let rate = |count: u64| ratio(count as f64, requests as f64);
        // What a cache without bound would miss: the first look-up of each key.
        let least = reuse.miss_ratio(u64::MAX);
        let is_thrashing = rate(self.evictions) >= THRASHING
            && (self.keyed == 0 || rate(self.misses) > least + THRASHING / 2.0);
        CacheAnalysis {
            cache: cache.to_owned(),
            hits: self.hits,
            misses: self.misses,
            evictions: self.evictions,
            requests,
            hit_rate: rate(self.hits),
            miss_rate: rate(self.misses),
            eviction_rate: rate(self.evictions),
            hit_bytes: self.hit_bytes,
            miss_bytes: self.miss_bytes,
            resident_bytes: self.resident,
            peak_resident_bytes: self.peak_resident,
            peak_entries: self.peak_entries,
            miss_ratio_curve,
            advised,
            is_thrashing,
            is_sampled: matches!(reuse, Distances::Sampled(_)),
        }
    }
}

/// What the curve is made of.
enum Distances<'a> {
    Exact(&'a Reuse<u64>),
    Sampled(&'a ReuseSketch),
}

impl Distances<'_> {
    fn miss_ratio(&self, entries: u64) -> f64 {
        match self {
            Self::Exact(reuse) => reuse.miss_ratio(usize::try_from(entries).unwrap_or(usize::MAX)),
            Self::Sampled(sketch) => sketch.miss_ratio(entries as f64),
        }
    }

    /// Different keys.
    fn distinct(&self) -> u64 {
        match self {
            Self::Exact(reuse) => reuse.distinct() as u64,
            Self::Sampled(sketch) => sketch.footprint().ceil() as u64,
        }
    }

    /// Some forty sizes, each a third more than the one before, up to all that was asked for.
    fn curve(&self) -> Vec<(u64, f64)> {
        let distinct = self.distinct();
        let sizes = std::iter::successors(Some(1), |size| Some(size + (size / 3).max(1)));
        sizes
            .take_while(|&size| size < distinct)
            .chain((distinct > 0).then_some(distinct))
            .map(|size| (size, self.miss_ratio(size)))
            .collect()
    }

    fn advised(&self) -> Option<(u64, f64)> {
        let distinct = self.distinct();
        if distinct == 0 {
            return None;
        }
        let enough = self.miss_ratio(distinct) + 0.05;
        let (mut low, mut high) = (0, distinct);
        // Misses never grow with the size.
        while low < high {
            let middle = u64::midpoint(low, high);
            if self.miss_ratio(middle) <= enough {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Some((low, self.miss_ratio(low)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_record::CacheOutcome::{self, Evict, Hit, Miss};
    use carnot_statistics::dice::mixed;

    fn analysed(events: impl IntoIterator<Item = (CacheOutcome, u64)>) -> CacheAnalysis {
        let mut cache = Cache::default();
        for (outcome, key) in events {
            cache.take(outcome, Some(key), 10);
        }
        cache.finish("bank")
    }

    /// What a cache of `size` entries, the last used, does when keys go round.
    fn round(keys: u64, size: usize, rounds: u64) -> CacheAnalysis {
        let mut kept: Vec<u64> = Vec::new();
        let mut events = Vec::new();
        for key in (0..rounds).flat_map(|_| 1..=keys) {
            match kept.iter().position(|known| *known == key) {
                Some(at) => {
                    kept.remove(at);
                    events.push((Hit, key));
                }
                None => events.push((Miss, key)),
            }
            kept.push(key);
            if kept.len() > size {
                events.push((Evict, kept.remove(0)));
            }
        }
        analysed(events)
    }

    #[test]
    fn requests_are_hits_and_misses_alone() {
        let found = analysed([(Miss, 1), (Miss, 2), (Hit, 1), (Evict, 2), (Miss, 3)]);
        assert_eq!(
            (found.requests, found.hit_rate, found.miss_rate),
            (4, 0.25, 0.75)
        );
        assert_eq!((found.resident_bytes, found.peak_entries), (20, 2));
        assert!(!found.is_thrashing);
    }

    #[test]
    fn a_cache_one_entry_too_small_thrashes_and_the_size_is_advised() {
        let small = round(9, 8, 50);
        assert!(small.is_thrashing && small.hit_rate == 0.0, "{small:?}");
        assert_eq!(small.advised.unwrap().0, 9);
        let right = round(9, 9, 50);
        assert!(!right.is_thrashing && right.hit_rate > 0.97);
        assert!(
            small
                .miss_ratio_curve
                .is_sorted_by(|a, b| a.0 < b.0 && a.1 >= b.1)
        );
    }

    #[test]
    fn a_sample_of_the_keys_tells_nearly_the_same_curve() {
        let mut cache = Cache::default();
        let keys = 4000_u64;
        for at in 0..MOST_EXACT + 200_000 {
            // Two thirds of look-ups go to a quarter of the keys.
            let key = if at % 3 == 0 {
                mixed(at) % keys
            } else {
                mixed(at) % (keys / 4)
            };
            cache.take(Hit, Some(key + 1), 1);
        }
        let found = cache.finish("bank");
        assert!(found.is_sampled);
        let (size, ratio) = found.advised.unwrap();
        assert!(
            (2000..=4600).contains(&size) && ratio < 0.08,
            "{size} {ratio}"
        );
    }
}

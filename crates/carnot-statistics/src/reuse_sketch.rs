//! Miss ratios of all sizes of a cache while it runs, in memory that does not grow: reuse distances of a sample of the keys.
//!
//! A key is in the sample if its hash is below a threshold, so that all of its accesses are or none; what lies between two of them in the sample, over the
//! sample's rate, is what lay between them in truth. Where more keys than fit are below the threshold, it is lowered, and what it leaves out is forgotten
//! (Waldspurger and others, *Efficient MRC Construction with SHARDS*, FAST 2015, of fixed size, with the correction of section 3.3).
//!
//! Distances are sums of sizes, in whatever unit they are handed in: bytes, or 1 for each entry.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::dice::mixed;

/// Buckets to each doubling of the distance: 2 % a bucket, far below what the sample is out by.
const RESOLUTION: f64 = 32.0;

/// Distances of a sample of accesses.
#[derive(Clone, Debug)]
pub struct ReuseSketch {
    /// Most keys in the sample.
    most: usize,
    /// Keys whose hash is below are in the sample; `None` for all of them.
    threshold: Option<u64>,
    /// The last use and the size of each key of the sample, by its hash.
    last: HashMap<u64, (usize, u64)>,
    hashes: BTreeSet<u64>,
    /// Sizes at the times of last uses.
    sizes: Sums,
    /// How many accesses of the whole had each distance, by logarithm.
    counts: BTreeMap<u32, f64>,
    /// Accesses whose key was never used before, of the whole.
    first: f64,
    accesses: u64,
    /// Sum of all sizes of the sample, and of those that were forgotten when the threshold fell.
    sampled: f64,
}

impl ReuseSketch {
    /// Of at most `most` keys: 8,192 take about a megabyte. A size that holds `n` keys of the sample is known to some 1 / √n of itself: with a tenth
    /// of the keys in the sample, a thousand entries to a tenth, which is a point of the miss ratio where keys follow Zipf's law.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            threshold: None,
            last: HashMap::new(),
            hashes: BTreeSet::new(),
            sizes: Sums::default(),
            counts: BTreeMap::new(),
            first: 0.0,
            accesses: 0,
            sampled: 0.0,
        }
    }

    /// An access to what has this key, and takes `size` in the cache. Takes some ten nanoseconds where the key is not in the sample.
    pub fn access(&mut self, key: u64, size: u64) {
        self.accesses += 1;
        let hash = mixed(key);
        if self.threshold.is_some_and(|threshold| hash >= threshold) {
            return;
        }
        // Of how many accesses this one tells.
        let weight = 1.0 / self.rate();
        self.sampled += weight;
        let now = self.sizes.push(size);
        match self.last.insert(hash, (now, size)) {
            None => {
                self.first += weight;
                self.hashes.insert(hash);
            }
            Some((before, old)) => {
                // All that was used since, and the thing itself: a cache that holds them all has it.
                let between = self.sizes.between(before, now) as f64 * weight + size as f64;
                self.sizes.clear(before, old);
                *self.counts.entry(bucket(between)).or_default() += weight;
            }
        }
        while self.last.len() > self.most {
            self.lower();
        }
        if self.sizes.len() > 4 * self.last.len() + 64 {
            self.compact();
        }
    }

    /// Accesses, in the sample or not.
    pub fn accesses(&self) -> u64 {
        self.accesses
    }

    /// The share of keys that are in the sample.
    pub fn rate(&self) -> f64 {
        self.threshold
            .map_or(1.0, |threshold| threshold as f64 / u64::MAX as f64)
    }

    /// What all keys together take, about: a cache of that size misses nothing twice.
    pub fn footprint(&self) -> f64 {
        self.sizes.total as f64 / self.rate()
    }

    /// The share of accesses that a cache of `size`, which gives up what was used longest ago, has not; 1 of none.
    pub fn miss_ratio(&self, size: f64) -> f64 {
        if self.accesses == 0 {
            return 1.0;
        }
        let all = self.accesses as f64;
        let hits: f64 = self
            .counts
            .iter()
            .take_while(|&(&bucket, _)| upper(bucket) <= size * (1.0 + 0.5 / RESOLUTION))
            .map(|(_, count)| count)
            .sum();
        // Keys that are asked for again and again are in the sample or not: what it has too much or too little of is theirs, and they
        // come back soon.
        let missing = all - self.sampled;
        let hits = if hits > 0.0 { hits + missing } else { hits };
        1.0 - (hits / all).clamp(0.0, 1.0)
    }

    /// Lowers the threshold to the largest hash of the sample, which leaves it.
    fn lower(&mut self) {
        let Some(hash) = self.hashes.pop_last() else {
            return;
        };
        if let Some((time, size)) = self.last.remove(&hash) {
            self.sizes.clear(time, size);
        }
        self.threshold = Some(hash.max(1));
    }

    /// Numbers the times of last uses anew, without gaps.
    fn compact(&mut self) {
        let mut uses: Vec<(usize, u64, u64)> = self
            .last
            .iter()
            .map(|(&hash, &(time, size))| (time, hash, size))
            .collect();
        uses.sort_unstable();
        self.sizes = Sums::default();
        for (_, hash, size) in uses {
            let time = self.sizes.push(size);
            self.last.insert(hash, (time, size));
        }
    }
}

fn bucket(distance: f64) -> u32 {
    (distance.max(1.0).log2() * RESOLUTION) as u32
}

/// The least distance that is in no bucket up to this.
fn upper(bucket: u32) -> f64 {
    (f64::from(bucket) / RESOLUTION).exp2()
}

/// Sums of runs of a sequence that grows (a Fenwick tree; one-based).
#[derive(Clone, Debug, Default)]
struct Sums {
    tree: Vec<u64>,
    total: u64,
}

impl Sums {
    fn len(&self) -> usize {
        self.tree.len()
    }

    /// Appends a value; returns where it is.
    fn push(&mut self, value: u64) -> usize {
        let place = self.tree.len() + 1;
        let from = place - (place & place.wrapping_neg());
        let (mut sum, mut below) = (value, place - 1);
        while below > from {
            sum = sum.saturating_add(self.tree[below - 1]);
            below -= below & below.wrapping_neg();
        }
        self.tree.push(sum);
        self.total = self.total.saturating_add(value);
        place - 1
    }

    /// Takes a value away.
    fn clear(&mut self, at: usize, value: u64) {
        let mut place = at + 1;
        while place <= self.tree.len() {
            self.tree[place - 1] = self.tree[place - 1].saturating_sub(value);
            place += place & place.wrapping_neg();
        }
        self.total = self.total.saturating_sub(value);
    }

    /// The sum of what lies after `from` and before `to`.
    fn between(&self, from: usize, to: usize) -> u64 {
        self.before(to).saturating_sub(self.before(from + 1))
    }

    fn before(&self, end: usize) -> u64 {
        let (mut place, mut sum) = (end, 0_u64);
        while place > 0 {
            sum = sum.saturating_add(self.tree[place - 1]);
            place -= place & place.wrapping_neg();
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dice, Reuse};

    /// Keys drawn with a frequency of 1 over their rank.
    fn zipf(keys: usize, accesses: usize, seed: u64) -> Vec<u64> {
        let mut sum = 0.0;
        let cumulated: Vec<f64> = (1..=keys)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        let mut dice = Dice(seed);
        (0..accesses)
            .map(|_| {
                let drawn = dice.uniform() * sum;
                cumulated.partition_point(|&bound| bound < drawn) as u64
            })
            .collect()
    }

    #[test]
    fn without_a_bound_it_is_exact_but_for_the_buckets() {
        let accesses = zipf(500, 20_000, 1);
        let exact = Reuse::of(&accesses);
        let mut sketch = ReuseSketch::new(1000);
        accesses.iter().for_each(|&key| sketch.access(key, 1));
        assert_eq!((sketch.rate(), sketch.accesses()), (1.0, 20_000));
        assert_eq!(sketch.footprint(), exact.distinct() as f64);
        for size in [1, 10, 50, 200, 500] {
            let (got, expected) = (sketch.miss_ratio(size as f64), exact.miss_ratio(size));
            assert!((got - expected).abs() < 0.01, "{size}: {got} {expected}");
        }
    }

    #[test]
    fn a_fifth_of_the_keys_tells_the_curve_to_two_points() {
        for seed in 1..4 {
            let accesses = zipf(20_000, 300_000, seed);
            let exact = Reuse::of(&accesses);
            let mut sketch = ReuseSketch::new(4000);
            accesses.iter().for_each(|&key| sketch.access(key, 1));
            assert!(sketch.rate() < 0.3);
            for size in [1000, 2000, 5000, 15_000] {
                let (got, expected) = (sketch.miss_ratio(size as f64), exact.miss_ratio(size));
                assert!((got - expected).abs() < 0.02, "{size}: {got} {expected}");
            }
        }
    }

    #[test]
    fn sizes_count() {
        let mut sketch = ReuseSketch::new(100);
        // Two things of 1,000 and one of 10 in turns: what is asked for again has all three between.
        for key in [1, 2, 3, 1, 2, 3, 1, 2, 3] {
            sketch.access(key, if key == 3 { 10 } else { 1000 });
        }
        assert!((sketch.miss_ratio(2100.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(sketch.miss_ratio(1900.0), 1.0);
        assert_eq!(sketch.footprint(), 2010.0);
    }

    #[test]
    fn memory_is_bounded_by_the_sample() {
        let mut sketch = ReuseSketch::new(64);
        (0..200_000).for_each(|key| sketch.access(key % 50_000, 8));
        assert!(sketch.last.len() <= 64 && sketch.sizes.len() <= 4 * 64 + 65);
        let footprint = sketch.footprint();
        assert!((200_000.0..800_000.0).contains(&footprint), "{footprint}");
        assert_eq!(ReuseSketch::new(4).miss_ratio(1.0), 1.0);
    }
}

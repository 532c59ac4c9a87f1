//! How large a cache has to be: miss ratios of all sizes from one pass over what was asked for.
//!
//! A cache that gives up what was used longest ago holds the `n` things used last. So an access hits in a cache of `n` exactly if fewer than `n` other things
//! were used since the last access to the same (Mattson and others, 1970): their number is its reuse distance, and the share of distances
//! of at least `n` is the miss ratio of that size.

use std::collections::HashMap;
use std::hash::Hash;

/// Distances of a sequence of accesses.
#[derive(Clone, Debug)]
pub struct Reuse<T> {
    /// How many accesses had each distance.
    counts: Vec<usize>,
    /// Accesses to what was never used before, which no cache could have had.
    first: usize,
    last: HashMap<T, usize>,
    marks: Marks,
}

impl<T> Default for Reuse<T> {
    fn default() -> Self {
        Self {
            counts: Vec::new(),
            first: 0,
            last: HashMap::new(),
            marks: Marks::default(),
        }
    }
}

impl<T: Eq + Hash> Reuse<T> {
    /// Of `accesses`, in their order. Takes time proportional to their number and the logarithm of it.
    pub fn of(accesses: impl IntoIterator<Item = T>) -> Self {
        let mut reuse = Self::default();
        accesses.into_iter().for_each(|access| reuse.access(access));
        reuse
    }

    /// One access more. Memory grows by a number for each.
    pub fn access(&mut self, access: T) {
        let now = self.accesses();
        match self.last.insert(access, now) {
            None => self.first += 1,
            Some(before) => {
                // What was used since: those whose last use lies between.
                let distance = self.marks.after(before);
                if self.counts.len() <= distance {
                    self.counts.resize(distance + 1, 0);
                }
                self.counts[distance] += 1;
                self.marks.clear(before);
            }
        }
        self.marks.push();
    }

    /// Accesses.
    pub fn accesses(&self) -> usize {
        self.marks.tree.len()
    }

    /// Different things.
    pub fn distinct(&self) -> usize {
        self.first
    }

    /// The share of accesses that a cache of `size` things, the last used, has not; 1 of none.
    pub fn miss_ratio(&self, size: usize) -> f64 {
        let accesses = self.accesses();
        if accesses == 0 {
            return 1.0;
        }
        let hits: usize = self.counts.iter().take(size).sum();
        1.0 - hits as f64 / accesses as f64
    }
}

/// Which times are the last use of something: a Fenwick tree that grows.
#[derive(Clone, Debug, Default)]
struct Marks {
    /// Sums of runs; one-based.
    tree: Vec<usize>,
    total: usize,
}

impl Marks {
    /// Marks the next time.
    fn push(&mut self) {
        let place = self.tree.len() + 1;
        let run = place & place.wrapping_neg();
        // The sum of the run that ends here is that of the runs within, and this.
        let (mut sum, mut below, from) = (1, place - 1, place - run);
        while below > from {
            sum += self.tree[below - 1];
            below -= below & below.wrapping_neg();
        }
        self.tree.push(sum);
        self.total += 1;
    }

    /// Takes the mark off `time`.
    fn clear(&mut self, time: usize) {
        let mut place = time + 1;
        while place <= self.tree.len() {
            self.tree[place - 1] -= 1;
            place += place & place.wrapping_neg();
        }
        self.total -= 1;
    }

    /// Marks after `time`.
    fn after(&self, time: usize) -> usize {
        let (mut place, mut before) = (time + 1, 0);
        while place > 0 {
            before += self.tree[place - 1];
            place -= place & place.wrapping_neg();
        }
        self.total - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dice;

    #[test]
    fn a_worked_example() {
        let reuse = Reuse::of("abcabbad".chars());
        // a, b, c, d are new; a has b and c since, b has c and a, b has nothing, a has b.
        assert_eq!((reuse.accesses(), reuse.distinct()), (8, 4));
        let ratios = [0, 1, 2, 3, 9].map(|size| reuse.miss_ratio(size) * 8.0);
        assert_eq!(ratios, [8.0, 7.0, 6.0, 4.0, 4.0]);
        assert_eq!(Reuse::<u8>::of([]).miss_ratio(4), 1.0);
    }

    #[test]
    fn it_is_what_a_cache_of_each_size_does() {
        let mut dice = Dice(4);
        let accesses: Vec<usize> = (0..3000)
            .map(|_| (40.0 * dice.uniform().powi(2)) as usize)
            .collect();
        let reuse = Reuse::of(&accesses);
        for size in [1, 2, 5, 13, 40] {
            let mut kept: Vec<usize> = Vec::new();
            let mut misses = 0;
            for &access in &accesses {
                match kept.iter().position(|&known| known == access) {
                    Some(at) => drop(kept.remove(at)),
                    None => misses += 1,
                }
                kept.insert(0, access);
                kept.truncate(size);
            }
            let ratio = f64::from(misses) / accesses.len() as f64;
            assert!((reuse.miss_ratio(size) - ratio).abs() < 1e-12, "{size}");
        }
    }
}

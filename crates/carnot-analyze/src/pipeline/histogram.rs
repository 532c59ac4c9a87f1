//! The distribution of any number of durations in little memory: counts by length, 128 to each doubling, so that a percentile is within
//! 0.8 % of what it would be of the durations themselves; exact while there are few.

use serde::Serialize;

/// Slots to each doubling.
const SLOTS: usize = 128;
/// So many are kept as they are.
const EXACT: usize = 1024;

/// Durations in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    count: u64,
    total: u64,
    min: u64,
    max: u64,
    exact: Vec<u64>,
    /// By the place of the highest bit; empty until there are too many to keep.
    octaves: Vec<Option<Box<[u32; SLOTS]>>>,
}

/// What is told of a distribution; all 0 of nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub total_ns: u64,
    /// The shortest.
    pub min_ns: u64,
    /// The mean.
    pub mean_ns: f64,
    /// The median.
    pub p50_ns: u64,
    /// 95th percentile.
    pub p95_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl Histogram {
    pub fn add(&mut self, ns: u64) {
        self.min = if self.count == 0 {
            ns
        } else {
            self.min.min(ns)
        };
        self.max = self.max.max(ns);
        self.count += 1;
        self.total = self.total.saturating_add(ns);
        if self.octaves.is_empty() {
            self.exact.push(ns);
            if self.exact.len() > EXACT {
                self.octaves = vec![None; 65];
                for ns in std::mem::take(&mut self.exact) {
                    self.place(ns);
                }
            }
        } else {
            self.place(ns);
        }
    }

    fn place(&mut self, ns: u64) {
        let (octave, slot) = place(ns);
        let slots = self.octaves[octave].get_or_insert_with(|| Box::new([0; SLOTS]));
        slots[slot] = slots[slot].saturating_add(1);
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn spread(&self) -> Spread {
        let mut sorted = self.exact.clone();
        sorted.sort_unstable();
        let at = |p: f64| {
            if self.octaves.is_empty() {
                crate::percentile(&sorted, p).unwrap_or(0)
            } else {
                self.quantile(p / 100.0)
            }
        };
        Spread {
            count: self.count,
            total_ns: self.total,
            min_ns: self.min,
            mean_ns: crate::statistics::ratio(self.total as f64, self.count as f64),
            p50_ns: at(50.0),
            p95_ns: at(95.0),
            p99_ns: at(99.0),
            max_ns: self.max,
        }
    }

    /// The middle of the slot that holds the value of that rank.
    fn quantile(&self, share: f64) -> u64 {
        let rank = (share * (self.count - 1) as f64).round() as u64;
        let mut below = 0;
        for (octave, slots) in self.octaves.iter().enumerate() {
            for (slot, &count) in slots.iter().flat_map(|slots| slots.iter().enumerate()) {
                below += u64::from(count);
                if below > rank {
                    return middle(octave, slot).clamp(self.min, self.max);
                }
            }
        }
        self.max
    }
}

/// Octave and slot of a value: the place of its highest bit, and the seven bits below it.
fn place(ns: u64) -> (usize, usize) {
    if ns < SLOTS as u64 {
        return (0, ns as usize);
    }
    let octave = 64 - ns.leading_zeros() as usize;
    (octave, (ns >> (octave - 8)) as usize & (SLOTS - 1))
}

fn middle(octave: usize, slot: usize) -> u64 {
    if octave == 0 {
        return slot as u64;
    }
    let width = 1_u64 << (octave - 8);
    ((SLOTS + slot) as u64 * width) + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_hundredth_of_the_exact_ones() {
        let mut histogram = Histogram::default();
        let mut values: Vec<u64> = (0..20_000_u64)
            .map(|i| 50 + i * i % 7_919 * (i % 13 + 1) * 97)
            .collect();
        values.iter().for_each(|&ns| histogram.add(ns));
        values.sort_unstable();
        let spread = histogram.spread();
        for (p, found) in [
            (50.0, spread.p50_ns),
            (95.0, spread.p95_ns),
            (99.0, spread.p99_ns),
        ] {
            let exact = crate::percentile(&values, p).unwrap() as f64;
            assert!(
                (found as f64 / exact - 1.0).abs() < 0.01,
                "{p}: {found} of {exact}"
            );
        }
        assert_eq!((spread.min_ns, spread.max_ns), (values[0], values[19_999]));
        assert_eq!(spread.total_ns, values.iter().sum::<u64>());
    }

    #[test]
    fn few_are_exact_and_none_is_nothing() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.spread(), Spread::default());
        [5, 1, 3].into_iter().for_each(|ns| histogram.add(ns));
        assert_eq!(
            (histogram.spread().p50_ns, histogram.spread().mean_ns),
            (3, 3.0)
        );
    }

    #[test]
    fn every_value_lies_in_the_slot_that_it_is_placed_in() {
        for ns in (0..100_000).chain([u64::MAX / 3, u64::MAX]) {
            let (octave, slot) = place(ns);
            let middle = middle(octave, slot) as f64;
            assert!(
                (middle - ns as f64).abs() <= ns as f64 / 250.0 + 0.5,
                "{ns}: {middle}"
            );
        }
    }
}

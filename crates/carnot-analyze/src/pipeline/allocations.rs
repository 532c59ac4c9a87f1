//! Memory by owner: how much was taken, how often, in which sizes, for how long, what was held at the peak, and whether it grows.

use std::collections::{BTreeMap, HashMap};

use carnot_statistics::trend;
use serde::Serialize;

use super::histogram::{Histogram, Spread};
use super::series::Curve;
use crate::statistics::ratio;

/// Lifetimes are known of so many allocations that are live at once; of more, as many as these are followed.
const MOST_FOLLOWED: usize = 1 << 20;
/// A trend is looked for in so many values: its time grows with their square.
const TREND_VALUES: usize = 200;
/// An allocation below this is small.
const SMALL: u64 = 1 << 20;

/// Memory of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemoryAnalysis {
    /// By owner, the one that held most first.
    pub owners: Vec<OwnerMemory>,
    /// The most that all owners held together.
    pub peak_bytes: u64,
    /// When.
    pub peak_time_ns: u64,
    /// What each owner held then, the most first.
    pub at_peak: Vec<(String, u64)>,
    /// Pools and allocators that say how much they have and how much of it is used.
    pub pools: Vec<Pool>,
    /// Growth from one iteration to the next, where it is certain to 99 %.
    pub growth: Vec<Growth>,
}

/// What an owner, an allocator or a pool, did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OwnerMemory {
    /// Whose memory it is.
    pub owner: String,
    /// How often it was taken.
    pub allocations: u64,
    /// How often it was given back.
    pub releases: u64,
    /// Bytes taken.
    pub allocated_bytes: u64,
    /// Bytes given back.
    pub released_bytes: u64,
    /// Bytes held at the end.
    pub live_bytes: u64,
    /// Bytes held at most.
    pub peak_bytes: u64,
    /// The least that was taken at once.
    pub min_bytes: u64,
    /// The mean.
    pub mean_bytes: f64,
    /// The most.
    pub max_bytes: u64,
    /// The share of allocations under 1 MiB.
    pub small_share: f64,
    /// How many were of at least each power of two and less than the next: the power, and the number.
    pub size_classes: Vec<(u64, u64)>,
    /// From taking to giving back, of those that both were told of.
    pub lifetime: Spread,
    /// What was held over time.
    pub live: Curve,
}

/// A pool or an allocator: what it has, and what of it is used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Bytes that it has.
    pub reserved_bytes: f64,
    /// Bytes of these that are used.
    pub used_bytes: f64,
    /// The rest over what it has.
    pub fragmentation: f64,
}

/// What grows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Growth {
    /// The owner, or `process/resident_bytes`.
    pub what: String,
    /// Bytes from one iteration to the next: the median of all slopes.
    pub bytes_per_iteration: f64,
    /// Not less than this, to 99 %.
    pub low: f64,
    /// Not more than this.
    pub high: f64,
    /// Iterations that were looked at.
    pub iterations: usize,
}

#[derive(Debug)]
struct Owner {
    allocations: u64,
    releases: u64,
    allocated: u64,
    released: u64,
    live: u64,
    peak: u64,
    min: u64,
    max: u64,
    small: u64,
    classes: BTreeMap<u32, u64>,
    lifetimes: Histogram,
    curve: Curve,
    /// What was held at the end of each iteration.
    per_iteration: Vec<f64>,
}

/// Memory as events go by.
#[derive(Debug)]
pub(super) struct Memory {
    owners: BTreeMap<String, Owner>,
    open: HashMap<(u32, u64), (u64, u64)>,
    live: u64,
    peak: (u64, u64),
    at_peak: Vec<(String, u64)>,
    most_points: usize,
}

impl Memory {
    pub fn new(most_points: usize) -> Self {
        Self {
            owners: BTreeMap::new(),
            open: HashMap::new(),
            live: 0,
            peak: (0, 0),
            at_peak: Vec::new(),
            most_points,
        }
    }

    /// `site` keeps the identities of owners apart.
    pub fn take(&mut self, owner: &str, site: u32, time_ns: u64, bytes: i64, id: Option<u64>) {
        let size = bytes.unsigned_abs();
        if bytes < 0 && self.live == self.peak.0 && self.peak.0 > 0 {
            // The way down from a peak begins here: what it was made of is still there to be read.
            self.at_peak = self
                .owners
                .iter()
                .map(|(name, owner)| (name.clone(), owner.live))
                .collect();
        }
        let most_points = self.most_points;
        let of = match self.owners.get_mut(owner) {
            Some(of) => of,
            None => self
                .owners
                .entry(owner.to_owned())
                .or_insert_with(|| Owner::new(most_points)),
        };
        if bytes >= 0 {
            of.allocate(size);
            self.live = self.live.saturating_add(size);
        } else {
            let given = size.min(of.live);
            of.release(size);
            self.live = self.live.saturating_sub(given);
        }
        of.curve.add(time_ns, of.live as f64);
        if let Some(id) = id {
            let key = (site, id);
            if bytes >= 0 && self.open.len() < MOST_FOLLOWED {
                self.open.insert(key, (time_ns, size));
            } else if bytes < 0
                && let Some((taken, _)) = self.open.remove(&key)
            {
                of.lifetimes.add(time_ns.saturating_sub(taken));
            }
        }
        if self.live > self.peak.0 {
            self.peak = (self.live, time_ns);
        }
    }

    /// The end of an iteration.
    pub fn iteration(&mut self) {
        for owner in self.owners.values_mut() {
            owner.per_iteration.push(owner.live as f64);
            if owner.per_iteration.len() > 1 << 16 {
                // Every second is as good for a slope, which is then of two iterations; see `growth`.
                owner.per_iteration = owner.per_iteration.iter().copied().step_by(2).collect();
            }
        }
    }

    pub fn finish(mut self, iterations: u64) -> MemoryAnalysis {
        if self.live == self.peak.0 {
            self.at_peak = self
                .owners
                .iter()
                .map(|(name, owner)| (name.clone(), owner.live))
                .collect();
        }
        self.at_peak.retain(|(_, bytes)| *bytes > 0);
        self.at_peak
            .sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let growth = self.owners.iter();
        let growth =
            growth.filter_map(|(name, owner)| growth_of(name, &owner.per_iteration, iterations));
        let growth = growth.collect();
        let mut owners: Vec<OwnerMemory> = self
            .owners
            .into_iter()
            .map(|(name, owner)| owner.finish(name))
            .collect();
        owners.sort_by(|a, b| {
            b.peak_bytes
                .cmp(&a.peak_bytes)
                .then_with(|| a.owner.cmp(&b.owner))
        });
        MemoryAnalysis {
            owners,
            peak_bytes: self.peak.0,
            peak_time_ns: self.peak.1,
            at_peak: self.at_peak,
            pools: Vec::new(),
            growth,
        }
    }
}

/// What rises with certainty among `values`, which were taken at equal distances over `iterations`; the first quarter is left out, in which
/// caches fill and pools grow.
pub(super) fn growth_of(what: &str, values: &[f64], iterations: u64) -> Option<Growth> {
    let steady = &values[values.len() / 4..];
    let step = steady.len().div_ceil(TREND_VALUES).max(1);
    let thinned: Vec<f64> = steady.iter().copied().step_by(step).collect();
    let trend = trend(&thinned).filter(carnot_statistics::Trend::rises)?;
    // Values are of each iteration, or fewer; or samples between which there were several.
    let apart = step as f64 * iterations as f64 / values.len() as f64;
    Some(Growth {
        what: what.to_owned(),
        bytes_per_iteration: trend.slope / apart,
        low: trend.low / apart,
        high: trend.high / apart,
        iterations: iterations as usize,
    })
}

impl Owner {
    fn new(most_points: usize) -> Self {
        Self {
            allocations: 0,
            releases: 0,
            allocated: 0,
            released: 0,
            live: 0,
            peak: 0,
            min: u64::MAX,
            max: 0,
            small: 0,
            classes: BTreeMap::new(),
            lifetimes: Histogram::default(),
            curve: Curve::new(most_points),
            per_iteration: Vec::new(),
        }
    }

    fn allocate(&mut self, bytes: u64) {
        self.allocations += 1;
        self.allocated = self.allocated.saturating_add(bytes);
        self.live = self.live.saturating_add(bytes);
        self.peak = self.peak.max(self.live);
        (self.min, self.max) = (self.min.min(bytes), self.max.max(bytes));
        self.small += u64::from(bytes < SMALL);
        *self
            .classes
            .entry(bytes.checked_ilog2().unwrap_or(0))
            .or_default() += 1;
    }

    fn release(&mut self, bytes: u64) {
        self.releases += 1;
        self.released = self.released.saturating_add(bytes);
        // What was taken before the session began can be given back in it.
        self.live = self.live.saturating_sub(bytes);
    }

    fn finish(self, owner: String) -> OwnerMemory {
        OwnerMemory {
            owner,
            allocations: self.allocations,
            releases: self.releases,
            allocated_bytes: self.allocated,
            released_bytes: self.released,
            live_bytes: self.live,
            peak_bytes: self.peak,
            min_bytes: if self.allocations == 0 { 0 } else { self.min },
            mean_bytes: ratio(self.allocated as f64, self.allocations as f64),
            max_bytes: self.max,
            small_share: ratio(self.small as f64, self.allocations as f64),
            size_classes: self
                .classes
                .into_iter()
                .map(|(power, count)| (1 << power, count))
                .collect(),
            lifetime: self.lifetimes.spread(),
            live: self.curve,
        }
    }
}

/// Pools, from pairs of counters `NAME/reserved_bytes` and `NAME/allocated_bytes` at their last values.
pub(super) fn pools(last: impl Fn(&str) -> Option<f64>, names: &[String]) -> Vec<Pool> {
    let pools = names.iter().filter_map(|name| {
        let pool = name.strip_suffix("/reserved_bytes")?;
        let (reserved, used) = (last(name)?, last(&format!("{pool}/allocated_bytes"))?);
        Some(Pool {
            name: pool.to_owned(),
            reserved_bytes: reserved,
            used_bytes: used,
            fragmentation: ratio((reserved - used).max(0.0), reserved),
        })
    });
    pools.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_example() {
        let mut memory = Memory::new(100);
        memory.take("bank", 0, 10, 3 << 20, Some(1));
        memory.take("torch", 1, 20, 1000, Some(1));
        memory.take("bank", 0, 50, -(3 << 20), Some(1));
        memory.take("torch", 1, 60, 24, None);
        let found = memory.finish(0);
        assert_eq!(
            (found.peak_bytes, found.peak_time_ns),
            ((3 << 20) + 1000, 20)
        );
        assert_eq!(
            found.at_peak,
            [("bank".to_owned(), 3 << 20), ("torch".to_owned(), 1000)]
        );
        let (bank, torch) = (&found.owners[0], &found.owners[1]);
        assert_eq!(
            (bank.live_bytes, bank.lifetime.max_ns, bank.small_share),
            (0, 40, 0.0)
        );
        assert_eq!(
            (
                torch.live_bytes,
                torch.min_bytes,
                torch.mean_bytes,
                torch.small_share
            ),
            (1024, 24, 512.0, 1.0)
        );
        assert_eq!(torch.size_classes, [(16, 1), (512, 1)]);
    }

    #[test]
    fn a_leak_of_a_kibibyte_is_measured_and_a_warm_up_is_none() {
        let mut memory = Memory::new(100);
        for at in 0..400_u64 {
            memory.take("leak", 0, at * 10, 1024 + 5000, None);
            memory.take("leak", 0, at * 10 + 5, -5000, None);
            if at < 60 {
                memory.take("pool", 1, at * 10, 1 << 20, None);
            }
            memory.iteration();
        }
        let found = memory.finish(400);
        assert_eq!(found.growth.len(), 1, "{:?}", found.growth);
        assert_eq!(
            (
                found.growth[0].what.as_str(),
                found.growth[0].bytes_per_iteration
            ),
            ("leak", 1024.0)
        );
    }

    #[test]
    fn what_was_taken_before_may_be_given_back() {
        let mut memory = Memory::new(10);
        memory.take("bank", 0, 1, -50, Some(3));
        memory.take("bank", 0, 2, 10, Some(3));
        let found = memory.finish(0);
        assert_eq!((found.owners[0].live_bytes, found.peak_bytes), (10, 10));
    }

    #[test]
    fn pools_say_what_they_do_not_use() {
        let last = |name: &str| match name {
            "torch/reserved_bytes" => Some(100.0),
            "torch/allocated_bytes" => Some(75.0),
            _ => None,
        };
        let names = [
            "torch/reserved_bytes".to_owned(),
            "x/reserved_bytes".to_owned(),
        ];
        let found = pools(last, &names);
        assert_eq!((found.len(), found[0].fragmentation), (1, 0.25));
    }
}

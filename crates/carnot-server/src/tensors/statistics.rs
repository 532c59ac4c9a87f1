//! What became of a model's requests since it was loaded, in the terms in which Triton's clients ask for it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// How often, and how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub count: u64,
    pub time: Duration,
}

impl Count {
    pub fn add(&mut self, took: Duration) {
        self.count += 1;
        self.time += took;
    }
}

/// What became of a model's requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    /// Rows that were computed.
    pub rows: u64,
    /// Runs of an engine.
    pub runs: u64,
    /// Requests that were answered, from submission to the end.
    pub success: Count,
    /// Requests that failed, likewise.
    pub fail: Count,
    /// From submission to a run.
    pub queue: Count,
    /// Joining the inputs of requests.
    pub join: Count,
    /// In the engine.
    pub run: Count,
    /// Splitting its outputs.
    pub split: Count,
    /// Requests whose results were kept, looking them up; and those for which they had to be computed, all of it.
    pub cache_hit: Count,
    pub cache_miss: Count,
    /// Runs by their rows, of sizes that requests share: joining, running, splitting. How large a request is alone is its client's choice, and
    /// would be a row here for each.
    pub by_rows: BTreeMap<usize, [Count; 3]>,
    /// When the last request was taken.
    pub last: Option<SystemTime>,
}

/// How the time of a run divides.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts {
    pub join: Duration,
    pub run: Duration,
    pub split: Duration,
}

impl Statistics {
    /// A run of `rows` rows for `requests` requests has ended well; runs that are shared have at most `most`.
    pub(super) fn ran(&mut self, (rows, most): (usize, usize), requests: usize, parts: Parts) {
        self.rows += rows as u64;
        self.runs += 1;
        if rows <= most {
            let by_rows = self.by_rows.entry(rows).or_default();
            for (count, took) in by_rows.iter_mut().zip([parts.join, parts.run, parts.split]) {
                count.add(took);
            }
        }
        // Triton counts what a request spent, which is all of its run.
        for _ in 0..requests {
            self.join.add(parts.join);
            self.run.add(parts.run);
            self.split.add(parts.split);
        }
    }
}

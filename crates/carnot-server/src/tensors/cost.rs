//! What a run of so many rows takes, learnt from those that were; and whether waiting for another request pays.
//!
//! Let `n` rows of `k` requests wait for a free engine, let `c(n)` be the time of a run of `n` rows, and let the next request, of `r` rows,
//! be expected after `τ`. Who runs at once spends `k·c(n)` of waiting in all, and the next request waits for that run's rest and for
//! its own, `c(n) − τ + c(r)`. Who waits for it spends `k·(τ + c(n+r)) + c(n+r)`. The second is less where
//!
//! ```text
//! (k + 1) · (τ + c(n+r) − c(n)) < c(r)
//! ```
//!
//! (and never where `τ ≥ c(n)`). The largest `τ` for which this holds is how long it is worth to wait at most: who has waited for so long in vain has lost
//! no more than what there was to be won.

use std::collections::BTreeMap;
use std::time::Duration;

/// Runs of a size that are remembered; their median counts, so that a few that were disturbed do not.
const KEPT: usize = 9;
/// Of the most rows a second that there could be, what a target may not cost.
const GOOD_SHARE: f64 = 0.9;

/// Seconds that runs take by their rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Costs {
    recent: BTreeMap<usize, Recent>,
    /// The medians, never falling with the rows.
    known: Vec<(usize, f64)>,
}

#[derive(Clone, Debug, Default)]
struct Recent {
    seconds: Vec<f64>,
    next: usize,
}

impl Recent {
    fn add(&mut self, seconds: f64) {
        if self.seconds.len() < KEPT {
            self.seconds.push(seconds);
        } else {
            self.seconds[self.next] = seconds;
            self.next = (self.next + 1) % KEPT;
        }
    }

    fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted[(sorted.len() - 1) / 2]
    }
}

impl Costs {
    /// A run of `rows` took so long.
    pub fn observe(&mut self, rows: usize, took: Duration) {
        self.recent.entry(rows).or_default().add(took.as_secs_f64());
        let mut least = 0.0_f64;
        let rising = self.recent.iter().map(|(rows, recent)| {
            least = least.max(recent.median());
            (*rows, least)
        });
        self.known = rising.collect();
    }

    /// Seconds of a run of `rows`: between known sizes on the line between them, below the smallest its own, beyond the largest on the last line,
    /// or in proportion where only one size is known. None where none is.
    pub fn of(&self, rows: usize) -> Option<f64> {
        let known = &self.known;
        let after = known.partition_point(|(size, _)| *size < rows);
        let line = |(from, low): (usize, f64), (to, high): (usize, f64)| {
            let slope = (high - low) / (to - from) as f64;
            low + slope * (rows as f64 - from as f64)
        };
        match (known.get(after), after) {
            (Some(at), _) if at.0 == rows => Some(at.1),
            (Some(first), 0) => Some(first.1),
            (Some(above), _) => Some(line(known[after - 1], *above)),
            (None, 0) => None,
            (None, 1) => Some(known[0].1 * rows as f64 / known[0].0.max(1) as f64),
            (None, _) => Some(line(known[after - 2], known[after - 1])),
        }
    }

    /// How long it is worth to wait at most for a request of `next` rows while `rows` of `requests` wait; none where it is not known to pay.
    pub fn patience(&self, requests: usize, rows: usize, next: usize) -> Option<f64> {
        let (alone, now) = (self.of(next)?, self.of(rows)?);
        let more = self.of(rows + next)? - now;
        let patience = (alone / (requests + 1) as f64 - more).min(now);
        (patience > 0.0).then_some(patience)
    }

    /// Most rows of a run: at most `most`, and where there is a target the largest of which twice the time is within it, but none so small that
    /// it gives less than [`GOOD_SHARE`] of the rows a second that there could be.
    pub fn limit(&self, most: usize, target: Option<Duration>) -> usize {
        let (Some(target), false) = (target, self.known.is_empty()) else {
            return most;
        };
        let cost = |rows| {
            self.of(rows)
                .unwrap_or(f64::INFINITY)
                .max(f64::MIN_POSITIVE)
        };
        let rate = |rows: usize| rows as f64 / cost(rows);
        let fits = |rows: &usize| 2.0 * cost(*rows) <= target.as_secs_f64();
        let within = (1..=most).rev().find(fits).unwrap_or(1);
        let peak = (1..=most).map(rate).fold(0.0, f64::max);
        let good = (1..=most).find(|rows| rate(*rows) >= GOOD_SHARE * peak);
        within.max(good.unwrap_or(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(costs: &[(usize, u64)]) -> Costs {
        let mut learnt = Costs::default();
        for (rows, micros) in costs {
            learnt.observe(*rows, Duration::from_micros(*micros));
        }
        learnt
    }

    fn micros(costs: &Costs, rows: usize) -> f64 {
        (1e6 * costs.of(rows).unwrap()).round()
    }

    #[test]
    fn sizes_that_were_not_seen_lie_on_lines() {
        let costs = learnt(&[(2, 100), (4, 140), (8, 120)]);
        assert_eq!(
            [1, 2, 3, 4, 6, 8].map(|rows| micros(&costs, rows)),
            [100.0, 100.0, 120.0, 140.0, 140.0, 140.0]
        );
        assert_eq!(micros(&learnt(&[(2, 100), (4, 140)]), 6), 180.0);
        assert_eq!(micros(&learnt(&[(1, 50)]), 4), 200.0);
        assert_eq!(Costs::default().of(3), None);
    }

    #[test]
    fn a_few_disturbed_runs_do_not_count() {
        let mut costs = learnt(&[(1, 9_000), (1, 100), (1, 100), (1, 100)]);
        assert_eq!(micros(&costs, 1), 100.0);
        (0..9).for_each(|_| costs.observe(1, Duration::from_micros(300)));
        assert_eq!(micros(&costs, 1), 300.0, "what lasts does");
    }

    #[test]
    fn waiting_pays_where_rows_come_cheap_and_soon() {
        let flat = learnt(&[(1, 1_000), (2, 1_010), (8, 1_070)]);
        let patience = |rows| {
            flat.patience(rows, rows, 1)
                .map(|seconds| (1e6 * seconds).round())
        };
        assert_eq!(patience(1), Some(490.0));
        assert_eq!(patience(7), Some(115.0));
        let steep = learnt(&[(1, 1_000), (2, 2_000)]);
        assert_eq!(steep.patience(1, 1, 1), None);
        assert_eq!(Costs::default().patience(1, 1, 1), None);
    }

    #[test]
    fn a_target_bounds_the_rows_but_not_below_what_is_efficient() {
        let costs = learnt(&[(1, 100), (2, 190), (8, 730), (16, 1_450)]);
        let limit = |micros| costs.limit(16, Some(Duration::from_micros(micros)));
        assert_eq!(costs.limit(16, None), 16);
        assert_eq!([10_000, 1_500, 500, 10].map(limit), [16, 8, 2, 1]);
        let cheap = learnt(&[(1, 1_000), (16, 1_150)]);
        assert_eq!(
            cheap.limit(16, Some(Duration::from_micros(10))),
            15,
            "one by one would cost the rate"
        );
    }
}

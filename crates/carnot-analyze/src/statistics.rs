//! Percentiles and the distribution of a set of durations.
//!
//! Percentiles are linear between closest ranks (Hyndman and Fan's type 7, the default of `numpy`, R and spreadsheets):
//! with sorted values x₀…xₙ₋₁, the percentile p is at position h = (n − 1)·p/100, between x⌊h⌋ and x⌈h⌉.

use serde::Serialize;

/// The distribution of durations in nanoseconds; all 0 when there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Distribution {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub total_ns: u64,
    /// The shortest.
    pub min_ns: u64,
    /// The mean.
    pub mean_ns: f64,
    /// The standard deviation of the population.
    pub std_ns: f64,
    /// The median.
    pub p50_ns: u64,
    /// 90th percentile.
    pub p90_ns: u64,
    /// 95th percentile.
    pub p95_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl Distribution {
    /// The distribution of `durations`, which are sorted on the way.
    pub fn of(mut durations: Vec<u64>) -> Self {
        durations.sort_unstable();
        let (Some(&min_ns), Some(&max_ns)) = (durations.first(), durations.last()) else {
            return Self::default();
        };
        let total_ns = durations
            .iter()
            .fold(0, |sum: u64, &duration| sum.saturating_add(duration));
        let mean_ns = total_ns as f64 / durations.len() as f64;
        let at = |p| percentile(&durations, p).unwrap_or(0);
        Self {
            count: durations.len() as u64,
            total_ns,
            min_ns,
            mean_ns,
            std_ns: deviation(&durations, mean_ns),
            p50_ns: at(50.0),
            p90_ns: at(90.0),
            p95_ns: at(95.0),
            p99_ns: at(99.0),
            max_ns,
        }
    }

    /// Standard deviation over mean; 0 for no durations or for a mean of 0.
    pub fn variation(&self) -> f64 {
        if self.mean_ns > 0.0 {
            self.std_ns / self.mean_ns
        } else {
            0.0
        }
    }
}

fn deviation(values: &[u64], mean: f64) -> f64 {
    let squares: f64 = values
        .iter()
        .map(|&value| (value as f64 - mean).powi(2))
        .sum();
    (squares / values.len() as f64).sqrt()
}

/// The percentile `p` (0 to 100) of sorted values, linear between closest ranks, rounded to a whole number.
pub fn percentile(sorted: &[u64], p: f64) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    let position = last as f64 * (p / 100.0).clamp(0.0, 1.0);
    let (low, high) = (
        sorted[position.floor() as usize],
        sorted[position.ceil() as usize],
    );
    let between = (high - low) as f64 * position.fract();
    Some(low + between.round() as u64)
}

/// `part / whole`, and 0 where there is no whole.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_worked_example() {
        // numpy.percentile([15, 20, 35, 40, 50], [5, 30, 40, 50, 95, 100]) = 16, 23, 29, 35, 48, 50
        let values = [15, 20, 35, 40, 50];
        let found = [5.0, 30.0, 40.0, 50.0, 95.0, 100.0].map(|p| percentile(&values, p).unwrap());
        assert_eq!(found, [16, 23, 29, 35, 48, 50]);
    }

    #[test]
    fn one_value_is_every_percentile_and_none_has_none() {
        assert_eq!(percentile(&[7], 99.0), Some(7));
        assert_eq!(percentile(&[], 50.0), None);
        assert_eq!(Distribution::of(Vec::new()), Distribution::default());
    }

    #[test]
    fn a_distribution_of_a_worked_example() {
        let found = Distribution::of(vec![4, 2, 4, 5, 4, 7, 5, 9]);
        assert_eq!(
            (found.min_ns, found.max_ns, found.p50_ns, found.total_ns),
            (2, 9, 5, 40)
        );
        assert_eq!(
            (found.mean_ns, found.std_ns, found.variation()),
            (5.0, 2.0, 0.4)
        );
    }
}

//! Whether values rise from one to the next: the median of all slopes between two of them, with an interval (Theil, 1950; Sen, 1968).
//!
//! Memory of a process goes up in steps: an allocator that takes a larger piece keeps it. A line of least squares through such a step
//! has a slope, and an interval that leaves 0 out; the median of the slopes is moved by what goes on rising alone.

/// A slope, a value from one index to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// The median of the slopes.
    pub slope: f64,
    /// Not less than this, with the confidence that was asked for.
    pub low: f64,
    /// Not more than this.
    pub high: f64,
}

/// Fewer values say nothing that is certain to 99 %.
const LEAST_VALUES: usize = 8;
/// Of the normal distribution, between 99 values in a hundred lie.
const Z_99: f64 = 2.575_829;

impl Trend {
    /// The values certainly rise.
    pub fn rises(&self) -> bool {
        self.low > 0.0
    }
}

/// The trend of `values` that were taken at equal distances, certain to 99 %; nothing of fewer than eight. Takes time and
/// memory of the square of their number.
pub fn trend(values: &[f64]) -> Option<Trend> {
    if values.len() < LEAST_VALUES {
        return None;
    }
    let mut slopes: Vec<f64> = (0..values.len())
        .flat_map(|from| (from + 1..values.len()).map(move |to| (from, to)))
        .map(|(from, to)| (values[to] - values[from]) / (to - from) as f64)
        .collect();
    slopes.sort_by(f64::total_cmp);
    let spread = Z_99 * variance(values).sqrt();
    let count = slopes.len() as f64;
    // Ranks from 1, rounded outwards.
    let low = ((count - spread) / 2.0).floor().max(1.0) as usize;
    let high = (f64::midpoint(count, spread).ceil() as usize + 1).min(slopes.len());
    Some(Trend {
        slope: f64::midpoint(slopes[(slopes.len() - 1) / 2], slopes[slopes.len() / 2]),
        low: slopes[low - 1],
        high: slopes[high - 1],
    })
}

/// Of Kendall's count of rising pairs less falling ones, if nothing rises; equal values count as they do there.
fn variance(values: &[f64]) -> f64 {
    let term = |count: usize| {
        let count = count as f64;
        count * (count - 1.0) * (2.0 * count + 5.0)
    };
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let ties: f64 = sorted
        .chunk_by(|one, other| one == other)
        .map(|equal| term(equal.len()))
        .sum();
    (term(values.len()) - ties) / 18.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn series(count: usize, seed: u64, value: impl Fn(usize, f64) -> f64) -> Vec<f64> {
        let mut dice = Dice(seed);
        (0..count)
            .map(|index| value(index, dice.uniform()))
            .collect()
    }

    #[test]
    fn what_rises_is_seen_under_noise() {
        for seed in 0..20 {
            let values = series(40, seed, |index, noise| index as f64 + 20.0 * noise);
            let trend = trend(&values).unwrap();
            assert!(trend.rises(), "{trend:?}");
            assert!(trend.low <= trend.slope && trend.slope <= trend.high);
            assert!(trend.low < 1.0 && trend.high > 0.9, "{trend:?}");
        }
    }

    #[test]
    fn noise_a_step_and_spikes_do_not_rise() {
        for seed in 0..50 {
            let noise = series(40, seed, |_, noise| noise);
            let rises = trend(&noise).unwrap().rises();
            // One in two hundred may, by what 99 % means; none of these does.
            assert!(!rises, "seed {seed}: {:?}", trend(&noise));
        }
        let step = series(40, 1, |index, _| if index < 20 { 1.0 } else { 9.0 });
        assert!(!trend(&step).unwrap().rises(), "{:?}", trend(&step));
        let spikes = series(40, 1, |index, _| if index % 13 == 12 { 99.0 } else { 1.0 });
        assert_eq!(trend(&spikes).unwrap().slope, 0.0);
        assert_eq!(
            trend(&[5.0; 10]).unwrap(),
            Trend {
                slope: 0.0,
                low: 0.0,
                high: 0.0
            }
        );
    }

    #[test]
    fn few_values_say_nothing() {
        assert_eq!(trend(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), None);
        assert!(
            trend(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
                .unwrap()
                .rises()
        );
    }

    #[test]
    fn the_interval_is_that_of_a_worked_example() {
        // Gilbert, Statistical Methods for Environmental Pollution Monitoring, 1987: ranks (N' ∓ C) / 2 with C = z √Var(S).
        let values = [3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.0, 6.0];
        assert_eq!(variance(&values), 8.0 * 7.0 * 21.0 / 18.0);
        let trend = trend(&values).unwrap();
        // C = 2.5758 √65.33 = 20.82, so that the third and the twenty-sixth of 28 slopes bound it.
        let mut slopes: Vec<f64> = Vec::new();
        for to in 1..8 {
            for from in 0..to {
                slopes.push((values[to] - values[from]) / (to - from) as f64);
            }
        }
        slopes.sort_by(f64::total_cmp);
        assert_eq!((trend.low, trend.high), (slopes[2], slopes[25]));
    }
}

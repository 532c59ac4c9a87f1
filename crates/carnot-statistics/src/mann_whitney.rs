//! Two samples that are not paired: whether one tends to be larger (Mann and Whitney, 1947), and by how much (Hodges and Lehmann, 1963).
//!
//! The statistic is the number of pairs, one of each sample, in which the second is larger. Where both come from one distribution every order
//! of their values is as probable as any other, whatever that distribution is: so the number of orders that give each count is the
//! distribution of the statistic, exactly. It also says which of the sorted differences of every two enclose the shift (Hollander and
//! Wolfe, section 4.3).

use crate::differences::{Sample, difference};
use crate::distributions::{normal_above, normal_quantile_above};
use crate::signed_rank::Shift;

/// Up to so many pairs the distribution is counted out; the normal one is as close as matters beyond.
const COUNTED_PAIRS: usize = 2500;

/// What came of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannWhitney {
    /// Pairs in which the second is larger; those that are alike count half.
    pub statistic: f64,
    /// How probable so uneven a statistic is, on either side, where both samples come from one distribution.
    pub p: f64,
}

/// Tests whether values of `second` tend to be larger or smaller than those of `first`. The p value is exact up to 2,500 pairs without
/// ties; else it is that of the normal distribution, corrected for ties and for continuity. `None` where a sample is empty.
pub fn mann_whitney(first: &[f64], second: &[f64]) -> Option<MannWhitney> {
    let pairs = first.len() * second.len();
    if pairs == 0 {
        return None;
    }
    let Ranks { statistic, ties } = Ranks::of(first, second);
    let middle = pairs as f64 / 2.0;
    let away = (statistic - middle).abs();
    let p = if ties == 0.0 && pairs <= COUNTED_PAIRS {
        let below = at_most(first.len(), second.len());
        2.0 * below[(middle - away) as usize]
    } else {
        let deviation = deviation(first.len(), second.len(), ties);
        // A deviation of 0 is that of values that are all alike.
        let z = if deviation > 0.0 {
            (away - 0.5) / deviation
        } else {
            0.0
        };
        2.0 * normal_above(z)
    };
    Some(MannWhitney {
        statistic,
        p: p.min(1.0),
    })
}

/// By how much `second` is larger than `first`: the median of the differences of every two, in an interval that misses the shift with a probability
/// of at most `error`. `None` where so few values cannot promise that.
pub fn shift_between(first: &[f64], second: &[f64], error: f64) -> Option<Shift> {
    let pairs = first.len() * second.len();
    let (rank, missed) = if pairs <= COUNTED_PAIRS {
        let below = at_most(first.len(), second.len());
        let rank = below
            .iter()
            .take_while(|&&below| 2.0 * below <= error)
            .count()
            .checked_sub(1)?;
        (rank, 2.0 * below[rank])
    } else {
        let (middle, deviation) = (
            pairs as f64 / 2.0,
            deviation(first.len(), second.len(), 0.0),
        );
        let rank = middle - 0.5 - normal_quantile_above(error / 2.0) * deviation;
        if rank < 0.0 {
            return None;
        }
        (rank as usize, error)
    };
    let (first, second) = (Sample::of(first), Sample::of(second));
    let at = |rank: usize| difference(&first, &second, rank as f64);
    Some(Shift {
        estimate: f64::midpoint(at(pairs.div_ceil(2)), at(pairs / 2 + 1)),
        low: at(rank + 1),
        high: at(pairs - rank),
        confidence: 1.0 - missed,
    })
}

/// What the common order of two samples says.
struct Ranks {
    statistic: f64,
    /// The sum of t³ − t over the groups of t values that are alike.
    ties: f64,
}

impl Ranks {
    fn of(first: &[f64], second: &[f64]) -> Self {
        let of_first = first.iter().map(|&value| (value, false));
        let of_second = second.iter().map(|&value| (value, true));
        let mut all: Vec<(f64, bool)> = of_first.chain(of_second).collect();
        all.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (mut smaller, mut statistic, mut ties) = (0.0, 0.0, 0.0);
        for alike in all.chunk_by(|one, other| one.0 == other.0) {
            let seconds = alike.iter().filter(|(_, is_second)| *is_second).count() as f64;
            let firsts = alike.len() as f64 - seconds;
            statistic += seconds * (smaller + firsts / 2.0);
            smaller += firsts;
            ties += (alike.len() as f64).powi(3) - alike.len() as f64;
        }
        Self { statistic, ties }
    }
}

/// The deviation of the statistic.
fn deviation(first: usize, second: usize, ties: f64) -> f64 {
    let (m, n) = (first as f64, second as f64);
    let all = m + n;
    (m * n / 12.0 * (all + 1.0 - ties / (all * (all - 1.0))))
        .max(0.0)
        .sqrt()
}

/// The probability that the statistic of samples of these sizes is at most 0, 1, 2, … Costs the square of the number of pairs.
fn at_most(first: usize, second: usize) -> Vec<f64> {
    // Orders of i of the first and j of the second by their statistic. The largest is of the first: it is above none of the second that counts
    // here, and the rest is an order of i − 1 and j; or of the second: it is above all i, and the rest is an order of i and j − 1.
    let mut orders = vec![vec![0.0; first * second + 1]; second + 1];
    for row in &mut orders {
        row[0] = 1.0;
    }
    for i in 1..=first {
        for j in 1..=second {
            for statistic in i..=i * j {
                orders[j][statistic] += orders[j - 1][statistic - i];
            }
        }
    }
    let counts = &orders[second];
    let all: f64 = counts.iter().sum();
    let mut sum = 0.0;
    let add = |count: &f64| {
        sum += count;
        sum / all
    };
    counts.iter().map(add).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[track_caller]
    fn check(first: &[f64], second: &[f64], statistic: f64, p: f64) {
        let found = mann_whitney(first, second).unwrap();
        assert_eq!(found.statistic, statistic);
        assert!((found.p / p - 1.0).abs() < 1e-9, "{found:?}, expected {p}");
    }

    /// Samples of 12 and 15 values that are all different.
    const DIFFERENT: (&[f64], &[f64]) = (
        &[
            10.001, 10.299, 9.726, 9.109, 9.545, 9.008, 10.06, 11.34, 9.508, 9.38, 10.49, 10.357,
        ],
        &[
            11.105, 10.07, 10.971, 11.695, 9.656, 10.542, 9.099, 9.71, 9.158, 10.765, 9.733,
            11.271, 11.157, 10.813, 8.483,
        ],
    );

    /// Samples of 60 and 70 values with ties: more pairs than are counted out.
    fn large() -> (Vec<f64>, Vec<f64>) {
        let first = |i: u32| f64::from(i * 37 % 101) + 0.5 * f64::from(i % 7);
        let second = |i: u32| f64::from(i * 53 % 101) + 6.0 + 0.25 * f64::from(i % 5);
        ((0..60).map(first).collect(), (0..70).map(second).collect())
    }

    #[test]
    fn p_values_are_those_of_scipy() {
        // scipy 1.17.1: stats.mannwhitneyu, exact and asymptotic.
        let small = [1.1, 2.2, 3.3, 4.4, 5.5];
        check(
            &small,
            &[2.5, 3.5, 6.1, 7.2, 8.3, 9.4],
            25.0,
            0.082_251_082_251_082_26,
        );
        check(DIFFERENT.0, DIFFERENT.1, 116.0, 0.217_355_293_933_568_26);
        let ties = [1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 4.0, 5.0];
        check(
            &ties,
            &[2.0, 3.0, 4.0, 4.0, 5.0, 5.0, 6.0, 6.0, 7.0],
            58.5,
            0.031_758_957_148_070_7,
        );
        let (first, second) = large();
        check(&first, &second, 2238.0, 0.520_759_187_052_684_9);
    }

    #[test]
    fn a_shift_is_the_median_of_the_differences() {
        // numpy 2: the sorted differences; their ranks from the distributions of scipy 1.17.1.
        let found = shift_between(DIFFERENT.0, DIFFERENT.1, 0.05).unwrap();
        let expected = [0.4815, -0.35, 1.162, 0.953_133_653_860_534_8];
        for (found, expected) in [found.estimate, found.low, found.high, found.confidence]
            .iter()
            .zip(expected)
        {
            assert!(
                (found - expected).abs() < 1e-9,
                "{found}, expected {expected}"
            );
        }
        let (first, second) = large();
        let found = shift_between(&first, &second, 0.01).unwrap();
        assert_eq!((found.estimate, found.low, found.high), (3.5, -10.75, 17.5));
    }

    #[test]
    fn the_interval_leaves_out_zero_where_the_test_is_certain() {
        let (mut dice, mut certain) = (Dice(3), 0);
        for trial in 0..200 {
            let mut sample = |count, shift: f64| -> Vec<f64> {
                (0..count).map(|_| shift + dice.normal()).collect()
            };
            let (first, second) = (sample(8, 0.0), sample(9, f64::from(trial % 4)));
            let p = mann_whitney(&first, &second).unwrap().p;
            let shift = shift_between(&first, &second, 0.02).unwrap();
            let leaves_out = shift.low > 0.0 || shift.high < 0.0;
            assert_eq!(leaves_out, p <= 0.02, "{shift:?}, {p}");
            certain += usize::from(leaves_out);
        }
        assert!((50..150).contains(&certain), "{certain}");
    }

    #[test]
    fn few_values_promise_little() {
        assert_eq!(mann_whitney(&[], &[1.0]), None);
        assert_eq!(mann_whitney(&[1.0; 9], &[1.0; 80]).unwrap().p, 1.0);
        assert_eq!(
            shift_between(&[1.0; 3], &[2.0; 3], 0.09),
            None,
            "2 in 20 is more"
        );
        assert!(shift_between(&[1.0; 3], &[2.0; 3], 0.1).is_some());
        assert_eq!(shift_between(&[], &[1.0], 0.5), None);
    }

    #[test]
    fn a_million_pairs_of_pairs_are_not_made() {
        let first: Vec<f64> = (0..100_000).map(f64::from).collect();
        let second: Vec<f64> = first.iter().map(|value| value + 1000.0).collect();
        let found = shift_between(&first, &second, 0.01).unwrap();
        assert_eq!(found.estimate, 1000.0);
        assert!(found.low > 0.0 && found.high < 2000.0, "{found:?}");
    }
}

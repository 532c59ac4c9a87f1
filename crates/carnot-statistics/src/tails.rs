//! By how much a quantile of one sample is larger than that of another: for the tails, where the median says nothing.
//!
//! Of n values, the number below the true quantile is distributed binomially, whatever the values are (Thompson, 1936): so the true
//! quantile lies between the j-th and the next with a probability that is known. These are the probabilities that resampling (Efron, 1979) would
//! find by chance for the middle of a sample; here they are counted out, and what lies beyond the largest value is not left out:
//! of a hundred values, the 99th percentile is above all of them in 37 of 100 cases, and nobody knows by how much. Each quantile is taken to be at the end of its
//! gap that is worse for what is claimed.

use crate::differences::{Sample, difference, weight_at_most};
use crate::distributions::binomial;
use crate::quantiles::quantile;
use crate::signed_rank::Shift;

/// A shift of a quantile, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TailShift {
    /// By how much the quantile of the second is larger; an end of the interval is infinite where no value bounds it.
    pub shift: Shift,
    /// How probable a shift of such an uncertain size is, on either side, where there is none.
    pub p: f64,
}

/// By how much the quantile of `share` is larger in `second` than in `first`, in an interval that misses it with a probability of at most `error`. `None`
/// where a sample is empty. Costs what sorting costs.
pub fn tail_shift(first: &[f64], second: &[f64], share: f64, error: f64) -> Option<TailShift> {
    let estimate = quantile(second, share)? - quantile(first, share)?;
    let (first, second) = (Ends::of(first, share), Ends::of(second, share));
    let not_above = weight_at_most(&first.upper, &second.lower, 0.0);
    let not_below = 1.0 - weight_at_most(&first.lower, &second.upper, 0.0_f64.next_down());
    Some(TailShift {
        shift: Shift {
            estimate,
            low: difference(&first.upper, &second.lower, error / 2.0),
            high: difference(&first.lower, &second.upper, 1.0 - error / 2.0),
            confidence: 1.0 - error,
        },
        p: (2.0 * not_above.min(not_below)).clamp(0.0, 1.0),
    })
}

/// The gaps between values, each with the probability that the quantile is in it.
struct Ends {
    /// The ends of the gaps towards the small; that of the first is −∞.
    lower: Sample,
    /// The ends towards the large; that of the last is ∞.
    upper: Sample,
}

impl Ends {
    fn of(values: &[f64], share: f64) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let probabilities = binomial(sorted.len(), share);
        let lower = [&[f64::NEG_INFINITY], &sorted[..]].concat();
        let upper = [&sorted[..], &[f64::INFINITY]].concat();
        Self {
            lower: Sample::weighted(lower, &probabilities),
            upper: Sample::weighted(upper, &probabilities),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    /// Latencies: logarithms of normal noise, and one in twenty much longer.
    fn latencies(dice: &mut Dice, count: usize, tail: f64) -> Vec<f64> {
        let mut one = || {
            let spike = if dice.uniform() < 0.05 { tail } else { 0.0 };
            0.2 * dice.normal() + spike
        };
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn the_same_against_itself_is_seldom_called_different() {
        let mut dice = Dice(1);
        for (count, share) in [(50, 0.95), (200, 0.95), (200, 0.99), (1000, 0.99)] {
            let (trials, error) = (1000, 0.05);
            let (mut alarms, mut missed) = (0, 0);
            for _ in 0..trials {
                let first = latencies(&mut dice, count, 1.0);
                let second = latencies(&mut dice, count, 1.0);
                let found = tail_shift(&first, &second, share, error).unwrap();
                alarms += usize::from(found.p <= error);
                missed += usize::from(found.shift.low > 0.0 || found.shift.high < 0.0);
            }
            // Five in a hundred, and three deviations of such a count.
            assert!(
                alarms.max(missed) <= 50 + 21,
                "{alarms}, {missed} of {trials}: {count} at {share}"
            );
        }
    }

    #[test]
    fn a_longer_tail_is_found_where_the_median_stays() {
        let (mut dice, mut found) = (Dice(2), 0);
        for _ in 0..100 {
            let first = latencies(&mut dice, 1000, 1.0);
            let second = latencies(&mut dice, 1000, 2.0);
            let tail = tail_shift(&first, &second, 0.99, 0.01).unwrap();
            found += usize::from(tail.p <= 0.001 && tail.shift.low > 0.0);
        }
        assert!(found >= 95, "{found}");
    }

    #[test]
    fn nobody_knows_what_is_beyond_the_largest() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        let more: Vec<f64> = hundred.iter().map(|value| value + 1000.0).collect();
        let tail = tail_shift(&hundred, &more, 0.99, 0.01).unwrap();
        assert_eq!(tail.shift.estimate, 1000.0);
        assert_eq!(
            (tail.shift.low, tail.shift.high),
            (f64::NEG_INFINITY, f64::INFINITY)
        );
        assert!(
            tail.p > 0.5,
            "that of the first may be above all values: {tail:?}"
        );
        // The 90th percentiles are between values on both sides.
        let middle = tail_shift(&hundred, &more, 0.9, 0.01).unwrap();
        assert!(
            middle.shift.low > 980.0 && middle.shift.high < 1020.0,
            "{middle:?}"
        );
        assert!(middle.p < 1e-4, "{middle:?}");
        assert_eq!(tail_shift(&[], &more, 0.9, 0.01), None);
        assert_eq!(
            tail_shift(&[1.0; 30], &[1.0; 30], 0.9, 0.01).unwrap().p,
            1.0
        );
    }
}

//! Where a median lies, by an interval that assumes nothing of how the values are distributed.
//!
//! Of `n` independent values sorted, the `k`-th smallest and the `k`-th largest enclose the median with a probability of
//! `1 − 2·P(X < k)`, where `X` is binomial of `n` and one half (David and Nagaraja, "Order Statistics", section 7.1).

use crate::quantiles::sorted;

/// The least confidence of an interval: that of the range of five values.
const CONFIDENCE: f64 = 0.9375;

/// Where a median lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end, a value of the sample.
    pub low: f64,
    /// The upper end, likewise.
    pub high: f64,
    /// The probability with which it encloses the median.
    pub confidence: f64,
}

/// The narrowest interval between two order statistics whose confidence reaches 93.75 %; of fewer than five values, their
/// range with the confidence that it has. `None` of none.
pub fn median_interval(values: &[f64]) -> Option<Interval> {
    let values = sorted(values);
    let count = values.len();
    let reaches = |rank: &usize| confidence(count, *rank) >= CONFIDENCE;
    let rank = (1..=count.div_ceil(2)).rev().find(reaches).unwrap_or(1);
    Some(Interval {
        low: *values.get(rank - 1)?,
        high: values[count - rank],
        confidence: confidence(count, rank),
    })
}

/// The probability that the `rank`-th smallest and the `rank`-th largest of `count` values enclose the median.
fn confidence(count: usize, rank: usize) -> f64 {
    let mut term = 0.5_f64.powi(count as i32);
    let mut below = 0.0;
    for successes in 0..rank {
        below += term;
        term *= (count - successes) as f64 / (successes + 1) as f64;
    }
    1.0 - 2.0 * below
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn intervals_are_those_of_the_tables() {
        // Ranks and confidences as printed for the sign test, for example in Conover's table A3.
        let cases = [
            (2, 1, 0.5),
            (5, 1, 0.9375),
            (6, 1, 0.968_75),
            (8, 1, 0.992_187_5),
            (9, 2, 0.960_937_5),
            (12, 3, 0.961_425_78),
            (15, 4, 0.964_843_75),
        ];
        assert_eq!(median_interval(&[]), None);
        for (count, rank, expected) in cases {
            let values: Vec<f64> = (1..=count).map(f64::from).rev().collect();
            let interval = median_interval(&values).unwrap();
            let ends = (f64::from(rank), f64::from(count + 1 - rank));
            assert_eq!((interval.low, interval.high), ends, "{count} values");
            assert!(
                (interval.confidence - expected).abs() < 1e-8,
                "{count} values"
            );
        }
    }

    /// Draws many samples whose median is known and counts how often the interval has it: the definition, tried out.
    #[test]
    fn intervals_enclose_the_median_as_often_as_they_say() {
        let mut dice = Dice(1);
        for count in [5, 7, 11, 15] {
            let (trials, mut hits, mut stated) = (4000, 0, 0.0);
            for _ in 0..trials {
                // A long tail to one side, as timings have; the median of the cube is the cube of the median.
                let values: Vec<f64> = (0..count).map(|_| dice.uniform().powi(3)).collect();
                let interval = median_interval(&values).unwrap();
                hits += u32::from((interval.low..=interval.high).contains(&0.125));
                stated = interval.confidence;
            }
            let found = f64::from(hits) / f64::from(trials);
            assert!(
                (found - stated).abs() < 0.015,
                "{count} values: {found} for {stated}"
            );
        }
    }
}

//! Medians, and intervals of medians that assume nothing of how the values are distributed.
//!
//! Of `n` independent values sorted, the `k`-th smallest and the `k`-th largest enclose the median with a probability of
//! `1 − 2·P(X < k)`, where `X` is binomial of `n` and one half (David and Nagaraja, "Order Statistics", section 7.1).

/// The least confidence of an interval: that of the range of five values.
const CONFIDENCE: f64 = 0.9375;

/// Where a median lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    /// The probability with which it encloses the median.
    pub confidence: f64,
}

/// The middle value, or the mean of the two middle ones; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let values = sorted(values);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// The narrowest interval between two order statistics whose confidence reaches 93.75 %; of fewer than five values, their
/// range with the confidence that it has.
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

/// The least and the largest value.
pub fn range(values: &[f64]) -> Option<(f64, f64)> {
    let values = sorted(values);
    Some((*values.first()?, *values.last()?))
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

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_none() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(median_interval(&[]), None);
        assert_eq!(range(&[2.0, 1.0]), Some((1.0, 2.0)));
    }

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
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        for count in [5, 7, 11, 15] {
            let (trials, mut hits, mut stated) = (4000, 0, 0.0);
            for _ in 0..trials {
                // A long tail to one side, as timings have; the median of the cube is the cube of the median.
                let values: Vec<f64> = (0..count).map(|_| uniform().powi(3)).collect();
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

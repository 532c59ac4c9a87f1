//! By how much one of a pair is larger: the Hodges-Lehmann estimate, with the interval of Wilcoxon's signed-rank test.
//!
//! The estimate is the median of the means of every two differences, each with itself too (Hodges and Lehmann, 1963). Under any
//! noise that does as well to one of a pair as to the other, the number of those means below the true shift is distributed as the signed-rank
//! statistic, exactly: so its quantiles say which of the sorted means enclose the shift (Hollander and Wolfe, section 3.2).

/// A shift, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The estimate.
    pub estimate: f64,
    /// The interval that holds it with the probability `confidence`.
    pub low: f64,
    /// Its other end.
    pub high: f64,
    /// At least what was asked for.
    pub confidence: f64,
}

/// The shift of `differences`, in an interval that misses it with a probability of at most `error`. `None` where so few differences cannot
/// promise that: of n of them, the widest interval misses in 2 of 2ⁿ cases.
pub fn shift(differences: &[f64], error: f64) -> Option<Shift> {
    let missed = probabilities(differences.len());
    let rank = missed
        .iter()
        .take_while(|&&below| 2.0 * below <= error)
        .count()
        .checked_sub(1)?;
    let means = means(differences);
    let middle = means.len() / 2;
    Some(Shift {
        estimate: f64::midpoint(means[(means.len() - 1) / 2], means[middle]),
        low: means[rank],
        high: means[means.len() - 1 - rank],
        confidence: 1.0 - 2.0 * missed[rank],
    })
}

/// How probable differences so uneven are, on either side, where one of a pair is as likely to be larger as the other (Wilcoxon, 1945). Those of
/// 0 say nothing; those of the same size share their ranks.
pub fn signed_rank(differences: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = differences
        .iter()
        .copied()
        .filter(|difference| *difference != 0.0)
        .collect();
    sorted.sort_by(|one, other| one.abs().total_cmp(&other.abs()));
    let (mut below, mut sum) = (0, 0.0);
    for alike in sorted.chunk_by(|one, other| one.abs() == other.abs()) {
        let rank = below as f64 + (alike.len() + 1) as f64 / 2.0;
        sum += rank * alike.iter().filter(|difference| **difference > 0.0).count() as f64;
        below += alike.len();
    }
    let all = (below * (below + 1)) as f64 / 2.0;
    let least = sum.min(all - sum).ceil() as usize;
    (2.0 * probabilities(below)[least]).min(1.0)
}

/// The means of every two, sorted.
fn means(differences: &[f64]) -> Vec<f64> {
    let with_later = |(index, first): (usize, &f64)| {
        let later = differences[index..].iter();
        later
            .map(|second| f64::midpoint(*first, *second))
            .collect::<Vec<f64>>()
    };
    let mut means: Vec<f64> = differences
        .iter()
        .enumerate()
        .flat_map(with_later)
        .collect();
    means.sort_by(f64::total_cmp);
    means
}

/// The probability that the signed-rank statistic of `count` differences is at most 0, 1, 2, …
fn probabilities(count: usize) -> Vec<f64> {
    let mut exactly = vec![0.0; count * (count + 1) / 2 + 1];
    exactly[0] = 1.0;
    for rank in 1..=count {
        for sum in (0..exactly.len()).rev() {
            let with = if sum >= rank {
                exactly[sum - rank]
            } else {
                0.0
            };
            exactly[sum] = f64::midpoint(exactly[sum], with);
        }
    }
    let mut below = 0.0;
    exactly
        .iter()
        .map(|probability| {
            below += probability;
            below
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_the_tables() {
        // Of three differences: 8 sign patterns, with the sums 0 1 2 3 3 4 5 6.
        assert_eq!(
            probabilities(3),
            [0.125, 0.25, 0.375, 0.625, 0.75, 0.875, 1.0]
        );
        // Hollander and Wolfe, table A.4: P(W ≤ 8) of 10 is 0.024, of 20 P(W ≤ 52) is 0.024.
        assert!((probabilities(10)[8] - 0.0244).abs() < 1e-4);
        assert!((probabilities(20)[52] - 0.0242).abs() < 1e-4);
        assert!((probabilities(80).last().unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_shift_is_the_median_of_the_means() {
        let of = |differences: &[f64]| shift(differences, 0.1).unwrap();
        let five = of(&[1.0, 2.0, 3.0, 4.0, 100.0]);
        assert_eq!(five.estimate, 3.0, "one outlier moves little");
        assert_eq!((five.low, five.high, five.confidence), (1.0, 100.0, 0.9375));
        let ten = of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
        assert_eq!(
            (ten.estimate, ten.low, ten.high),
            (5.5, 3.5, 7.5),
            "as R's wilcox.test has it"
        );
    }

    #[test]
    fn p_values_are_those_of_scipy() {
        // scipy 1.17.1: stats.wilcoxon, exact.
        let close = |found: f64, expected: f64| {
            assert!(
                (found - expected).abs() < 1e-12,
                "{found}, expected {expected}"
            );
        };
        close(
            signed_rank(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]),
            0.001_953_125,
        );
        close(
            signed_rank(&[0.3, -1.2, 2.5, 0.8, -0.1, 3.3, 1.9, -2.2, 4.1]),
            0.203_125,
        );
        assert_eq!(signed_rank(&[0.0; 20]), 1.0);
        assert_eq!(signed_rank(&[]), 1.0);
        assert_eq!(signed_rank(&[1.0, -1.0]), 1.0);
    }

    #[test]
    fn few_differences_promise_little() {
        assert_eq!(shift(&[], 0.5), None);
        assert_eq!(shift(&[1.0; 9], 0.003), None, "2 in 512 is more");
        assert!(shift(&[1.0; 10], 0.003).is_some());
    }
}

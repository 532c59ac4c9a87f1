//! Quantiles of the differences of every two of two samples, without making them: a million of each would make 10¹² of them.
//!
//! Of sorted samples, how many differences are at most d is counted by two fingers that only go up; the d that so many do not exceed is
//! found by halving the floating-point numbers themselves, 64 times. Each costs as much as the samples are long.

/// A sample, sorted, and the weight of the values up to each.
pub(crate) struct Sample {
    values: Vec<f64>,
    up_to: Vec<f64>,
}

impl Sample {
    /// Each value counts as one.
    pub fn of(values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let up_to = (1..=values.len()).map(|count| count as f64).collect();
        Self { values, up_to }
    }

    /// Values in rising order, with what each counts.
    pub fn weighted(values: Vec<f64>, weights: &[f64]) -> Self {
        let mut sum = 0.0;
        let add = |weight: &f64| {
            sum += weight;
            sum
        };
        let up_to = weights.iter().map(add).collect();
        Self { values, up_to }
    }

    fn weight(&self, index: usize) -> f64 {
        self.up_to[index]
            - index
                .checked_sub(1)
                .map_or(0.0, |before| self.up_to[before])
    }
}

/// The weight of the pairs in which `second` less `first` is at most `most`.
pub(crate) fn weight_at_most(first: &Sample, second: &Sample, most: f64) -> f64 {
    let (mut sum, mut taken) = (0.0, 0);
    for (index, value) in first.values.iter().enumerate() {
        while second
            .values
            .get(taken)
            .is_some_and(|other| other - value <= most)
        {
            taken += 1;
        }
        if let Some(last) = taken.checked_sub(1) {
            sum += first.weight(index) * second.up_to[last];
        }
    }
    sum
}

/// The least difference of `second` less `first` that pairs of this weight in all do not exceed; infinite where there are not so many.
pub(crate) fn difference(first: &Sample, second: &Sample, weight: f64) -> f64 {
    let (mut low, mut high) = (rank(f64::NEG_INFINITY), rank(f64::INFINITY));
    while low < high {
        let middle = low + (high - low) / 2;
        if weight_at_most(first, second, of_rank(middle)) >= weight {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    of_rank(low)
}

const SIGN: u64 = 1 << 63;

/// A whole number that rises with `value`.
fn rank(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

fn of_rank(rank: u64) -> f64 {
    f64::from_bits(if rank & SIGN == 0 {
        !rank
    } else {
        rank & !SIGN
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn quantiles_are_those_of_the_sorted_differences() {
        let mut dice = Dice(1);
        for count in [1, 2, 7, 20] {
            let mut sample = |size| -> Vec<f64> {
                // Some are alike.
                (0..size)
                    .map(|_| (4.0 * dice.normal()).round() / 3.0)
                    .collect()
            };
            let (first, second) = (sample(count), sample(count + 3));
            let pairs = first.iter().flat_map(|x| second.iter().map(move |y| y - x));
            let mut sorted: Vec<f64> = pairs.collect();
            sorted.sort_by(f64::total_cmp);
            let (first, second) = (Sample::of(&first), Sample::of(&second));
            for (index, expected) in sorted.iter().enumerate() {
                let found = difference(&first, &second, (index + 1) as f64);
                assert_eq!(found, *expected, "{index} of {}", sorted.len());
            }
        }
    }

    #[test]
    fn weights_count() {
        let first = Sample::weighted(vec![0.0, 10.0], &[0.25, 0.75]);
        let second = Sample::weighted(vec![1.0, f64::INFINITY], &[0.5, 0.5]);
        // −9 with 0.375, 1 with 0.125, ∞ with the rest.
        assert_eq!(weight_at_most(&first, &second, 0.0), 0.375);
        assert_eq!(difference(&first, &second, 0.375), -9.0);
        assert_eq!(difference(&first, &second, 0.5), 1.0);
        assert_eq!(difference(&first, &second, 0.51), f64::INFINITY);
    }
}

//! Quantiles of values that were seen.

/// The median: the mean of the two in the middle where their number is even. `None` of none.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle)?;
    Some(f64::midpoint(sorted[(sorted.len() - 1) / 2], *upper))
}

/// The median for a `share` of one half; else the least value that this share does not exceed. `None` of none.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    if share == 0.5 {
        return median(values);
    }
    let sorted = sorted(values);
    let last = sorted.len().checked_sub(1)?;
    let rank = (share * sorted.len() as f64).ceil() as usize;
    Some(sorted[rank.saturating_sub(1).min(last)])
}

/// The values in rising order.
pub(crate) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_worked_example() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let at = |share| quantile(&hundred, share).unwrap();
        assert_eq!(
            [at(0.0), at(0.5), at(0.95), at(0.99), at(1.0)],
            [1.0, 50.5, 95.0, 99.0, 100.0]
        );
        assert_eq!((median(&[2.0, 1.0, 9.0]), median(&[])), (Some(2.0), None));
        assert_eq!(quantile(&[], 0.9), None);
    }
}

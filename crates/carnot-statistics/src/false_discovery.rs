//! Many tests at once: p values as large as they have to be for it (Benjamini and Hochberg, 1995).

/// The p values, each adjusted for the others: of those that are called differences at an adjusted p of at most q, a share of q is expected to be none. Where
/// there is no difference at all, one is called in a share of q of the families.
pub fn adjusted(p_values: &[f64]) -> Vec<f64> {
    let count = p_values.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&one, &other| p_values[other].total_cmp(&p_values[one]));
    let (mut adjusted, mut least) = (vec![1.0; count], 1.0_f64);
    // From the largest: none is adjusted to more than a larger one.
    for (larger, index) in order.into_iter().enumerate() {
        least = least.min(p_values[index] * count as f64 / (count - larger) as f64);
        adjusted[index] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjusted_values_are_those_of_scipy() {
        // scipy 1.17.1: stats.false_discovery_control.
        let found = adjusted(&[0.04, 0.001, 0.2, 0.008, 0.039, 0.9, 0.041]);
        let expected = [
            0.0574,
            0.007,
            0.233_333_333_333_333_36,
            0.028,
            0.0574,
            0.9,
            0.0574,
        ];
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-12,
                "{found}, expected {expected}"
            );
        }
        assert_eq!(adjusted(&[]), [0.0; 0]);
        assert_eq!(adjusted(&[0.5]), [0.5]);
    }
}

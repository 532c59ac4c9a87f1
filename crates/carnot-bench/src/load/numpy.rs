//! Sums and percentiles as numpy has them, to the last bit: what tools in Python print is computed by it.

/// The sum in the order of `numpy.add.reduce`: blocks of at most 128 values, in each eight sums side by side, blocks added in pairs.
pub fn sum(values: &[f64]) -> f64 {
    const BLOCK: usize = 128;
    let count = values.len();
    if count < 8 {
        // It starts with a negative zero, which is what adding nothing gives.
        return values.iter().fold(-0.0, |sum, value| sum + value);
    }
    if count <= BLOCK {
        let mut lanes = [0.0; 8];
        lanes.copy_from_slice(&values[..8]);
        let whole = count - count % 8;
        for eight in values[8..whole].chunks_exact(8) {
            for (lane, value) in lanes.iter_mut().zip(eight) {
                *lane += value;
            }
        }
        let [a, b, c, d, e, f, g, h] = lanes;
        let sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
        return values[whole..].iter().fold(sum, |sum, value| sum + value);
    }
    let half = count / 2 - (count / 2) % 8;
    sum(&values[..half]) + sum(&values[half..])
}

/// `numpy.mean`; 0 of nothing, as those who ask write `mean(values or 0)`.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    sum(values) / values.len() as f64
}

/// `numpy.std` with so many degrees of freedom taken off; 0 of nothing.
pub fn deviation(values: &[f64], off: usize) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let mean = mean(values);
    let squares: Vec<f64> = values
        .iter()
        .map(|value| (value - mean) * (value - mean))
        .collect();
    (sum(&squares) / (values.len() - off) as f64).sqrt()
}

/// `numpy.percentile` of `percent`, linear between ranks; 0 of nothing.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let rank = (percent / 100.0) * last as f64;
    let below = rank.floor() as usize;
    if below >= last {
        return sorted[last];
    }
    let (low, high, share) = (sorted[below], sorted[below + 1], rank - rank.floor());
    // From the nearer end, so that the ends themselves are exact.
    if share >= 0.5 {
        high - (high - low) * (1.0 - share)
    } else {
        low + (high - low) * share
    }
}

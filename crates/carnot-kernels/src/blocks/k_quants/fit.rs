//! Scales for a group of values by weighted least squares: a few roundings are tried, each is given its best scale in closed
//! form, and the one of least error wins. The search is ggml's in kind; its bits may differ.

/// Half to even, as ggml's K-quants round.
pub(super) fn nearest(value: f32) -> i32 {
    value.round_ties_even() as i32
}

/// The scale for codes in `-half..half` that makes `Σ w (x - scale * q)²` least over the roundings tried.
pub(super) fn symmetric(values: &[f32], weights: &[f32], half: i32) -> f32 {
    let largest = super::super::largest_magnitude(values);
    if largest.abs() < 1e-15 {
        return 0.0;
    }
    let tries = (-9_i16..=9).map(|step| {
        let inverse = -(half as f32 + 0.1 * f32::from(step)) / largest;
        let (mut dot, mut square) = (0.0, 0.0);
        for (&value, &weight) in values.iter().zip(weights) {
            let code = nearest(inverse * value).clamp(-half, half - 1) as f32;
            dot += weight * value * code;
            square += weight * code * code;
        }
        // The error falls by dot² / square when the scale is dot / square.
        if square > 0.0 {
            (dot * dot / square, dot / square)
        } else {
            (0.0, 0.0)
        }
    });
    tries
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(0.0, |(_, scale)| scale)
}

/// The scale and the minimum (not negative, subtracted) for codes in `0..=top`.
pub(super) fn affine(values: &[f32], weights: &[f32], top: u8) -> (f32, f32) {
    let low = values.iter().copied().fold(0.0, f32::min);
    let high = values.iter().copied().fold(f32::MIN, f32::max);
    if high - low < 1e-15 {
        return (0.0, -low);
    }
    let first = (f32::from(top) / (high - low)).recip();
    let mut best = (first, -low);
    let mut least = error(values, weights, top, best);
    for step in 0_u8..=20 {
        let inverse = (f32::from(top) - 1.0 + 0.1 * f32::from(step)) / (high - low);
        let candidate = least_squares(values, weights, top, inverse, low);
        let error = error(values, weights, top, candidate);
        if error < least {
            (least, best) = (error, candidate);
        }
    }
    best
}

/// Rounds with `inverse`, then solves for the scale and the minimum that fit those codes best.
fn least_squares(values: &[f32], weights: &[f32], top: u8, inverse: f32, low: f32) -> (f32, f32) {
    let (mut w, mut wx, mut wq, mut wqq, mut wqx) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (&value, &weight) in values.iter().zip(weights) {
        let code = nearest(inverse * (value - low)).clamp(0, i32::from(top)) as f32;
        w += weight;
        wx += weight * value;
        wq += weight * code;
        wqq += weight * code * code;
        wqx += weight * code * value;
    }
    let determinant = w * wqq - wq * wq;
    if determinant <= 0.0 {
        return (0.0, -low);
    }
    let offset = (wqq * wx - wq * wqx) / determinant;
    if offset > 0.0 {
        return (wqx / wqq, 0.0);
    }
    ((w * wqx - wx * wq) / determinant, -offset)
}

fn error(values: &[f32], weights: &[f32], top: u8, (scale, minimum): (f32, f32)) -> f32 {
    let inverse = super::super::inverse(scale);
    let errors = values.iter().zip(weights).map(|(&value, &weight)| {
        let code = nearest(inverse * (value + minimum)).clamp(0, i32::from(top)) as f32;
        let error = scale * code - minimum - value;
        weight * error * error
    });
    errors.sum()
}

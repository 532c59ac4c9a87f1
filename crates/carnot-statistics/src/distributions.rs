//! Distributions that p values are read off: normal, Student's t, binomial.

/// Levels of the continued fraction of the incomplete beta function; it settles within the root of its larger parameter, a few times over.
const LEVELS: u32 = 300;

/// The probability that a normal variable of mean 0 and deviation 1 is above `z`.
pub(crate) fn normal_above(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_above(-z);
    }
    let density = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
    if z < 4.0 {
        // z + z³/3 + z⁵/(3·5) + …: all terms are positive (Marsaglia, 2004).
        let (mut term, mut sum, mut odd) = (z, z, 1.0);
        while term > 1e-18 * sum {
            odd += 2.0;
            term *= z * z / odd;
            sum += term;
        }
        return 0.5 - density * sum;
    }
    // Laplace's: 1/(z + 1/(z + 2/(z + 3/…))).
    let below = (1..=60)
        .rev()
        .fold(z, |rest, level| z + f64::from(level) / rest);
    density / below
}

/// The z that a normal variable is above with the probability `share`.
pub(crate) fn normal_quantile_above(share: f64) -> f64 {
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if normal_above(middle) > share {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The probability that Student's t with so many degrees of freedom is further from 0 than `t`, on either side.
pub(crate) fn student_beyond(t: f64, degrees: f64) -> f64 {
    incomplete_beta(0.5 * degrees, 0.5, degrees / (degrees + t * t))
}

/// The probabilities of 0, 1, … `count` successes, each with the probability `share`.
pub(crate) fn binomial(count: usize, share: f64) -> Vec<f64> {
    let mut probabilities = vec![0.0; count + 1];
    let mode = (((count + 1) as f64 * share) as usize).min(count);
    probabilities[mode] = 1.0;
    // Outwards from the most probable, so that nothing overflows; what they sum to is known.
    for more in mode..count {
        let odds = share / (1.0 - share) * (count - more) as f64 / (more + 1) as f64;
        probabilities[more + 1] = probabilities[more] * odds;
    }
    for fewer in (0..mode).rev() {
        let odds = (1.0 - share) / share * (fewer + 1) as f64 / (count - fewer) as f64;
        probabilities[fewer] = probabilities[fewer + 1] * odds;
    }
    let sum: f64 = probabilities.iter().sum();
    probabilities.iter().map(|one| one / sum).collect()
}

/// The regularised incomplete beta function of `a` and `b` at `x` in 0..=1 (Digital Library of Mathematical Functions, 8.17.22).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // Beyond this point the fraction of the other side settles faster.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let level = |rest: f64, m: u32| {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        1.0 + even / (1.0 + odd / rest)
    };
    let rest = (1..=LEVELS).rev().fold(1.0, level);
    let fraction = 1.0 - (a + b) * x / (a + 1.0) / rest;
    let beta = ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    (a * x.ln() + b * (1.0 - x).ln() - beta).exp() / a / fraction
}

/// The logarithm of the gamma function of `x` above 0: Stirling's series, from where it is exact to fourteen digits.
fn ln_gamma(x: f64) -> f64 {
    if x < 16.0 {
        return ln_gamma(x + 1.0) - x.ln();
    }
    let inverse = 1.0 / (x * x);
    let series =
        (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse * (1.0 / 1260.0 - inverse / 1680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: f64, expected: f64) {
        let error = (found / expected - 1.0).abs();
        assert!(error < 1e-9, "{found}, expected {expected}");
    }

    #[test]
    fn probabilities_are_those_of_scipy() {
        // scipy 1.17.1: norm.sf, t.sf (twice), norm.isf.
        check(normal_above(0.0), 0.5);
        check(normal_above(0.5), 3.085_375_387_259_869e-1);
        check(normal_above(1.96), 2.499_789_514_822_044e-2);
        check(normal_above(3.29), 5.009_369_137_857_222e-4);
        check(normal_above(3.999), 3.180_534_005_420_198e-5);
        check(normal_above(4.001), 3.153_767_893_352_071e-5);
        check(normal_above(6.0), 9.865_876_450_376_946e-10);
        check(normal_above(-1.0), 8.413_447_460_685_429e-1);
        check(student_beyond(0.5, 1.0), 7.048_327_646_991_335e-1);
        check(student_beyond(2.0, 3.0), 1.393_259_685_588_43e-1);
        check(student_beyond(3.5, 48.0), 1.015_235_097_964_989e-3);
        check(student_beyond(12.0, 98.0), 6.000_153_201_837_812e-21);
        check(student_beyond(1.2, 500.0), 2.307_076_111_686_494e-1);
        check(normal_quantile_above(0.0005), 3.290_526_731_491_894e0);
        check(normal_quantile_above(0.025), 1.959_963_984_540_054e0);
        check(normal_quantile_above(0.2), 8.416_212_335_729_142e-1);
    }

    #[test]
    fn successes_sum_to_certainty() {
        for (count, share) in [
            (0, 0.3),
            (1, 0.5),
            (100, 0.99),
            (5000, 0.95),
            (7, 1.0),
            (7, 0.0),
        ] {
            let sum: f64 = binomial(count, share).iter().sum();
            check(sum, 1.0);
        }
        // scipy 1.17.1: binom.pmf.
        check(binomial(100, 0.99)[99], 3.697_296_376_497_266e-1);
        check(binomial(100, 0.99)[100], 3.660_323_412_732_292e-1);
        check(binomial(5000, 0.95)[4700], 1.664_652_307_223_334e-4);
        check(binomial(10, 0.5)[0], 9.765_624_999_999_989e-4);
    }
}

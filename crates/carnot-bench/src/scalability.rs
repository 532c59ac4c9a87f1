//! How throughput grows with the number of those who ask: the universal scalability law (Gunther, 2007).
//!
//! `X(N) = λ·N / (1 + σ·(N − 1) + κ·N·(N − 1))`: λ is what one gets, σ the share of work that only one can do at a time
//! (contention), κ what each has to agree with every other (coherency). With κ there is a number beyond which more is less.

/// A fit of the law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scalability {
    /// Throughput of one.
    pub alone: f64,
    /// σ, at least 0.
    pub contention: f64,
    /// κ, at least 0.
    pub coherency: f64,
    /// Share of the variance of throughput that the fit explains, at most 1.
    pub explained: f64,
}

impl Scalability {
    /// Fits `points` of a number and its throughput; `None` of fewer than three numbers, or where a throughput is not positive.
    ///
    /// `N / X` is linear in `1/λ`, `σ/λ` and `κ/λ`: least squares of relative errors, and where a coefficient would be negative, which
    /// means nothing, without it.
    pub fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let mut numbers: Vec<f64> = points.iter().map(|(n, _)| *n).collect();
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        if numbers.len() < 3 || points.iter().any(|&(n, x)| n < 1.0 || x <= 0.0) {
            return None;
        }
        let candidates = [[true, true], [true, false], [false, true], [false, false]];
        let fits = candidates.into_iter().filter_map(|used| {
            let [alone, contention, coherency] = coefficients(points, used)?;
            let fit = Self {
                alone: 1.0 / alone,
                contention: contention / alone,
                coherency: coherency / alone,
                explained: 0.0,
            };
            let is_possible = alone > 0.0 && contention >= 0.0 && coherency >= 0.0;
            is_possible.then_some(fit)
        });
        let best = fits.min_by(|a, b| a.error(points).total_cmp(&b.error(points)))?;
        Some(Self {
            explained: best.explained(points),
            ..best
        })
    }

    /// Throughput of `count`.
    pub fn at(&self, count: f64) -> f64 {
        let others = count - 1.0;
        self.alone * count / (1.0 + self.contention * others + self.coherency * count * others)
    }

    /// The number with the highest throughput; infinite without coherency.
    pub fn best(&self) -> f64 {
        ((1.0 - self.contention).max(0.0) / self.coherency)
            .sqrt()
            .max(1.0)
    }

    /// What throughput cannot exceed, whatever the number.
    pub fn limit(&self) -> f64 {
        if self.coherency > 0.0 {
            self.at(self.best())
        } else {
            self.alone / self.contention
        }
    }

    fn error(&self, points: &[(f64, f64)]) -> f64 {
        points
            .iter()
            .map(|&(n, x)| (x / self.at(n) - 1.0).powi(2))
            .sum()
    }

    fn explained(&self, points: &[(f64, f64)]) -> f64 {
        let mean = points.iter().map(|(_, x)| x).sum::<f64>() / points.len() as f64;
        let total: f64 = points.iter().map(|(_, x)| (x - mean).powi(2)).sum();
        let left: f64 = points.iter().map(|&(n, x)| (x - self.at(n)).powi(2)).sum();
        if total > 0.0 { 1.0 - left / total } else { 1.0 }
    }
}

/// `1/λ`, `σ/λ` and `κ/λ` by least squares, of the last two those that are used; `None` where they are not determined.
fn coefficients(points: &[(f64, f64)], used: [bool; 2]) -> Option<[f64; 3]> {
    // A relative error of N / X is one of X: each row is divided by what it should give.
    let rows = points.iter().map(|&(n, x)| {
        let weight = x / n;
        let [contends, agrees] = used.map(|is_used| f64::from(u8::from(is_used)));
        [1.0, contends * (n - 1.0), agrees * n * (n - 1.0)].map(|value| value * weight)
    });
    let (mut normal, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
    for row in rows {
        for i in 0..3 {
            right[i] += row[i];
            for j in 0..3 {
                normal[i][j] += row[i] * row[j];
            }
        }
    }
    for (index, is_used) in [(1, used[0]), (2, used[1])] {
        if !is_used {
            normal[index][index] = 1.0;
        }
    }
    solve(normal, right)
}

/// Three equations with three unknowns, by elimination with pivots.
fn solve(mut left: [[f64; 3]; 3], mut right: [f64; 3]) -> Option<[f64; 3]> {
    for step in 0..3 {
        let pivot =
            (step..3).max_by(|&a, &b| left[a][step].abs().total_cmp(&left[b][step].abs()))?;
        left.swap(step, pivot);
        right.swap(step, pivot);
        if left[step][step].abs() < 1e-12 {
            return None;
        }
        for row in step + 1..3 {
            let factor = left[row][step] / left[step][step];
            let upper = left[step];
            for (value, above) in left[row].iter_mut().zip(upper) {
                *value -= factor * above;
            }
            right[row] -= factor * right[step];
        }
    }
    let mut found = [0.0; 3];
    for step in (0..3).rev() {
        let known: f64 = (step + 1..3).map(|at| left[step][at] * found[at]).sum();
        found[step] = (right[step] - known) / left[step][step];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(alone: f64, contention: f64, coherency: f64) -> Scalability {
        Scalability {
            alone,
            contention,
            coherency,
            explained: 1.0,
        }
    }

    fn points(law: Scalability) -> Vec<(f64, f64)> {
        [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
            .map(|n| (n, law.at(n)))
            .to_vec()
    }

    #[test]
    fn a_law_is_found_again() {
        for law in [
            law(10.0, 0.05, 0.001),
            law(3.0, 0.2, 0.0),
            law(7.0, 0.0, 0.0),
        ] {
            let fit = Scalability::fit(&points(law)).unwrap();
            assert!((fit.alone / law.alone - 1.0).abs() < 1e-6, "{fit:?}");
            assert!((fit.contention - law.contention).abs() < 1e-6, "{fit:?}");
            assert!((fit.coherency - law.coherency).abs() < 1e-8, "{fit:?}");
            assert!(fit.explained > 0.999_999, "{fit:?}");
        }
    }

    #[test]
    fn more_is_less_beyond_the_best_number() {
        let law = law(10.0, 0.02, 0.0049);
        assert!((law.best() - 14.142).abs() < 1e-3, "{}", law.best());
        assert!(law.at(14.0) > law.at(20.0) && law.at(14.0) > law.at(8.0));
        assert!((law.limit() - law.at(law.best())).abs() < 1e-12);
        assert!((self::law(10.0, 0.1, 0.0).limit() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn what_means_nothing_is_left_out() {
        // Better than in proportion: batches share the reading of weights.
        let better = [(1.0, 10.0), (2.0, 25.0), (4.0, 60.0), (8.0, 100.0)];
        let fit = Scalability::fit(&better).unwrap();
        assert!(fit.contention >= 0.0 && fit.coherency >= 0.0, "{fit:?}");
        assert_eq!(Scalability::fit(&better[..2]), None);
        assert_eq!(
            Scalability::fit(&[(1.0, 1.0), (2.0, 0.0), (3.0, 1.0)]),
            None
        );
    }
}

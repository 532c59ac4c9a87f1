//! From the hidden states of a prompt's tokens to one vector.

use carnot_engine::Pooling;

/// What came of a prompt so far.
pub(crate) struct Pool {
    pooling: Pooling,
    /// Tokens that are in the sum.
    covered: usize,
    sum: Vec<f64>,
}

impl Pool {
    pub fn new(pooling: Pooling) -> Self {
        Self {
            pooling,
            covered: 0,
            sum: Vec::new(),
        }
    }

    /// Takes the hidden states of the tokens from `position` on, one row of `norm.len()` after another. Tokens that were computed again
    /// count once.
    pub fn add(&mut self, position: usize, rows: &[f32], norm: &[f32], epsilon: f32) {
        let width = norm.len();
        self.sum.resize(width, 0.0);
        let count = rows.len() / width;
        let skipped = match self.pooling {
            Pooling::Mean => self.covered.saturating_sub(position),
            Pooling::Last => {
                self.sum.fill(0.0);
                count - 1
            }
        };
        for row in rows.chunks_exact(width).skip(skipped) {
            let squares: f64 = row.iter().map(|&value| f64::from(value).powi(2)).sum();
            let scale = (squares / width as f64 + f64::from(epsilon)).sqrt().recip();
            for ((sum, &value), &weight) in self.sum.iter_mut().zip(row).zip(norm) {
                *sum += f64::from(value) * scale * f64::from(weight);
            }
        }
        self.covered = self.covered.max(position + count);
    }

    /// The vector.
    pub fn finish(&self) -> Vec<f32> {
        let count = match self.pooling {
            Pooling::Mean => self.covered as f64,
            Pooling::Last => 1.0,
        };
        self.sum.iter().map(|sum| (sum / count) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORM: [f32; 2] = [1.0, 2.0];

    fn pooled(pooling: Pooling, chunks: &[(usize, &[f32])]) -> Vec<f32> {
        let mut pool = Pool::new(pooling);
        chunks
            .iter()
            .for_each(|(position, rows)| pool.add(*position, rows, &NORM, 0.0));
        pool.finish()
    }

    /// Rows `[1, 1]` and `[-1, 1]` have a root mean square of 1.
    #[test]
    fn the_mean_counts_each_token_once_and_the_last_is_the_last() {
        let whole: &[f32] = &[1.0, 1.0, -1.0, 1.0, -3.0, 3.0];
        assert_eq!(pooled(Pooling::Last, &[(0, whole)]), [-1.0, 2.0]);
        let third = -1.0 / 3.0;
        assert_eq!(pooled(Pooling::Mean, &[(0, whole)]), [third, 2.0]);
        let again: &[(usize, &[f32])] = &[(0, &whole[..4]), (1, &whole[2..])];
        assert_eq!(pooled(Pooling::Mean, again), [third, 2.0]);
    }
}

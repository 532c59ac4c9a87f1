//! Heads whose size is not a whole number of vectors, widened with zeros on their way to the attention kernels.
//!
//! Zeros add nothing to a score, and come out of the weighted values as zeros. Only the scale of the scores, which the
//! kernel takes from the size that it sees, must be that of the true size: queries are multiplied by `√(padded / true)`.

use carnot_formats::ModelConfig;
use carnot_kernels::{KvShape, KvType};

/// Sizes of heads that the attention kernels take are multiples of this.
const VECTOR: usize = 16;

/// The keys and values of a token, as the cache keeps them.
pub(crate) fn cached_shape(config: &ModelConfig, dtype: KvType) -> KvShape {
    KvShape {
        heads: config.kv_heads,
        head_dim: config.head_dim.next_multiple_of(VECTOR),
        dtype,
    }
}

/// What is said of a model whose heads are widened.
pub(crate) fn note(config: &ModelConfig) -> Option<String> {
    let (size, padded) = (config.head_dim, config.head_dim.next_multiple_of(VECTOR));
    (size != padded).then(|| {
        format!(
            "heads of {size} values are widened to {padded}, the next multiple of {VECTOR}: keys and values take {:.2} times \
             the memory, and attention reads as much more",
            padded as f64 / size as f64
        )
    })
}

/// Widened copies of what goes into attention, and what comes out of it.
pub(crate) struct HeadPadding {
    size: usize,
    padded: usize,
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    pub attended: Vec<f32>,
}

impl HeadPadding {
    /// None where the kernels take the heads as they are.
    pub fn of(config: &ModelConfig) -> Option<Self> {
        let (size, padded) = (config.head_dim, config.head_dim.next_multiple_of(VECTOR));
        (size != padded).then(|| Self {
            size,
            padded,
            q: Vec::new(),
            k: Vec::new(),
            v: Vec::new(),
            attended: Vec::new(),
        })
    }

    /// Takes over queries, keys and values, and makes room for as much attended as there are queries.
    pub fn widen(&mut self, q: &[f32], k: &[f32], v: &[f32]) {
        let scale = (self.padded as f32 / self.size as f32).sqrt();
        for (from, to, factor) in [
            (q, &mut self.q, scale),
            (k, &mut self.k, 1.0),
            (v, &mut self.v, 1.0),
        ] {
            to.clear();
            to.resize(from.len() / self.size * self.padded, 0.0);
            for (head, wide) in from
                .chunks_exact(self.size)
                .zip(to.chunks_exact_mut(self.padded))
            {
                for (value, wide) in head.iter().zip(wide) {
                    *wide = factor * value;
                }
            }
        }
        self.attended.resize(self.q.len(), 0.0);
    }

    /// Gives what was attended back without the zeros.
    pub fn narrow(&self, out: &mut [f32]) {
        let heads = out.chunks_exact_mut(self.size);
        for (head, wide) in heads.zip(self.attended.chunks_exact(self.padded)) {
            head.copy_from_slice(&wide[..self.size]);
        }
    }
}

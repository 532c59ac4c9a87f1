//! What loading a model takes from memory, computed from the file's header before anything large is allocated.
//!
//! Counted is what stays while the model is there: packed weights, keys and values of the whole context, the angles of its positions,
//! the buffers of the largest step. The mapped file is not counted: its pages are clean copies of the disk, which the system drops when it needs the room.

use std::fmt;

use carnot_formats::{ModelConfig, ModelFile, TensorView};
use carnot_kernels::kv::BLOCK_TOKENS;
use carnot_kernels::{KvType, Layout};

use crate::Error;
use crate::blocks::blocks_for;
use crate::head_padding::cached_shape;

/// Output rows of a panel of packed weights.
const PANEL_ROWS: usize = 16;
/// Inputs that rows of activations are padded to.
const ACTIVATION_PAD: usize = 256;
/// Bytes that an activation takes at most: a single, its int8 code, and its part of the scales and sums of its groups.
const ACTIVATION_BYTES: usize = 6;

/// The steps that a model is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSize {
    /// Tokens that the key/value cache has room for.
    pub context: usize,
    /// How keys and values are stored.
    pub kv_type: KvType,
    /// Most tokens of one step.
    pub rows: usize,
    /// Most rows of one step whose logits are wanted.
    pub logit_rows: usize,
}

/// Bytes of memory that a loaded model takes, by what takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Packed matrices, norms and biases.
    pub weights_bytes: u64,
    /// Keys and values of [`kv_tokens`](Self::kv_tokens) tokens, all layers together.
    pub kv_bytes: u64,
    /// Tokens that the key/value cache has room for: the context in whole blocks.
    pub kv_tokens: usize,
    /// Activations and logits of the largest step, and the angles of all positions.
    pub buffers_bytes: u64,
}

impl MemoryNeed {
    /// What `file` takes when it is loaded for steps of `size`.
    pub fn of(file: &ModelFile, size: StepSize) -> Self {
        let config = file.config();
        let kv_tokens = blocks_for(size.context) * BLOCK_TOKENS;
        let token_bytes = (cached_shape(config, size.kv_type).token_bytes() as u64)
            .saturating_mul(config.layers as u64);
        Self {
            weights_bytes: weights_bytes(file),
            kv_bytes: token_bytes.saturating_mul(kv_tokens as u64),
            kv_tokens,
            buffers_bytes: buffers_bytes(config, size),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights_bytes
            .saturating_add(self.kv_bytes)
            .saturating_add(self.buffers_bytes)
    }

    /// The longest context, in whole blocks, that fits in `available` bytes beside weights and buffers.
    pub fn context_that_fits(&self, available: u64) -> Option<usize> {
        let block_bytes = self.kv_bytes / (self.kv_tokens / BLOCK_TOKENS).max(1) as u64;
        let fixed = self.weights_bytes.saturating_add(self.buffers_bytes);
        let blocks = available.checked_sub(fixed)? / block_bytes.max(1);
        let tokens = usize::try_from(blocks).ok()?.checked_mul(BLOCK_TOKENS)?;
        (tokens > 0).then_some(tokens.min(self.kv_tokens))
    }

    /// Holds it to `available` bytes; `file` is what the error calls the model.
    pub fn check(self, file: &str, available: u64) -> Result<(), Error> {
        if self.total() <= available {
            return Ok(());
        }
        Err(Error::Memory {
            file: file.to_owned(),
            need: self,
            available,
        })
    }
}

/// `1.42 GB (weights 620 MB, keys and values of 4096 tokens 800 MB, buffers 3 MB)`.
impl fmt::Display for MemoryNeed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} (weights {}, keys and values of {} tokens {}, buffers {})",
            Bytes(self.total()),
            Bytes(self.weights_bytes),
            self.kv_tokens,
            Bytes(self.kv_bytes),
            Bytes(self.buffers_bytes)
        )
    }
}

/// A size in decimal units.
pub(crate) struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1_000_000 => write!(formatter, "{} kB", self.0.div_ceil(1000)),
            1_000_000..1_000_000_000 => write!(formatter, "{} MB", self.0.div_ceil(1_000_000)),
            bytes => write!(formatter, "{:.2} GB", bytes as f64 / 1e9),
        }
    }
}

/// Matrices in panels, vectors as singles. The embedding is packed only where it is the output projection too.
fn weights_bytes(file: &ModelFile) -> u64 {
    let tied = file.optional_tensor("output.weight").is_none();
    file.tensors()
        .filter(|tensor| tied || tensor.name != "token_embd.weight")
        .map(|tensor| tensor_bytes(&tensor))
        .fold(0, u64::saturating_add)
}

fn tensor_bytes(tensor: &TensorView<'_>) -> u64 {
    match *tensor.shape.as_slice() {
        [rows, columns] => {
            let panel = Layout::of(tensor.dtype).panel_bytes(columns) as u64;
            panel.saturating_mul(rows.div_ceil(PANEL_ROWS) as u64)
        }
        _ => 4 * tensor.elements() as u64,
    }
}

fn buffers_bytes(config: &ModelConfig, size: StepSize) -> u64 {
    let (query, key) = (
        config.heads * config.head_dim,
        config.kv_heads * config.head_dim,
    );
    let singles = 2 * config.hidden + 2 * query + 2 * key + 2 * config.feed_forward;
    let activations: usize = [config.hidden, query, config.feed_forward]
        .iter()
        .map(|columns| columns.next_multiple_of(ACTIVATION_PAD))
        .sum();
    let row = (4 * singles + ACTIVATION_BYTES * activations) as u64;
    let logits = 4 * (config.vocabulary + config.hidden) as u64;
    let rows = size.rows.min(size.context) as u64;
    let positions = size.context.min(config.context_length) as u64;
    let angles = 4 * config.head_dim as u64;
    row.saturating_mul(rows)
        .saturating_add(angles.saturating_mul(positions))
        .saturating_add(logits.saturating_mul(size.logit_rows as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: MemoryNeed = MemoryNeed {
        weights_bytes: 620_000_000,
        kv_bytes: 4096 * 200_000,
        kv_tokens: 4096,
        buffers_bytes: 2_500,
    };

    #[test]
    fn what_does_not_fit_is_told_by_parts() {
        assert!(NEED.check("m.gguf", NEED.total()).is_ok());
        let error = NEED.check("m.gguf", 710_000_000).unwrap_err();
        assert_eq!(
            error.to_string(),
            "loading m.gguf needs 1.44 GB (weights 620 MB, keys and values of 4096 tokens 820 MB, buffers 3 kB), \
             available are 710 MB"
        );
    }

    #[test]
    fn the_longest_context_that_fits_is_found() {
        let fixed = NEED.weights_bytes + NEED.buffers_bytes;
        let block = 16 * 200_000;
        let cases = [
            (0, None),
            (fixed - 1, None),
            (fixed + block - 1, None),
            (fixed + block, Some(16)),
            (fixed + 10 * block + 1, Some(160)),
            (u64::MAX, Some(4096)),
        ];
        for (available, expected) in cases {
            assert_eq!(NEED.context_that_fits(available), expected, "{available}");
        }
    }
}

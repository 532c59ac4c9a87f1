//! Keys and values of one layer, in blocks of 16 tokens, as half floats.
//!
//! A block holds, for each key/value head, the keys transposed (`[head_dim][16]`) and the values in rows (`[16][head_dim]`):
//! what [`crate::compute::Compute::attention`] reads without a shuffle. Which block belongs to which sequence is not known here.

use crate::generic::attention::{Blocks, KV_BLOCK};
use crate::pool::Scattered;

/// Tokens in a block.
pub const BLOCK_TOKENS: usize = KV_BLOCK;

/// Heads and head size of a key/value cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Key/value heads.
    pub heads: usize,
    /// Values per head, a multiple of 16.
    pub head_dim: usize,
}

impl KvShape {
    /// Half floats of one block, for keys or for values.
    pub fn block_values(self) -> usize {
        self.heads * self.head_dim * BLOCK_TOKENS
    }

    /// Bytes per token and layer, keys and values together.
    pub fn token_bytes(self) -> usize {
        self.heads * self.head_dim * 2 * 2
    }
}

/// Writes tokens to a layer's cache from several workers.
pub(crate) struct Writer<'a> {
    shape: KvShape,
    keys: Scattered<'a, u16>,
    values: Scattered<'a, u16>,
}

impl Writer<'_> {
    /// # Safety
    /// No two calls at once may name the same slot of the same block.
    pub(crate) unsafe fn write(&self, block: u32, slot: usize, key: &[u16], value: &[u16]) {
        let KvShape { heads, head_dim } = self.shape;
        assert!(
            key.len() == heads * head_dim && value.len() == key.len() && slot < BLOCK_TOKENS,
            "shape of a token's K/V"
        );
        let start = block as usize * self.shape.block_values();
        for (index, &half) in key.iter().enumerate() {
            let at = start + index * BLOCK_TOKENS + slot;
            // SAFETY: this element belongs to the slot, which is the caller's alone.
            unsafe { self.keys.part(at..at + 1)[0] = half };
        }
        for (head, row) in value.chunks_exact(head_dim).enumerate() {
            let at = start + (head * BLOCK_TOKENS + slot) * head_dim;
            // SAFETY: as above.
            unsafe { self.values.part(at..at + head_dim) }.copy_from_slice(row);
        }
    }
}

/// The cache of one layer.
#[derive(Clone, Debug)]
pub struct KvLayer {
    shape: KvShape,
    keys: Vec<u16>,
    values: Vec<u16>,
}

impl KvLayer {
    /// Room for `blocks` blocks, zeroed (and so not yet resident where the operating system maps lazily).
    ///
    /// # Panics
    /// If `head_dim` is not a multiple of 16.
    pub fn new(shape: KvShape, blocks: usize) -> Self {
        assert_eq!(shape.head_dim % 16, 0, "head_dim comes in multiples of 16");
        let values = shape.block_values() * blocks;
        Self {
            shape,
            keys: vec![0; values],
            values: vec![0; values],
        }
    }

    /// Number of blocks.
    pub fn block_count(&self) -> usize {
        self.keys.len() / self.shape.block_values()
    }

    /// For several workers that write different places.
    pub(crate) fn writer(&mut self, shape: KvShape) -> Writer<'_> {
        assert_eq!(shape, self.shape, "shape of the K/V cache");
        Writer {
            shape,
            keys: Scattered::new(&mut self.keys),
            values: Scattered::new(&mut self.values),
        }
    }

    /// One head's blocks, for the attention kernels.
    pub(crate) fn blocks<'a>(
        &'a self,
        shape: KvShape,
        head: usize,
        table: &'a [u32],
    ) -> Blocks<'a> {
        assert!(
            shape == self.shape && head < shape.heads,
            "shape of the K/V cache"
        );
        let offset = head * shape.head_dim * BLOCK_TOKENS;
        Blocks {
            keys: self.keys[offset..].as_ptr(),
            values: self.values[offset..].as_ptr(),
            table,
            stride: shape.block_values(),
            head_dim: shape.head_dim,
            scale: 1.0 / (shape.head_dim as f32).sqrt(),
        }
    }
}

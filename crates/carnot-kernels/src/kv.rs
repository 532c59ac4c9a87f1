//! Keys and values of one layer, in blocks of 16 tokens, as half floats.
//!
//! Each key/value head has its blocks one after another: the keys of a block transposed (`[head_dim][16]`), its values in rows
//! (`[16][head_dim]`), so that [`crate::compute::Compute::attention`] reads one stream per head without a shuffle.
//! Which block belongs to which sequence is not known here.

use crate::aligned::AlignedBytes;
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
    /// Half floats of one block of one head, for keys or for values.
    fn block_values(self) -> usize {
        self.head_dim * BLOCK_TOKENS
    }

    /// Bytes per token and layer, keys and values together.
    pub fn token_bytes(self) -> usize {
        self.heads * self.head_dim * 2 * 2
    }
}

/// Writes tokens to a layer's cache from several workers.
pub(crate) struct Writer<'a> {
    shape: KvShape,
    blocks: usize,
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
        let pairs = key.chunks_exact(head_dim).zip(value.chunks_exact(head_dim));
        for (head, (key, value)) in pairs.enumerate() {
            let start = (head * self.blocks + block as usize) * self.shape.block_values();
            // SAFETY: these elements belong to the slot, which is the caller's alone.
            unsafe {
                for (index, &half) in key.iter().enumerate() {
                    let at = start + index * BLOCK_TOKENS + slot;
                    self.keys.part(at..at + 1)[0] = half;
                }
                let at = start + slot * head_dim;
                self.values.part(at..at + head_dim).copy_from_slice(value);
            }
        }
    }
}

/// The cache of one layer.
#[derive(Clone, Debug)]
pub struct KvLayer {
    shape: KvShape,
    blocks: usize,
    keys: AlignedBytes,
    values: AlignedBytes,
}

impl KvLayer {
    /// Room for `blocks` blocks, zeroed (and so not yet resident where the operating system maps lazily).
    ///
    /// # Panics
    /// If `head_dim` is not a multiple of 16.
    pub fn new(shape: KvShape, blocks: usize) -> Self {
        assert_eq!(shape.head_dim % 16, 0, "head_dim comes in multiples of 16");
        let bytes = shape.heads * shape.block_values() * blocks * size_of::<u16>();
        Self {
            shape,
            blocks,
            keys: AlignedBytes::zeroed(bytes),
            values: AlignedBytes::zeroed(bytes),
        }
    }

    /// Number of blocks.
    pub fn block_count(&self) -> usize {
        self.blocks
    }

    /// Makes block `to` hold what block `from` holds.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn copy_block(&mut self, from: u32, to: u32) {
        let values = self.shape.block_values();
        for head in 0..self.shape.heads {
            let start = |block: u32| (head * self.blocks + block as usize) * values;
            for halves in [self.keys.as_mut_halves(), self.values.as_mut_halves()] {
                halves.copy_within(start(from)..start(from) + values, start(to));
            }
        }
    }

    /// Makes the values of a block zeros. The attention kernels weigh whole blocks, those of positions beyond the last with nearly
    /// nothing: whatever another sequence left there must at least be a number.
    pub(crate) fn clear_values(&mut self, block: u32) {
        let values = self.shape.block_values();
        for head in 0..self.shape.heads {
            let start = (head * self.blocks + block as usize) * values;
            self.values.as_mut_halves()[start..start + values].fill(0);
        }
    }

    /// For several workers that write different places.
    pub(crate) fn writer(&mut self, shape: KvShape) -> Writer<'_> {
        assert_eq!(shape, self.shape, "shape of the K/V cache");
        Writer {
            shape,
            blocks: self.blocks,
            keys: Scattered::new(self.keys.as_mut_halves()),
            values: Scattered::new(self.values.as_mut_halves()),
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
        let offset = head * self.blocks * shape.block_values();
        Blocks {
            keys: self.keys.as_halves()[offset..].as_ptr(),
            values: self.values.as_halves()[offset..].as_ptr(),
            table,
            stride: shape.block_values(),
            head_dim: shape.head_dim,
            scale: 1.0 / (shape.head_dim as f32).sqrt(),
        }
    }
}

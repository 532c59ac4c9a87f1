//! Keys and values of one layer, in blocks of 16 tokens, as half floats or as eight-bit codes with scales.
//!
//! Each key/value head has its blocks one after another: the keys of a block transposed (`[head_dim][16]`), its values in rows
//! (`[16][head_dim]`), so that [`crate::compute::Compute::attention`] reads one stream per head without a shuffle. Codes are followed by
//! their scales, half floats for every 32 values of a token.
//! Which block belongs to which sequence is not known here.

use half::f16;

use crate::aligned::AlignedBytes;
use crate::generic::attention::{Blocks, GROUP, KV_BLOCK};
use crate::pool::Scattered;

/// Tokens in a block.
pub const BLOCK_TOKENS: usize = KV_BLOCK;
/// The largest code.
const LARGEST: f32 = 127.0;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KvType {
    /// Half floats.
    #[default]
    F16,
    /// Eight-bit codes, each 32 values of a token's head with a scale: a little more than half the bytes.
    Q8_0,
}

impl KvType {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::F16, Self::Q8_0];

    /// The name that files and flags use.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }
}

/// Heads and head size of a key/value cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Key/value heads.
    pub heads: usize,
    /// Values per head, a multiple of 16.
    pub head_dim: usize,
    /// How they are stored.
    pub dtype: KvType,
}

impl KvShape {
    /// Bytes of one block of one head, for keys or for values; a multiple of 32.
    fn block_bytes(self) -> usize {
        let values = self.head_dim * BLOCK_TOKENS;
        match self.dtype {
            KvType::F16 => values * 2,
            KvType::Q8_0 => values + self.head_dim.div_ceil(GROUP) * BLOCK_TOKENS * 2,
        }
    }

    /// Bytes per token and layer, keys and values together.
    pub fn token_bytes(self) -> usize {
        self.heads * self.block_bytes() / BLOCK_TOKENS * 2
    }
}

/// Writes tokens to a layer's cache from several workers.
pub(crate) struct Writer<'a> {
    shape: KvShape,
    blocks: usize,
    keys: Scattered<'a, u8>,
    values: Scattered<'a, u8>,
}

impl Writer<'_> {
    /// Writes half floats.
    ///
    /// # Safety
    /// No two calls at once may name the same slot of the same block.
    pub(crate) unsafe fn write(&self, block: u32, slot: usize, key: &[u16], value: &[u16]) {
        let head_dim = self.check(KvType::F16, slot, key.len(), value.len());
        let pairs = key.chunks_exact(head_dim).zip(value.chunks_exact(head_dim));
        for (head, (key, value)) in pairs.enumerate() {
            let start = self.start(head, block);
            // SAFETY: these bytes belong to the slot, which is the caller's alone.
            unsafe {
                for (index, half) in key.iter().enumerate() {
                    let at = start + 2 * (index * BLOCK_TOKENS + slot);
                    let to = self.keys.part(at..at + 2);
                    to.copy_from_slice(&half.to_ne_bytes());
                }
                let at = start + 2 * slot * head_dim;
                let to = self.values.part(at..at + 2 * head_dim);
                for (to, half) in to.chunks_exact_mut(2).zip(value) {
                    to.copy_from_slice(&half.to_ne_bytes());
                }
            }
        }
    }

    /// Writes codes and scales.
    ///
    /// # Safety
    /// As for [`write`](Self::write).
    pub(crate) unsafe fn write_codes(&self, block: u32, slot: usize, key: &[f32], value: &[f32]) {
        let head_dim = self.check(KvType::Q8_0, slot, key.len(), value.len());
        let scales = head_dim * BLOCK_TOKENS;
        let pairs = key.chunks_exact(head_dim).zip(value.chunks_exact(head_dim));
        for (head, (key, value)) in pairs.enumerate() {
            let start = self.start(head, block);
            let groups = key.chunks(GROUP).zip(value.chunks(GROUP)).enumerate();
            for (group, (key, value)) in groups {
                let first = group * GROUP;
                let scale_at = start + scales + 2 * (group * BLOCK_TOKENS + slot);
                let (key_scale, value_scale) = (scale_of(key), scale_of(value));
                // SAFETY: these bytes belong to the slot, which is the caller's alone.
                unsafe {
                    for (index, &number) in key.iter().enumerate() {
                        let at = start + (first + index) * BLOCK_TOKENS + slot;
                        self.keys.part(at..at + 1)[0] = code(number, key_scale);
                    }
                    let at = start + slot * head_dim + first;
                    let to = self.values.part(at..at + value.len());
                    for (to, &number) in to.iter_mut().zip(value) {
                        *to = code(number, value_scale);
                    }
                    let scale = self.keys.part(scale_at..scale_at + 2);
                    scale.copy_from_slice(&key_scale.to_bits().to_ne_bytes());
                    let scale = self.values.part(scale_at..scale_at + 2);
                    scale.copy_from_slice(&value_scale.to_bits().to_ne_bytes());
                }
            }
        }
    }

    /// The size of a head, if a token of these lengths may be written so.
    fn check(&self, dtype: KvType, slot: usize, key: usize, value: usize) -> usize {
        let KvShape {
            heads, head_dim, ..
        } = self.shape;
        let fits = key == heads * head_dim && value == key && slot < BLOCK_TOKENS;
        assert!(fits && dtype == self.shape.dtype, "shape of a token's K/V");
        head_dim
    }

    fn start(&self, head: usize, block: u32) -> usize {
        (head * self.blocks + block as usize) * self.shape.block_bytes()
    }
}

/// What the largest of `values` is 127 times; rounded up, so that no code is larger.
fn scale_of(values: &[f32]) -> f16 {
    let largest = values
        .iter()
        .fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let wanted = largest / LARGEST;
    let scale = f16::from_f32(wanted);
    if scale.to_f32() < wanted {
        f16::from_bits(scale.to_bits() + 1)
    } else {
        scale
    }
}

fn code(value: f32, scale: f16) -> u8 {
    let scale = scale.to_f32();
    let code = if scale > 0.0 { value / scale } else { 0.0 };
    (code.round_ties_even() as i8).cast_unsigned()
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
        let bytes = shape.heads * shape.block_bytes() * blocks;
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
        let size = self.shape.block_bytes();
        for head in 0..self.shape.heads {
            let start = |block: u32| (head * self.blocks + block as usize) * size;
            for bytes in [self.keys.as_mut_slice(), self.values.as_mut_slice()] {
                bytes.copy_within(start(from)..start(from) + size, start(to));
            }
        }
    }

    /// Makes the values of a block zeros. The attention kernels weigh whole blocks, those of positions beyond the last with nearly
    /// nothing: whatever another sequence left there must at least be a number.
    pub(crate) fn clear_values(&mut self, block: u32) {
        let size = self.shape.block_bytes();
        for head in 0..self.shape.heads {
            let start = (head * self.blocks + block as usize) * size;
            self.values.as_mut_slice()[start..start + size].fill(0);
        }
    }

    /// For several workers that write different places.
    pub(crate) fn writer(&mut self, shape: KvShape) -> Writer<'_> {
        assert_eq!(shape, self.shape, "shape of the K/V cache");
        Writer {
            shape,
            blocks: self.blocks,
            keys: Scattered::new(self.keys.as_mut_slice()),
            values: Scattered::new(self.values.as_mut_slice()),
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
        let offset = head * self.blocks * shape.block_bytes();
        Blocks {
            keys: self.keys.as_slice()[offset..].as_ptr(),
            values: self.values.as_slice()[offset..].as_ptr(),
            dtype: shape.dtype,
            table,
            stride: shape.block_bytes(),
            head_dim: shape.head_dim,
            scale: 1.0 / (shape.head_dim as f32).sqrt(),
        }
    }
}

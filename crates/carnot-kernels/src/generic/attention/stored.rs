//! How keys and values of a block of 16 positions are read: half floats, or eight-bit codes with a scale for every 32 values of a position.
//!
//! ```text
//! keys    [head_dim][16] values, then for codes [groups][16] scales       values  [16][head_dim] values, then [groups][16] scales
//! ```

use super::KV_BLOCK;
use crate::simd::{LANES, Simd};

/// Values of a head that share a scale, where there are scales.
pub(crate) const GROUP: usize = 32;

/// A form of storage. All functions ask for pointers to a whole block.
pub(super) trait Stored {
    /// Of a value.
    const BYTES: usize;
    /// Values of a head between which the scales of keys stay the same.
    const RUN: usize;

    /// What the keys from `d` on are multiplied by, for each position.
    unsafe fn key_scales<S: Simd>(block: *const u8, head_dim: usize, d: usize) -> S::F;

    /// The `d`-th values of all positions' keys.
    unsafe fn key<S: Simd>(block: *const u8, d: usize, scales: S::F) -> S::F;

    /// What the values from `d` on are multiplied by, for each position.
    unsafe fn value_scales<S: Simd>(block: *const u8, head_dim: usize, d: usize) -> [f32; LANES];

    /// Sixteen values, `at` values after the block's first.
    unsafe fn value<S: Simd>(block: *const u8, at: usize, scale: f32) -> S::F;
}

/// Half floats, which need no scales.
pub(super) struct F16;

impl Stored for F16 {
    const BYTES: usize = 2;
    const RUN: usize = usize::MAX;

    #[inline(always)]
    unsafe fn key_scales<S: Simd>(_: *const u8, _: usize, _: usize) -> S::F {
        // SAFETY: no pointer is read.
        unsafe { S::splat(1.0) }
    }

    #[inline(always)]
    unsafe fn key<S: Simd>(block: *const u8, d: usize, _: S::F) -> S::F {
        // SAFETY: as the caller promises.
        unsafe { S::load_f16(block.add(2 * d * KV_BLOCK).cast()) }
    }

    #[inline(always)]
    unsafe fn value_scales<S: Simd>(_: *const u8, _: usize, _: usize) -> [f32; LANES] {
        [1.0; LANES]
    }

    #[inline(always)]
    unsafe fn value<S: Simd>(block: *const u8, at: usize, _: f32) -> S::F {
        // SAFETY: as the caller promises.
        unsafe { S::load_f16(block.add(2 * at).cast()) }
    }
}

/// Codes from -127 to 127, each group of 32 values of a position with a half float that they are multiplied by.
pub(super) struct Q8;

impl Q8 {
    /// The scales of all positions for the group of `d`.
    #[inline(always)]
    unsafe fn scales<S: Simd>(block: *const u8, head_dim: usize, d: usize) -> S::F {
        let at = head_dim * KV_BLOCK + d / GROUP * KV_BLOCK * 2;
        // SAFETY: the scales follow the codes; loads need no alignment.
        unsafe { S::load_f16(block.add(at).cast()) }
    }
}

impl Stored for Q8 {
    const BYTES: usize = 1;
    const RUN: usize = GROUP;

    #[inline(always)]
    unsafe fn key_scales<S: Simd>(block: *const u8, head_dim: usize, d: usize) -> S::F {
        // SAFETY: as the caller promises.
        unsafe { Self::scales::<S>(block, head_dim, d) }
    }

    #[inline(always)]
    unsafe fn key<S: Simd>(block: *const u8, d: usize, scales: S::F) -> S::F {
        // SAFETY: as the caller promises.
        unsafe { S::mul(S::load_i8(block.add(d * KV_BLOCK).cast()), scales) }
    }

    #[inline(always)]
    unsafe fn value_scales<S: Simd>(block: *const u8, head_dim: usize, d: usize) -> [f32; LANES] {
        let mut scales = [0.0; LANES];
        // SAFETY: as the caller promises.
        unsafe { S::store(scales.as_mut_ptr(), Self::scales::<S>(block, head_dim, d)) };
        scales
    }

    #[inline(always)]
    unsafe fn value<S: Simd>(block: *const u8, at: usize, scale: f32) -> S::F {
        // SAFETY: as the caller promises.
        unsafe { S::mul(S::load_i8(block.add(at).cast()), S::splat(scale)) }
    }
}

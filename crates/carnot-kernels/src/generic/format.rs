//! How one superblock of a packed panel is read: codes of four inputs for 16 rows, scales and mins of a group.

use crate::simd::{LANES, Simd};

/// One integer layout of `pack::Layout`, as the kernels read it.
///
/// # Safety
/// Methods read inside the superblock that `block` points to; `quad` counts groups of four inputs, `group` scale groups.
pub(crate) trait PanelFormat: Copy {
    const INPUTS: usize;
    const BYTES: usize;
    /// Inputs per scale, 16 or 32.
    const GROUP: usize;
    /// The code that stands for zero; 0 where a min is stored instead.
    const ZERO: i32;
    /// Whether a min is stored.
    const HAS_MIN: bool = Self::ZERO == 0;

    unsafe fn codes<S: Simd>(block: *const u8, quad: usize) -> S::C;
    unsafe fn scales<S: Simd>(block: *const u8, group: usize) -> S::F;
    unsafe fn mins<S: Simd>(block: *const u8, group: usize) -> S::F;
}

const F16_SCALES: usize = LANES * 2;
const F32_SCALES: usize = LANES * 4;

/// Nibble lines hold inputs `4j` low and `16 + 4j` high.
#[inline(always)]
unsafe fn nibbles<S: Simd>(lines: *const u8, quad: usize) -> S::C {
    let (group, line, high) = (quad / 8, quad % 4, quad % 8 >= 4);
    // SAFETY: as the trait demands.
    unsafe {
        let packed = S::load_codes(lines.add((group * 4 + line) * 64));
        if high {
            S::high_nibbles(packed)
        } else {
            S::low_nibbles(packed)
        }
    }
}

/// `Layout::Nibble`.
#[derive(Clone, Copy)]
pub(crate) struct Nibble;

/// `Layout::NibbleK`.
#[derive(Clone, Copy)]
pub(crate) struct NibbleK;

/// `Layout::Byte` with the zero code `ZERO`.
#[derive(Clone, Copy)]
pub(crate) struct Byte<const ZERO: i32>;

/// `Layout::ByteK16` with the zero code `ZERO`.
#[derive(Clone, Copy)]
pub(crate) struct ByteK16<const ZERO: i32>;

/// `Layout::Affine32` and `Layout::Affine16`.
#[derive(Clone, Copy)]
pub(crate) struct Affine<const GROUP: usize>;

#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "offsets follow the layout; the contract is the trait's"
)]
mod formats {
    use super::*;

    impl PanelFormat for Nibble {
        const INPUTS: usize = 64;
        const BYTES: usize = 2 * F16_SCALES + 2 * 256;
        const GROUP: usize = 32;
        const ZERO: i32 = 8;

        #[inline(always)]
        unsafe fn codes<S: Simd>(block: *const u8, quad: usize) -> S::C {
            unsafe { nibbles::<S>(block.add(2 * F16_SCALES), quad) }
        }
        #[inline(always)]
        unsafe fn scales<S: Simd>(block: *const u8, group: usize) -> S::F {
            unsafe { S::load_f16(block.add(group * F16_SCALES).cast()) }
        }
        #[inline(always)]
        unsafe fn mins<S: Simd>(_: *const u8, _: usize) -> S::F {
            unsafe { S::splat(0.0) }
        }
    }

    impl PanelFormat for NibbleK {
        const INPUTS: usize = 256;
        const BYTES: usize = 2 * F16_SCALES + 16 * LANES + 8 * 256;
        const GROUP: usize = 32;
        const ZERO: i32 = 0;

        #[inline(always)]
        unsafe fn codes<S: Simd>(block: *const u8, quad: usize) -> S::C {
            unsafe { nibbles::<S>(block.add(2 * F16_SCALES + 16 * LANES), quad) }
        }
        #[inline(always)]
        unsafe fn scales<S: Simd>(block: *const u8, group: usize) -> S::F {
            unsafe {
                S::mul(
                    S::load_f16(block.cast()),
                    S::load_u8(block.add(2 * F16_SCALES + group * LANES)),
                )
            }
        }
        #[inline(always)]
        unsafe fn mins<S: Simd>(block: *const u8, group: usize) -> S::F {
            unsafe {
                let mins = S::load_u8(block.add(2 * F16_SCALES + (8 + group) * LANES));
                S::mul(S::load_f16(block.add(F16_SCALES).cast()), mins)
            }
        }
    }

    impl<const ZERO: i32> PanelFormat for Byte<ZERO> {
        const INPUTS: usize = 64;
        const BYTES: usize = 2 * F16_SCALES + 64 * LANES;
        const GROUP: usize = 32;
        const ZERO: i32 = ZERO;

        #[inline(always)]
        unsafe fn codes<S: Simd>(block: *const u8, quad: usize) -> S::C {
            unsafe { S::load_codes(block.add(2 * F16_SCALES + quad * 64)) }
        }
        #[inline(always)]
        unsafe fn scales<S: Simd>(block: *const u8, group: usize) -> S::F {
            unsafe { S::load_f16(block.add(group * F16_SCALES).cast()) }
        }
        #[inline(always)]
        unsafe fn mins<S: Simd>(_: *const u8, _: usize) -> S::F {
            unsafe { S::splat(0.0) }
        }
    }

    impl<const ZERO: i32> PanelFormat for ByteK16<ZERO> {
        const INPUTS: usize = 256;
        const BYTES: usize = 2 * F16_SCALES + 16 * LANES + 256 * LANES;
        const GROUP: usize = 16;
        const ZERO: i32 = ZERO;

        #[inline(always)]
        unsafe fn codes<S: Simd>(block: *const u8, quad: usize) -> S::C {
            unsafe { S::load_codes(block.add(2 * F16_SCALES + 16 * LANES + quad * 64)) }
        }
        #[inline(always)]
        unsafe fn scales<S: Simd>(block: *const u8, group: usize) -> S::F {
            unsafe {
                S::mul(
                    S::load_f16(block.cast()),
                    S::load_i8(block.add(2 * F16_SCALES + group * LANES).cast()),
                )
            }
        }
        #[inline(always)]
        unsafe fn mins<S: Simd>(_: *const u8, _: usize) -> S::F {
            unsafe { S::splat(0.0) }
        }
    }

    impl<const GROUP: usize> PanelFormat for Affine<GROUP> {
        const INPUTS: usize = 64;
        const BYTES: usize = 2 * (64 / GROUP) * F32_SCALES + 64 * LANES;
        const GROUP: usize = GROUP;
        const ZERO: i32 = 0;

        #[inline(always)]
        unsafe fn codes<S: Simd>(block: *const u8, quad: usize) -> S::C {
            unsafe { S::load_codes(block.add(2 * (64 / GROUP) * F32_SCALES + quad * 64)) }
        }
        #[inline(always)]
        unsafe fn scales<S: Simd>(block: *const u8, group: usize) -> S::F {
            unsafe { S::load(block.add(group * F32_SCALES).cast()) }
        }
        #[inline(always)]
        unsafe fn mins<S: Simd>(block: *const u8, group: usize) -> S::F {
            unsafe { S::load(block.add((64 / GROUP + group) * F32_SCALES).cast()) }
        }
    }
}

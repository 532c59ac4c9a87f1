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
/// Scale, min and sub-scales of a superblock of 256 inputs.
const K_HEADER: usize = 2 * F16_SCALES + 16 * LANES;

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

/// Bits `from..` of each byte of `plane` moved to bit 4, and masked.
#[inline(always)]
unsafe fn above_nibbles<S: Simd>(codes: S::C, plane: S::C, from: usize, mask: u8) -> S::C {
    // SAFETY: registers only.
    unsafe {
        let plane = match from {
            0 => S::shift_left::<4>(plane),
            1 => S::shift_left::<3>(plane),
            2 => S::shift_left::<2>(plane),
            3 => S::shift_left::<1>(plane),
            4 => plane,
            5 => S::shift_right::<1>(plane),
            6 => S::shift_right::<2>(plane),
            _ => S::shift_right::<3>(plane),
        };
        S::or_masked(codes, plane, mask)
    }
}

/// `Layout::Nibble`.
#[derive(Clone, Copy)]
pub(crate) struct Nibble;

/// `Layout::NibbleK`.
#[derive(Clone, Copy)]
pub(crate) struct NibbleK;

/// `Layout::FiveBitK`.
#[derive(Clone, Copy)]
pub(crate) struct FiveBitK;

/// `Layout::SixBitK`.
#[derive(Clone, Copy)]
pub(crate) struct SixBitK;

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
        const BYTES: usize = K_HEADER + 8 * 256;
        const GROUP: usize = 32;
        const ZERO: i32 = 0;

        #[inline(always)]
        unsafe fn codes<S: Simd>(block: *const u8, quad: usize) -> S::C {
            unsafe { nibbles::<S>(block.add(K_HEADER), quad) }
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

    impl PanelFormat for FiveBitK {
        const INPUTS: usize = 256;
        const BYTES: usize = K_HEADER + 8 * 256 + 8 * 64;
        const GROUP: usize = 32;
        const ZERO: i32 = 0;

        #[inline(always)]
        unsafe fn codes<S: Simd>(block: *const u8, quad: usize) -> S::C {
            unsafe {
                let plane = S::load_codes(block.add(K_HEADER + 8 * 256 + quad / 8 * 64));
                let codes = nibbles::<S>(block.add(K_HEADER), quad);
                above_nibbles::<S>(codes, plane, quad % 8, 0x10)
            }
        }
        #[inline(always)]
        unsafe fn scales<S: Simd>(block: *const u8, group: usize) -> S::F {
            unsafe { NibbleK::scales::<S>(block, group) }
        }
        #[inline(always)]
        unsafe fn mins<S: Simd>(block: *const u8, group: usize) -> S::F {
            unsafe { NibbleK::mins::<S>(block, group) }
        }
    }

    impl PanelFormat for SixBitK {
        const INPUTS: usize = 256;
        const BYTES: usize = K_HEADER + 8 * 256 + 16 * 64;
        const GROUP: usize = 16;
        const ZERO: i32 = 32;

        #[inline(always)]
        unsafe fn codes<S: Simd>(block: *const u8, quad: usize) -> S::C {
            unsafe {
                let plane = S::load_codes(block.add(K_HEADER + 8 * 256 + quad / 4 * 64));
                let codes = nibbles::<S>(block.add(K_HEADER), quad);
                above_nibbles::<S>(codes, plane, quad % 4 * 2, 0x30)
            }
        }
        #[inline(always)]
        unsafe fn scales<S: Simd>(block: *const u8, group: usize) -> S::F {
            unsafe { ByteK16::<32>::scales::<S>(block, group) }
        }
        #[inline(always)]
        unsafe fn mins<S: Simd>(_: *const u8, _: usize) -> S::F {
            unsafe { S::splat(0.0) }
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

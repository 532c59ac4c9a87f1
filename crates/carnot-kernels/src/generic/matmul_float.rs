//! Float matmul over packed panels: f16, bf16 or f32 weights, f32 activations and sums.

use super::matmul_int::{Output, load_output, store_output};
use crate::activations::RowPointers;
use crate::simd::{LANES, Simd};

/// Most rows that [`gemv`] takes at once.
pub(crate) const GEMV_ROWS: usize = 4;
/// Inputs that one pass of [`gemm`] widens to f32 in the first-level cache.
pub(crate) const CHUNK: usize = 192;

/// A float layout of `pack::Layout`.
pub(crate) trait FloatFormat: Copy {
    /// Bytes per value.
    const BYTES: usize;
    /// # Safety
    /// `from` must hold 16 values.
    unsafe fn load<S: Simd>(from: *const u8) -> S::F;
}

/// IEEE half.
#[derive(Clone, Copy)]
pub(crate) struct Half;
/// Brain float.
#[derive(Clone, Copy)]
pub(crate) struct Brain;
/// IEEE single.
#[derive(Clone, Copy)]
pub(crate) struct Single;

#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "the contract is the trait's"
)]
mod formats {
    use super::*;

    impl FloatFormat for Half {
        const BYTES: usize = 2;
        #[inline(always)]
        unsafe fn load<S: Simd>(from: *const u8) -> S::F {
            unsafe { S::load_f16(from.cast()) }
        }
    }
    impl FloatFormat for Brain {
        const BYTES: usize = 2;
        #[inline(always)]
        unsafe fn load<S: Simd>(from: *const u8) -> S::F {
            unsafe { S::load_bf16(from.cast()) }
        }
    }
    impl FloatFormat for Single {
        const BYTES: usize = 4;
        #[inline(always)]
        unsafe fn load<S: Simd>(from: *const u8) -> S::F {
            unsafe { S::load(from.cast()) }
        }
    }
}

/// `ROWS` rows × one panel, over all `inputs`; four independent chains of additions hide the latency of one row.
///
/// # Safety
/// `panel` must hold `inputs` inputs (a multiple of 4), `rows` that many in `ROWS` rows, `out` 16 values per row.
#[inline(always)]
pub(crate) unsafe fn gemv<S: Simd, P: FloatFormat, const ROWS: usize>(
    panel: *const u8,
    inputs: usize,
    rows: RowPointers,
    out: *mut f32,
    out_stride: usize,
) {
    // SAFETY: all offsets stay inside what the caller promises.
    unsafe {
        let mut sums = [[S::splat(0.0); 4]; ROWS];
        for input in (0..inputs).step_by(4) {
            for chain in 0..4 {
                let weights = P::load::<S>(panel.add((input + chain) * LANES * P::BYTES));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = S::splat(*rows.floats.add(row * rows.stride + input + chain));
                    sums[chain] = S::fma(weights, value, sums[chain]);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            let sum = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
            S::store(out.add(row * out_stride), sum);
        }
    }
}

/// A chunk of two panels as f32.
#[repr(C, align(64))]
pub(crate) struct Widened {
    values: [[[f32; LANES]; 2]; CHUNK],
}

impl Widened {
    pub(crate) fn zeroed() -> Box<Self> {
        // SAFETY: zeros are valid floats.
        unsafe { Box::<Self>::new_zeroed().assume_init() }
    }
}

/// All `row_count` rows × two panels, over all `inputs`.
///
/// # Safety
/// As for [`gemv`]; `out` must have room for `row_count` rows of `out.columns` values.
#[inline(always)]
pub(crate) unsafe fn gemm<S: Simd, P: FloatFormat>(
    scratch: &mut Widened,
    panels: [*const u8; 2],
    inputs: usize,
    rows: RowPointers,
    row_count: usize,
    out: Output,
) {
    // SAFETY: all offsets stay inside what the caller promises.
    unsafe {
        for first in (0..inputs).step_by(CHUNK) {
            let count = CHUNK.min(inputs - first);
            for input in 0..count {
                for (index, panel) in panels.iter().enumerate() {
                    let values = P::load::<S>(panel.add((first + input) * LANES * P::BYTES));
                    S::store(scratch.values[input][index].as_mut_ptr(), values);
                }
            }
            let mut row = 0;
            while row < row_count {
                let at = (row, first, count);
                row += match row_count - row {
                    left if left >= 12 && S::FLOAT_TILE_ROWS == 12 => {
                        tile::<S, 12>(scratch, rows, at, out)
                    }
                    left if left >= 6 && S::FLOAT_TILE_ROWS == 12 => {
                        tile::<S, 6>(scratch, rows, at, out)
                    }
                    left if left >= 3 => tile::<S, 3>(scratch, rows, at, out),
                    _ => tile::<S, 1>(scratch, rows, at, out),
                };
            }
        }
    }
}

#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize>(
    chunk: &Widened,
    rows: RowPointers,
    (row0, first, count): (usize, usize, usize),
    out: Output,
) -> usize {
    // SAFETY: all offsets stay inside what the caller of `gemm` promises.
    unsafe {
        let mut sums = [[S::splat(0.0); 2]; ROWS];
        if first > 0 {
            for (row, sums) in sums.iter_mut().enumerate() {
                *sums = [
                    load_output::<S>(out, row0 + row, 0),
                    load_output::<S>(out, row0 + row, 1),
                ];
            }
        }
        let floats = rows.floats.add(row0 * rows.stride + first);
        for input in 0..count {
            let line = chunk.values.get_unchecked(input);
            let weights = [S::load(line[0].as_ptr()), S::load(line[1].as_ptr())];
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = S::splat(*floats.add(row * rows.stride + input));
                sums[0] = S::fma(weights[0], value, sums[0]);
                sums[1] = S::fma(weights[1], value, sums[1]);
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            store_output::<S>(out, row0 + row, 0, sums[0]);
            store_output::<S>(out, row0 + row, 1, sums[1]);
        }
        ROWS
    }
}

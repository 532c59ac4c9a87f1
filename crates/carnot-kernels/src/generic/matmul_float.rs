//! Float matmul over packed panels: f16, bf16 or f32 weights, f32 activations and sums.

use super::matmul_int::{Output, Partial, Sums, prefetch};
use crate::activations::{Activations, FLOAT_CHUNK as CHUNK};
use crate::simd::{LANES, Simd};

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

/// How far ahead of their use the values of a tile are asked for.
const AHEAD: usize = 256;
/// How far ahead of its use a panel is asked for, in bytes.
const PREFETCH: usize = 4096;

/// A tile of `ROWS` rows × one panel, over all `inputs`; four independent chains of additions hide the latency of one row.
///
/// # Safety
/// `panel` must hold `inputs` inputs (a multiple of 4), `floats` a tile of that many, `out` 16 values per row.
#[inline(always)]
pub(crate) unsafe fn gemv<S: Simd, P: FloatFormat, const ROWS: usize>(
    panel: *const u8,
    inputs: usize,
    floats: *const f32,
    out: *mut f32,
    out_stride: usize,
) {
    // SAFETY: all offsets stay inside what the caller promises.
    unsafe {
        let mut sums = [[S::splat(0.0); 4]; ROWS];
        for input in (0..inputs).step_by(4) {
            let lines = panel.add(input * LANES * P::BYTES);
            prefetch(lines.wrapping_add(PREFETCH), 4 * LANES * P::BYTES);
            for chain in 0..4 {
                let weights = P::load::<S>(lines.add(chain * LANES * P::BYTES));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = S::splat(*floats.add((input + chain) * ROWS + row));
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

/// What one widened chunk is multiplied with.
#[derive(Clone, Copy)]
pub(crate) struct Tiles<'a> {
    pub activations: &'a Activations,
    /// The first input of the chunk.
    pub first: usize,
    /// Inputs in the chunk.
    pub inputs: usize,
    pub sums: Sums,
}

/// Multiplies all rows with a chunk; shared by all formats.
pub(crate) type TilesFn = unsafe fn(&Widened, Tiles<'_>);

/// All rows × two panels, over all `inputs`.
///
/// # Safety
/// The panels must hold `inputs` inputs, the activations the f32 form of that many, and `out` must have room for their rows
/// of `out.columns` values.
#[inline(always)]
pub(crate) unsafe fn gemm<S: Simd, P: FloatFormat>(
    (scratch, partial): (&mut Widened, &mut Partial),
    panels: [*const u8; 2],
    inputs: usize,
    tiles: TilesFn,
    (activations, out): (&Activations, Output),
) {
    partial.resize(activations.rows(), [[0.0; LANES]; 2]);
    // SAFETY: all offsets stay inside what the caller promises.
    unsafe {
        for first in (0..inputs).step_by(CHUNK) {
            let count = CHUNK.min(inputs - first);
            let sums = Sums {
                partial: partial.as_mut_ptr(),
                continues: first > 0,
                out: (first + count == inputs).then_some(out),
            };
            for input in 0..count {
                for (index, panel) in panels.iter().enumerate() {
                    let values = P::load::<S>(panel.add((first + input) * LANES * P::BYTES));
                    S::store(scratch.values[input][index].as_mut_ptr(), values);
                }
            }
            let chunk = Tiles {
                activations,
                first,
                inputs: count,
                sums,
            };
            tiles(scratch, chunk);
        }
    }
}

/// The body of a [`TilesFn`].
///
/// # Safety
/// As for [`gemm`].
#[inline(always)]
pub(crate) unsafe fn tiles<S: Simd>(chunk: &Widened, all: Tiles<'_>) {
    let tiling = all.activations.float_tiling;
    for index in 0..tiling.tiles() {
        let rows = tiling.rows_of(index);
        let wide = S::FLOAT_TILE.most == 12;
        // SAFETY: as the caller promises; the tile's height is that of the activations.
        unsafe {
            match rows.len() {
                12 if wide => tile::<S, 12>(chunk, &all, rows.start),
                11 if wide => tile::<S, 11>(chunk, &all, rows.start),
                10 if wide => tile::<S, 10>(chunk, &all, rows.start),
                9 if wide => tile::<S, 9>(chunk, &all, rows.start),
                8 if wide => tile::<S, 8>(chunk, &all, rows.start),
                7 if wide => tile::<S, 7>(chunk, &all, rows.start),
                6 if wide => tile::<S, 6>(chunk, &all, rows.start),
                5 if wide => tile::<S, 5>(chunk, &all, rows.start),
                3 if !wide => tile::<S, 3>(chunk, &all, rows.start),
                2 if !wide => tile::<S, 2>(chunk, &all, rows.start),
                height => unreachable!("no kernel for tiles of {height} rows"),
            }
        }
    }
}

#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize>(chunk: &Widened, all: &Tiles<'_>, row0: usize) {
    // SAFETY: all offsets stay inside what the caller of `gemm` promises.
    unsafe {
        let mut sums = [[S::splat(0.0); 2]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            *sums = all.sums.load::<S>(row0 + row);
        }
        let mut floats = all.activations.float_tile(row0, all.first);
        for line in chunk.values.get_unchecked(..all.inputs) {
            let weights = [S::load(line[0].as_ptr()), S::load(line[1].as_ptr())];
            prefetch(floats.wrapping_add(AHEAD).cast(), ROWS * 4);
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = S::splat(*floats.add(row));
                sums[0] = S::fma(weights[0], value, sums[0]);
                sums[1] = S::fma(weights[1], value, sums[1]);
            }
            floats = floats.add(ROWS);
        }
        for (row, sums) in sums.into_iter().enumerate() {
            all.sums.store::<S>(row0 + row, sums);
        }
    }
}

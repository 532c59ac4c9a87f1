//! Integer matmul over packed panels: int8 activations, unsigned weight codes, one f32 fused multiply-add per scale group.
//!
//! Two shapes of loop:
//! - few rows ([`gemv`]): codes are unpacked in registers and used once; memory is the limit;
//! - many rows ([`gemm`]): a chunk of two panels is expanded to bytes in L1 and used by every tile of rows.

use super::format::PanelFormat;
use crate::activations::RowPointers;
use crate::simd::{LANES, Simd};

/// Most rows that [`gemv`] takes at once.
pub(crate) const GEMV_ROWS: usize = 4;
/// Inputs that one pass of [`gemm`] expands; two panels of them fill half of a 48 KiB first-level cache.
pub(crate) const CHUNK: usize = 512;

/// How far ahead of its use a panel is asked for, in bytes.
const PREFETCH: usize = 4096;

/// The accumulators of one group start at `−zero · Σ a`; the sums are kept as `−8 · Σ a`.
#[inline(always)]
unsafe fn start<S: Simd, const GROUP: usize>(
    row: &RowPointers,
    at: usize,
    group: usize,
    zero: i32,
) -> S::I {
    let sums = if GROUP == 32 { row.sums32 } else { row.sums16 };
    // SAFETY: the caller keeps `at` and `group` inside the row.
    unsafe { S::int_splat((*sums.add(at * row.stride / GROUP + group) * zero) >> 3) }
}

/// Folds a finished integer group into the f32 accumulator.
#[inline(always)]
unsafe fn finish<S: Simd, const GROUP: usize, const MIN: bool>(
    sum: S::F,
    dots: S::I,
    (scale, min): (S::F, S::F),
    row: &RowPointers,
    at: usize,
    group: usize,
) -> S::F {
    // SAFETY: the caller keeps `at` and `group` inside the row.
    unsafe {
        let row_scale = *row.scales.add(at * row.stride / 32 + group * GROUP / 32);
        let value = S::mul(S::int_to_float(dots), S::splat(row_scale));
        let sum = S::fma(value, scale, sum);
        if !MIN {
            return sum;
        }
        let weighted = if GROUP == 32 {
            row.weighted32
        } else {
            row.weighted16
        };
        S::fnma(
            min,
            S::splat(*weighted.add(at * row.stride / GROUP + group)),
            sum,
        )
    }
}

/// `ROWS` outputs rows × one panel, over all inputs. `out` is 16 values per row, `out_stride` apart.
///
/// # Safety
/// `panel` must hold `superblocks` superblocks of `P`, `rows` that many inputs in `ROWS` rows, and `out` its values.
#[inline(always)]
pub(crate) unsafe fn gemv<S: Simd, P: PanelFormat, const ROWS: usize>(
    panel: *const u8,
    superblocks: usize,
    rows: RowPointers,
    out: *mut f32,
    out_stride: usize,
) {
    // SAFETY: all offsets stay inside what the caller promises.
    unsafe {
        let mut sums = [S::splat(0.0); ROWS];
        for superblock in 0..superblocks {
            let block = panel.add(superblock * P::BYTES);
            prefetch(block.wrapping_add(PREFETCH), P::BYTES);
            for local in 0..P::INPUTS / P::GROUP {
                let group = superblock * (P::INPUTS / P::GROUP) + local;
                let mut dots: [S::I; ROWS] = [S::int_splat(0); ROWS];
                for (row, dots) in dots.iter_mut().enumerate() {
                    *dots = match P::GROUP {
                        32 => start::<S, 32>(&rows, row, group, P::ZERO),
                        _ => start::<S, 16>(&rows, row, group, P::ZERO),
                    };
                }
                for quad in 0..P::GROUP / 4 {
                    let codes = P::codes::<S>(block, local * (P::GROUP / 4) + quad);
                    let input = group * P::GROUP + quad * 4;
                    for (row, dots) in dots.iter_mut().enumerate() {
                        *dots = S::dot(*dots, codes, rows.codes.add(row * rows.stride + input));
                    }
                }
                let scale = (P::scales::<S>(block, local), P::mins::<S>(block, local));
                for row in 0..ROWS {
                    sums[row] = match (P::GROUP, P::HAS_MIN) {
                        (32, false) => {
                            finish::<S, 32, false>(sums[row], dots[row], scale, &rows, row, group)
                        }
                        (32, true) => {
                            finish::<S, 32, true>(sums[row], dots[row], scale, &rows, row, group)
                        }
                        (_, false) => {
                            finish::<S, 16, false>(sums[row], dots[row], scale, &rows, row, group)
                        }
                        (_, true) => {
                            finish::<S, 16, true>(sums[row], dots[row], scale, &rows, row, group)
                        }
                    };
                }
            }
        }
        for (row, sum) in sums.into_iter().enumerate() {
            S::store(out.add(row * out_stride), sum);
        }
    }
}

#[inline(always)]
unsafe fn prefetch(from: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, bytes);
}

/// A chunk of two panels, expanded: bytes for codes, f32 for scales and mins.
#[repr(C, align(64))]
pub(crate) struct Expanded {
    codes: [[[u8; 64]; 2]; CHUNK / 4],
    scales: [[[f32; LANES]; 2]; CHUNK / 16],
    mins: [[[f32; LANES]; 2]; CHUNK / 16],
}

impl Expanded {
    pub(crate) fn zeroed() -> Box<Self> {
        // SAFETY: zeros are valid codes and floats.
        unsafe { Box::<Self>::new_zeroed().assume_init() }
    }

    /// Expands superblocks `first..last` of each panel; returns the number of inputs.
    #[inline(always)]
    unsafe fn fill<S: Simd, P: PanelFormat>(
        &mut self,
        panels: [*const u8; 2],
        first: usize,
        last: usize,
    ) -> usize {
        // SAFETY: the caller promises the superblocks; the chunk bounds the targets.
        unsafe {
            for superblock in first..last {
                let quad0 = (superblock - first) * P::INPUTS / 4;
                let group0 = (superblock - first) * P::INPUTS / P::GROUP;
                for (index, panel) in panels.iter().enumerate() {
                    let block = panel.add(superblock * P::BYTES);
                    for quad in 0..P::INPUTS / 4 {
                        S::store_codes(
                            self.codes[quad0 + quad][index].as_mut_ptr(),
                            P::codes::<S>(block, quad),
                        );
                    }
                    for group in 0..P::INPUTS / P::GROUP {
                        S::store(
                            self.scales[group0 + group][index].as_mut_ptr(),
                            P::scales::<S>(block, group),
                        );
                        if P::HAS_MIN {
                            S::store(
                                self.mins[group0 + group][index].as_mut_ptr(),
                                P::mins::<S>(block, group),
                            );
                        }
                    }
                }
            }
            (last - first) * P::INPUTS
        }
    }
}

/// Where the outputs of a tile go.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub start: *mut f32,
    pub stride: usize,
    /// Columns that may be written from `start`; the rest is padding of the last panel, or no panel at all.
    pub columns: usize,
}

/// What one expanded chunk is multiplied with.
#[derive(Clone, Copy)]
pub(crate) struct Tiles {
    pub rows: RowPointers,
    pub row_count: usize,
    /// The code that stands for zero.
    pub zero: i32,
    /// The first scale group of the chunk.
    pub group0: usize,
    /// Inputs in the chunk.
    pub inputs: usize,
    pub out: Output,
}

/// Multiplies all rows with a chunk; shared by all formats with the same groups.
pub(crate) type TilesFn = unsafe fn(&Expanded, Tiles);

/// All `row_count` rows × two panels, over all inputs: each chunk is expanded once, then `tiles` runs over it.
///
/// # Safety
/// As for [`gemv`]; `out` must have room for `row_count` rows of `out.columns` values.
#[inline(always)]
pub(crate) unsafe fn gemm<S: Simd, P: PanelFormat>(
    scratch: &mut Expanded,
    panels: [*const u8; 2],
    superblocks: usize,
    tiles: TilesFn,
    (rows, row_count, out): (RowPointers, usize, Output),
) {
    let step = CHUNK / P::INPUTS;
    for first in (0..superblocks).step_by(step) {
        // SAFETY: all offsets stay inside what the caller promises.
        unsafe {
            let inputs = scratch.fill::<S, P>(panels, first, superblocks.min(first + step));
            let group0 = first * P::INPUTS / P::GROUP;
            tiles(
                scratch,
                Tiles {
                    rows,
                    row_count,
                    zero: P::ZERO,
                    group0,
                    inputs,
                    out,
                },
            );
        }
    }
}

/// The body of a [`TilesFn`].
///
/// # Safety
/// As for [`gemm`].
#[inline(always)]
pub(crate) unsafe fn tiles<S: Simd, const GROUP: usize, const MIN: bool>(
    chunk: &Expanded,
    all: Tiles,
) {
    let mut row = 0;
    while row < all.row_count {
        // SAFETY: as the caller promises; a tile never has more rows than are left.
        row += unsafe {
            match all.row_count - row {
                6.. if S::TILE_ROWS >= 6 => tile::<S, GROUP, MIN, 6>(chunk, &all, row),
                4.. if S::TILE_ROWS >= 6 => tile::<S, GROUP, MIN, 4>(chunk, &all, row),
                2.. => tile::<S, GROUP, MIN, 2>(chunk, &all, row),
                _ => tile::<S, GROUP, MIN, 1>(chunk, &all, row),
            }
        };
    }
}

#[inline(always)]
unsafe fn tile<S: Simd, const GROUP: usize, const MIN: bool, const ROWS: usize>(
    chunk: &Expanded,
    all: &Tiles,
    row0: usize,
) -> usize {
    let (rows, out) = (&all.rows, all.out);
    // SAFETY: all offsets stay inside what the caller of `gemm` promises.
    unsafe {
        let mut sums = [[S::splat(0.0); 2]; ROWS];
        if all.group0 > 0 {
            for (row, sums) in sums.iter_mut().enumerate() {
                *sums = [
                    load_output::<S>(out, row0 + row, 0),
                    load_output::<S>(out, row0 + row, 1),
                ];
            }
        }
        for local in 0..all.inputs / GROUP {
            let group = all.group0 + local;
            let mut dots = [[S::int_splat(0); 2]; ROWS];
            for (row, dots) in dots.iter_mut().enumerate() {
                *dots = [start::<S, GROUP>(rows, row0 + row, group, all.zero); 2];
            }
            for quad in 0..GROUP / 4 {
                let lines = chunk.codes.get_unchecked(local * (GROUP / 4) + quad);
                let input = group * GROUP + quad * 4;
                let codes = [
                    S::load_codes(lines[0].as_ptr()),
                    S::load_codes(lines[1].as_ptr()),
                ];
                for (row, dots) in dots.iter_mut().enumerate() {
                    let quad = rows.codes.add((row0 + row) * rows.stride + input);
                    dots[0] = S::dot(dots[0], codes[0], quad);
                    dots[1] = S::dot(dots[1], codes[1], quad);
                }
            }
            for panel in 0..2 {
                let scale = S::load(chunk.scales.get_unchecked(local)[panel].as_ptr());
                let min = S::load(chunk.mins.get_unchecked(local)[panel].as_ptr());
                for row in 0..ROWS {
                    let (sum, dots) = (sums[row][panel], dots[row][panel]);
                    sums[row][panel] =
                        finish::<S, GROUP, MIN>(sum, dots, (scale, min), rows, row0 + row, group);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            store_output::<S>(out, row0 + row, 0, sums[0]);
            store_output::<S>(out, row0 + row, 1, sums[1]);
        }
        ROWS
    }
}

/// The 16 outputs of a panel at a row; padding columns read as zero.
#[inline(always)]
pub(crate) unsafe fn load_output<S: Simd>(out: Output, row: usize, panel: usize) -> S::F {
    // SAFETY: only columns below `out.columns` are read.
    unsafe {
        let from = out.start.add(row * out.stride + panel * LANES);
        let left = out.columns.saturating_sub(panel * LANES);
        if left >= LANES {
            return S::load(from);
        }
        let mut lanes = [0.0; LANES];
        std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), left);
        S::load(lanes.as_ptr())
    }
}

/// Stores the outputs of a panel at a row, without the padding columns.
#[inline(always)]
pub(crate) unsafe fn store_output<S: Simd>(out: Output, row: usize, panel: usize, value: S::F) {
    // SAFETY: only columns below `out.columns` are written.
    unsafe {
        let to = out.start.add(row * out.stride + panel * LANES);
        let left = out.columns.saturating_sub(panel * LANES);
        if left >= LANES {
            return S::store(to, value);
        }
        let mut lanes = [0.0; LANES];
        S::store(lanes.as_mut_ptr(), value);
        std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, left);
    }
}

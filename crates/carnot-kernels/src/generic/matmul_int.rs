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

/// The accumulators of one group start at `−zero · Σ a`.
#[inline(always)]
unsafe fn start<S: Simd, P: PanelFormat>(row: &RowPointers, at: usize, group: usize) -> S::I {
    // SAFETY: the caller keeps `at` and `group` inside the row.
    unsafe {
        let Some(log2) = P::ZERO_LOG2 else {
            return S::int_splat(0);
        };
        let sums = if P::GROUP == 32 {
            row.sums32
        } else {
            row.sums16
        };
        let eight = *sums.add(at * row.stride / P::GROUP + group);
        S::int_splat(if log2 >= 3 {
            eight << (log2 - 3)
        } else {
            eight >> (3 - log2)
        })
    }
}

/// Folds a finished integer group into the f32 accumulator.
#[inline(always)]
unsafe fn finish<S: Simd, P: PanelFormat>(
    sum: S::F,
    dots: S::I,
    (scale, min): (S::F, S::F),
    row: &RowPointers,
    at: usize,
    group: usize,
) -> S::F {
    // SAFETY: the caller keeps `at` and `group` inside the row.
    unsafe {
        let row_scale = *row.scales.add(at * row.stride / 32 + group * P::GROUP / 32);
        let value = S::mul(S::int_to_float(dots), S::splat(row_scale));
        let sum = S::fma(value, scale, sum);
        if P::ZERO_LOG2.is_some() {
            return sum;
        }
        let weighted = if P::GROUP == 32 {
            row.weighted32
        } else {
            row.weighted16
        };
        S::fnma(
            min,
            S::splat(*weighted.add(at * row.stride / P::GROUP + group)),
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
                    *dots = start::<S, P>(&rows, row, group);
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
                    sums[row] = finish::<S, P>(sums[row], dots[row], scale, &rows, row, group);
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

/// A chunk of up to `PANELS` panels, expanded: bytes for codes, f32 for scales and mins.
#[repr(C, align(64))]
pub(crate) struct Expanded<const PANELS: usize> {
    codes: [[[u8; 64]; PANELS]; CHUNK / 4],
    scales: [[[f32; LANES]; PANELS]; CHUNK / 16],
    mins: [[[f32; LANES]; PANELS]; CHUNK / 16],
}

impl<const PANELS: usize> Expanded<PANELS> {
    pub(crate) fn zeroed() -> Box<Self> {
        // SAFETY: zeros are valid codes and floats.
        unsafe { Box::<Self>::new_zeroed().assume_init() }
    }

    /// Expands superblocks `first..last` of each panel; returns the number of inputs.
    #[inline(always)]
    unsafe fn fill<S: Simd, P: PanelFormat>(
        &mut self,
        panels: [*const u8; PANELS],
        first: usize,
        last: usize,
    ) -> usize {
        // SAFETY: the caller promises the superblocks; the chunk bounds the targets.
        unsafe {
            for superblock in first..last {
                let (quad0, group0) = (
                    (superblock - first) * P::INPUTS / 4,
                    (superblock - first) * P::INPUTS / P::GROUP,
                );
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
                        if P::ZERO_LOG2.is_none() {
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
    /// Columns that may be written from `start`; the rest of the last panel is padding.
    pub columns: usize,
}

/// All `row_count` rows × `PANELS` panels, over all inputs.
///
/// # Safety
/// As for [`gemv`]; `out` must have room for `row_count` rows of `out.columns` values.
#[inline(always)]
pub(crate) unsafe fn gemm<S: Simd, P: PanelFormat, const PANELS: usize>(
    scratch: &mut Expanded<PANELS>,
    panels: [*const u8; PANELS],
    superblocks: usize,
    rows: RowPointers,
    row_count: usize,
    out: Output,
) {
    let step = CHUNK / P::INPUTS;
    // SAFETY: all offsets stay inside what the caller promises.
    unsafe {
        for first in (0..superblocks).step_by(step) {
            let last = superblocks.min(first + step);
            let inputs = scratch.fill::<S, P>(panels, first, last);
            let group0 = first * P::INPUTS / P::GROUP;
            let mut row = 0;
            while row < row_count {
                let at = Tile {
                    row,
                    group0,
                    inputs,
                    accumulate: first > 0,
                };
                row += match row_count - row {
                    left if left >= S::TILE_ROWS && S::TILE_ROWS == 6 => {
                        tile::<S, P, PANELS, 6>(scratch, rows, at, out)
                    }
                    left if left >= 4 => tile::<S, P, PANELS, 4>(scratch, rows, at, out),
                    left if left >= 2 => tile::<S, P, PANELS, 2>(scratch, rows, at, out),
                    _ => tile::<S, P, PANELS, 1>(scratch, rows, at, out),
                };
            }
        }
    }
}

/// Position of a tile: its first row, first group, inputs in the chunk, and whether earlier chunks are in `out` already.
#[derive(Clone, Copy)]
struct Tile {
    row: usize,
    group0: usize,
    inputs: usize,
    accumulate: bool,
}

#[inline(always)]
unsafe fn tile<S: Simd, P: PanelFormat, const PANELS: usize, const ROWS: usize>(
    chunk: &Expanded<PANELS>,
    rows: RowPointers,
    at: Tile,
    out: Output,
) -> usize {
    // SAFETY: all offsets stay inside what the caller of `gemm` promises.
    unsafe {
        let mut sums = [[S::splat(0.0); PANELS]; ROWS];
        if at.accumulate {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (panel, sum) in sums.iter_mut().enumerate() {
                    *sum = load_output::<S>(out, at.row + row, panel);
                }
            }
        }
        for local in 0..at.inputs / P::GROUP {
            let group = at.group0 + local;
            let mut dots = [[S::int_splat(0); PANELS]; ROWS];
            for (row, dots) in dots.iter_mut().enumerate() {
                *dots = [start::<S, P>(&rows, at.row + row, group); PANELS];
            }
            for quad in 0..P::GROUP / 4 {
                let lines = chunk.codes.get_unchecked(local * (P::GROUP / 4) + quad);
                let input = group * P::GROUP + quad * 4;
                let mut codes = [S::load_codes(lines[0].as_ptr()); PANELS];
                for panel in 1..PANELS {
                    codes[panel] = S::load_codes(lines[panel].as_ptr());
                }
                for (row, dots) in dots.iter_mut().enumerate() {
                    let quad = rows.codes.add((at.row + row) * rows.stride + input);
                    for panel in 0..PANELS {
                        dots[panel] = S::dot(dots[panel], codes[panel], quad);
                    }
                }
            }
            for panel in 0..PANELS {
                let scale = S::load(chunk.scales.get_unchecked(local)[panel].as_ptr());
                let min = S::load(chunk.mins.get_unchecked(local)[panel].as_ptr());
                for row in 0..ROWS {
                    let sum = sums[row][panel];
                    sums[row][panel] = finish::<S, P>(
                        sum,
                        dots[row][panel],
                        (scale, min),
                        &rows,
                        at.row + row,
                        group,
                    );
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (panel, sum) in sums.into_iter().enumerate() {
                store_output::<S>(out, at.row + row, panel, sum);
            }
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
        let left = out.columns - panel * LANES;
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
        let left = out.columns - panel * LANES;
        if left >= LANES {
            return S::store(to, value);
        }
        let mut lanes = [0.0; LANES];
        S::store(lanes.as_mut_ptr(), value);
        std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, left);
    }
}

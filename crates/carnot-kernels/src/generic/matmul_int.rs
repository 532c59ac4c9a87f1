//! Integer matmul over packed panels: int8 activations, unsigned weight codes, one f32 fused multiply-add per scale group.
//!
//! Two shapes of loop:
//! - few rows ([`gemv`]): codes are unpacked in registers and used once; memory is the limit;
//! - many rows ([`gemm`]): a chunk of two panels is expanded to bytes in L1 and used by every tile of rows.

use super::format::PanelFormat;
use crate::activations::{Activations, GROUP as SCALE_GROUP, INT_CHUNK as CHUNK, IntTile};
use crate::simd::{LANES, Simd};

/// The code that stands for zero in an expanded chunk, whatever it was in the panel.
const EXPANDED_ZERO: u8 = 128;

/// How far ahead of their use the codes of a tile are asked for, in bytes.
const AHEAD: usize = 1024;
/// How far ahead of its use a panel is asked for, in bytes.
const PREFETCH: usize = 4096;

/// Which arrays of a tile belong to groups of `GROUP` inputs.
#[inline(always)]
fn sums_of<const GROUP: usize>(tile: &IntTile) -> (*const i32, *const f32) {
    if GROUP == 32 {
        (tile.sums32, tile.weighted32)
    } else {
        (tile.sums16, tile.weighted16)
    }
}

/// A tile of `ROWS` rows × one panel, over all inputs. `out` is 16 values per row, `out_stride` apart.
///
/// # Safety
/// `panel` must hold `superblocks` superblocks of `P`, `tile` that many inputs of `ROWS` rows, and `out` its values.
#[inline(always)]
pub(crate) unsafe fn gemv<S: Simd, P: PanelFormat, const ROWS: usize>(
    panel: *const u8,
    superblocks: usize,
    tile: IntTile,
    out: *mut f32,
    out_stride: usize,
) {
    let (starts, weighted) = match P::GROUP {
        32 => sums_of::<32>(&tile),
        _ => sums_of::<16>(&tile),
    };
    // SAFETY: all offsets stay inside what the caller promises.
    unsafe {
        let mut sums = [S::splat(0.0); ROWS];
        for superblock in 0..superblocks {
            let block = panel.add(superblock * P::BYTES);
            for local in 0..P::INPUTS / P::GROUP {
                // A share of the superblock ahead for each group: in one burst it would wait for free line buffers.
                let ahead = |group: usize| group * P::BYTES / (P::INPUTS / P::GROUP) / 64 * 64;
                let (from, to) = (ahead(local), ahead(local + 1));
                prefetch(block.wrapping_add(PREFETCH + from), to - from);
                let group = superblock * (P::INPUTS / P::GROUP) + local;
                let mut dots = [S::int_splat(0); ROWS];
                if !P::HAS_MIN {
                    for (row, dots) in dots.iter_mut().enumerate() {
                        *dots = S::int_splat((*starts.add(group * ROWS + row) * P::ZERO) >> 7);
                    }
                }
                let codes_of = tile.codes.add(group * P::GROUP * ROWS);
                for quad in 0..P::GROUP / 4 {
                    let codes = P::codes::<S>(block, local * (P::GROUP / 4) + quad);
                    for (row, dots) in dots.iter_mut().enumerate() {
                        *dots = S::dot(*dots, codes, codes_of.add((quad * ROWS + row) * 4));
                    }
                }
                let (scale, min) = (P::scales::<S>(block, local), P::mins::<S>(block, local));
                for (row, sum) in sums.iter_mut().enumerate() {
                    let row_scale = *tile.scales.add(group * P::GROUP / SCALE_GROUP * ROWS + row);
                    let value = S::mul(S::int_to_float(dots[row]), S::splat(row_scale));
                    *sum = S::fma(value, scale, *sum);
                    if P::HAS_MIN {
                        let weighted = S::splat(*weighted.add(group * ROWS + row));
                        *sum = S::fnma(min, weighted, *sum);
                    }
                }
            }
        }
        for (row, sum) in sums.into_iter().enumerate() {
            S::store(out.add(row * out_stride), sum);
        }
    }
}

/// Asks for `bytes` from `from` on; the address need not be valid.
#[inline(always)]
pub(crate) unsafe fn prefetch(from: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, bytes);
}

/// Sums of all rows with two panels, between chunks: far apart in the outputs, they stand side by side here.
pub(crate) type Partial = Vec<[[f32; LANES]; 2]>;

/// A chunk of two panels, expanded: bytes for codes, f32 for scales and mins. It takes half of a 48 KiB first-level cache.
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
                    // Eight at a time, so that where bits lie in a line is known when this is compiled.
                    for eight in 0..P::INPUTS / 32 {
                        for quad in 0..8 {
                            let quad = eight * 8 + quad;
                            let mut codes = P::codes::<S>(block, quad);
                            if !P::HAS_MIN && P::ZERO != i32::from(EXPANDED_ZERO) {
                                codes = S::add_codes(codes, EXPANDED_ZERO - P::ZERO as u8);
                            }
                            S::store_codes(self.codes[quad0 + quad][index].as_mut_ptr(), codes);
                        }
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
pub(crate) struct Tiles<'a> {
    pub activations: &'a Activations,
    /// The first input of the chunk.
    pub first: usize,
    /// Inputs in the chunk.
    pub inputs: usize,
    pub sums: Sums,
}

/// Where the sums of a chunk come from and go to.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    pub partial: *mut [[f32; LANES]; 2],
    /// Whether earlier chunks left partial sums.
    pub continues: bool,
    /// Where finished sums go: set for the last chunk.
    pub out: Option<Output>,
}

impl Sums {
    /// The sums of two panels at `row` so far.
    #[inline(always)]
    pub unsafe fn load<S: Simd>(self, row: usize) -> [S::F; 2] {
        if !self.continues {
            // SAFETY: registers only.
            return unsafe { [S::splat(0.0); 2] };
        }
        // SAFETY: the caller keeps `row` inside the activations, as many as there are partial sums.
        unsafe {
            let from = &*self.partial.add(row);
            [S::load(from[0].as_ptr()), S::load(from[1].as_ptr())]
        }
    }

    /// Keeps the sums of two panels at `row`, or puts them out.
    #[inline(always)]
    pub unsafe fn store<S: Simd>(self, row: usize, sums: [S::F; 2]) {
        // SAFETY: as in `load`; the output has room for every row.
        unsafe {
            if let Some(out) = self.out {
                store_output::<S>(out, row, 0, sums[0]);
                store_output::<S>(out, row, 1, sums[1]);
            } else {
                let to = &mut *self.partial.add(row);
                S::store(to[0].as_mut_ptr(), sums[0]);
                S::store(to[1].as_mut_ptr(), sums[1]);
            }
        }
    }
}

/// Multiplies all rows with a chunk; shared by all formats with the same groups.
pub(crate) type TilesFn = unsafe fn(&Expanded, Tiles<'_>);

/// All rows × two panels, over all inputs: each chunk is expanded once, then `tiles` runs over it.
///
/// # Safety
/// The panels must hold `superblocks` superblocks of `P`, the activations the int8 form of that many inputs, and `out` must
/// have room for their rows of `out.columns` values.
#[inline(always)]
pub(crate) unsafe fn gemm<S: Simd, P: PanelFormat>(
    (scratch, partial): (&mut Expanded, &mut Partial),
    panels: [*const u8; 2],
    superblocks: usize,
    tiles: TilesFn,
    (activations, out): (&Activations, Output),
) {
    let step = CHUNK / P::INPUTS;
    partial.resize(activations.rows(), [[0.0; LANES]; 2]);
    for first in (0..superblocks).step_by(step) {
        let last = superblocks.min(first + step);
        let sums = Sums {
            partial: partial.as_mut_ptr(),
            continues: first > 0,
            out: (last == superblocks).then_some(out),
        };
        // SAFETY: all offsets stay inside what the caller promises.
        unsafe {
            let inputs = scratch.fill::<S, P>(panels, first, last);
            let chunk = Tiles {
                activations,
                first: first * P::INPUTS,
                inputs,
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
pub(crate) unsafe fn tiles<S: Simd, const GROUP: usize, const MIN: bool>(
    chunk: &Expanded,
    all: Tiles<'_>,
) {
    let tiling = all.activations.int_tiling;
    for index in 0..tiling.tiles() {
        let rows = tiling.rows_of(index);
        // SAFETY: as the caller promises; the tile's height is that of the activations.
        unsafe {
            match rows.len() {
                7 if S::TILE.most >= 7 => tile::<S, GROUP, MIN, 7>(chunk, &all, rows.start),
                6 if S::TILE.most >= 7 => tile::<S, GROUP, MIN, 6>(chunk, &all, rows.start),
                5 if S::TILE.most >= 7 => tile::<S, GROUP, MIN, 5>(chunk, &all, rows.start),
                4 if S::TILE.most >= 7 => tile::<S, GROUP, MIN, 4>(chunk, &all, rows.start),
                2 if S::TILE.most < 7 => tile::<S, GROUP, MIN, 2>(chunk, &all, rows.start),
                1 if S::TILE.most < 7 => tile::<S, GROUP, MIN, 1>(chunk, &all, rows.start),
                height => unreachable!("no kernel for tiles of {height} rows"),
            }
        }
    }
}

#[inline(always)]
unsafe fn tile<S: Simd, const GROUP: usize, const MIN: bool, const ROWS: usize>(
    chunk: &Expanded,
    all: &Tiles<'_>,
    row0: usize,
) {
    // SAFETY: all offsets stay inside what the caller of `gemm` promises.
    unsafe {
        let mut sums = [[S::splat(0.0); 2]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            *sums = all.sums.load::<S>(row0 + row);
        }
        let tile = all.activations.int_tile(row0, all.first);
        let (mut starts, mut weighted) = sums_of::<GROUP>(&tile);
        let (mut codes_of, scales) = (tile.codes, tile.scales);
        if MIN {
            // Before the dot products, so that mins and dots need not share the registers.
            for mins in chunk.mins.get_unchecked(..all.inputs / GROUP) {
                let mins = [S::load(mins[0].as_ptr()), S::load(mins[1].as_ptr())];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let weighted = S::splat(*weighted.add(row));
                    for panel in 0..2 {
                        sums[panel] = S::fnma(mins[panel], weighted, sums[panel]);
                    }
                }
                weighted = weighted.add(ROWS);
            }
        }
        for local in 0..all.inputs / GROUP {
            prefetch(codes_of.cast::<u8>().wrapping_add(AHEAD), GROUP * ROWS);
            let mut dots = [[S::int_splat(0); 2]; ROWS];
            if !MIN {
                for (row, dots) in dots.iter_mut().enumerate() {
                    *dots = [S::int_splat(*starts.add(row)); 2];
                }
            }
            for quad in 0..GROUP / 4 {
                let lines = chunk.codes.get_unchecked(local * (GROUP / 4) + quad);
                let codes = [
                    S::load_codes(lines[0].as_ptr()),
                    S::load_codes(lines[1].as_ptr()),
                ];
                for (row, dots) in dots.iter_mut().enumerate() {
                    let quad = codes_of.add((quad * ROWS + row) * 4);
                    dots[0] = S::dot(dots[0], codes[0], quad);
                    dots[1] = S::dot(dots[1], codes[1], quad);
                }
            }
            let lines = chunk.scales.get_unchecked(local);
            let scale = [S::load(lines[0].as_ptr()), S::load(lines[1].as_ptr())];
            let scales_of = scales.add(local * GROUP / SCALE_GROUP * ROWS);
            for (row, sums) in sums.iter_mut().enumerate() {
                let row_scale = S::splat(*scales_of.add(row));
                for panel in 0..2 {
                    let value = S::mul(S::int_to_float(dots[row][panel]), row_scale);
                    sums[panel] = S::fma(value, scale[panel], sums[panel]);
                }
            }
            codes_of = codes_of.add(GROUP * ROWS);
            starts = starts.add(ROWS);
        }
        for (row, sums) in sums.into_iter().enumerate() {
            all.sums.store::<S>(row0 + row, sums);
        }
    }
}

/// Stores the outputs of a panel at a row, without the padding columns.
#[inline(always)]
unsafe fn store_output<S: Simd>(out: Output, row: usize, panel: usize, value: S::F) {
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

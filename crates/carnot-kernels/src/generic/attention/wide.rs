//! Attention for many query rows: a tile of keys and values is widened to f32 once, and both products are register tiles.
//!
//! ```text
//! for each tile of 64 positions:  widen keys and values          for each tile of rows:  scores = Q·Kᵀ
//!                                                                                         maxima, e^(score − max), sums
//!                                                                                         out = out·correction + P·V
//! ```

use super::{Blocks, HIDDEN, KV_BLOCK, Query, Stored, hide, visible};
use crate::simd::{LANES, Simd, exp};

/// Positions that are widened at once: keys and values of a head of 64 take 32 KiB, most of a first-level cache.
const TILE: usize = 64;
const BLOCKS: usize = TILE / KV_BLOCK;

/// Working memory of one worker.
#[derive(Default)]
pub(super) struct Scratch {
    /// Queries, scaled: tiles of rows, `[head_dim][rows of a tile]`.
    queries: Vec<f32>,
    /// Keys: pairs of blocks, `[head_dim][2][16]`.
    keys: Vec<f32>,
    /// Values: `[position][head_dim]`.
    values: Vec<f32>,
    /// Scores, then weights: `[row][position]`.
    scores: Vec<f32>,
    /// Weighted values so far: `[row][head_dim]`.
    sums: Vec<f32>,
    /// Sums of weights so far, not yet added across lanes.
    totals: Vec<[f32; LANES]>,
    max: Vec<f32>,
    /// What is left of the earlier tiles' weights after the maximum has grown.
    correction: Vec<f32>,
}

/// Attention for many queries against one head.
///
/// # Safety
/// As for [`super::attend`].
#[inline(always)]
pub(super) unsafe fn attend<S: Simd, K: Stored>(
    queries: &[Query],
    blocks: &Blocks<'_>,
    scratch: &mut Scratch,
) {
    // SAFETY: as the caller promises; every buffer is as long as its head says.
    unsafe {
        if S::FLOAT_TILE.most == 12 {
            attend_tiled::<S, K, 12>(queries, blocks, scratch);
        } else {
            attend_tiled::<S, K, 3>(queries, blocks, scratch);
        }
    }
}

/// `HEIGHT` rows to a tile; the last is filled up with zeros.
#[inline(always)]
unsafe fn attend_tiled<S: Simd, K: Stored, const HEIGHT: usize>(
    queries: &[Query],
    blocks: &Blocks<'_>,
    scratch: &mut Scratch,
) {
    let head_dim = blocks.head_dim;
    let rows = queries.len().next_multiple_of(HEIGHT);
    scratch.prepare(rows, head_dim);
    // SAFETY: as the caller promises.
    unsafe {
        scratch.take_queries::<HEIGHT>(queries, blocks);
        let (begin, end) = visible(queries, TILE);
        for first in (begin..end).step_by(TILE) {
            scratch.widen::<S, K>(blocks, first, end);
            for row in (0..rows).step_by(HEIGHT) {
                let part = &queries[row.min(queries.len())..queries.len().min(row + HEIGHT)];
                scratch.score::<S, HEIGHT>(row, head_dim);
                scratch.soften::<S, HEIGHT>(row, part, first);
                scratch.weigh::<S, HEIGHT>(row, head_dim);
            }
        }
        for (row, query) in queries.iter().enumerate() {
            let total = S::sum(S::load(scratch.totals[row].as_ptr()));
            let sums = &mut scratch.sums[row * head_dim..(row + 1) * head_dim];
            query.finish::<S>(sums, scratch.max[row], total);
        }
    }
}

impl Scratch {
    fn prepare(&mut self, rows: usize, head_dim: usize) {
        self.queries.resize(rows * head_dim, 0.0);
        self.keys.resize(TILE * head_dim, 0.0);
        self.values.resize(TILE * head_dim, 0.0);
        self.scores.resize(rows * TILE, 0.0);
        self.sums.clear();
        self.sums.resize(rows * head_dim, 0.0);
        self.totals.clear();
        self.totals.resize(rows, [0.0; LANES]);
        self.max.clear();
        self.max.resize(rows, HIDDEN);
        self.correction.resize(rows, 0.0);
    }

    /// Scaled queries into tiles of rows.
    unsafe fn take_queries<const HEIGHT: usize>(&mut self, queries: &[Query], blocks: &Blocks<'_>) {
        let head_dim = blocks.head_dim;
        for (index, tile) in self.queries.chunks_exact_mut(HEIGHT * head_dim).enumerate() {
            for lane in 0..HEIGHT {
                let query = queries.get(index * HEIGHT + lane);
                for d in 0..head_dim {
                    // SAFETY: a query has `head_dim` values.
                    tile[d * HEIGHT + lane] =
                        query.map_or(0.0, |query| unsafe { *query.input.add(d) } * blocks.scale);
                }
            }
        }
    }

    /// Keys and values of the tile from `first` on; keys from `end` on are whatever they are, and hidden later, values zero.
    #[inline(always)]
    unsafe fn widen<S: Simd, K: Stored>(&mut self, blocks: &Blocks<'_>, first: usize, end: usize) {
        let head_dim = blocks.head_dim;
        let count = (end - first).div_ceil(KV_BLOCK).min(BLOCKS);
        // SAFETY: the table covers the positions below `end`; the buffers hold a tile.
        unsafe {
            for block in 0..count {
                let key = blocks.key(first / KV_BLOCK + block);
                let to = self
                    .keys
                    .as_mut_ptr()
                    .add(block / 2 * head_dim * 2 * LANES + block % 2 * LANES);
                let mut begin = 0;
                while begin < head_dim {
                    let end = head_dim.min(begin.saturating_add(K::RUN));
                    let scales = K::key_scales::<S>(key, head_dim, begin);
                    for d in begin..end {
                        S::store(to.add(d * 2 * LANES), K::key::<S>(key, d, scales));
                    }
                    begin = end;
                }
                let value = blocks.value(first / KV_BLOCK + block);
                let to = self.values.as_mut_ptr().add(block * KV_BLOCK * head_dim);
                for d in (0..head_dim).step_by(LANES) {
                    let scales = K::value_scales::<S>(value, head_dim, d);
                    for (position, scale) in scales.into_iter().enumerate() {
                        let at = position * head_dim + d;
                        S::store(to.add(at), K::value::<S>(value, at, scale));
                    }
                }
            }
            self.values[TILE.min(end - first) * head_dim..].fill(0.0);
        }
    }

    /// Scores of the rows from `row` on with all keys of the tile.
    #[inline(always)]
    unsafe fn score<S: Simd, const HEIGHT: usize>(&mut self, row: usize, head_dim: usize) {
        // SAFETY: the buffers hold a tile.
        unsafe {
            let queries = self.queries.as_ptr().add(row * head_dim);
            let scores = self.scores.as_mut_ptr().add(row * TILE);
            for pair in 0..BLOCKS / 2 {
                let keys = self.keys.as_ptr().add(pair * head_dim * 2 * LANES);
                let mut sums = [[S::splat(0.0); 2]; HEIGHT];
                for d in 0..head_dim {
                    let line = keys.add(d * 2 * LANES);
                    let line = [S::load(line), S::load(line.add(LANES))];
                    for (lane, sums) in sums.iter_mut().enumerate() {
                        let query = S::splat(*queries.add(d * HEIGHT + lane));
                        sums[0] = S::fma(line[0], query, sums[0]);
                        sums[1] = S::fma(line[1], query, sums[1]);
                    }
                }
                for (lane, sums) in sums.into_iter().enumerate() {
                    let to = scores.add(lane * TILE + pair * 2 * LANES);
                    S::store(to, sums[0]);
                    S::store(to.add(LANES), sums[1]);
                }
            }
        }
    }

    /// Scores into weights `e^(score − max)`; what earlier tiles left shrinks by the correction of each row.
    #[inline(always)]
    unsafe fn soften<S: Simd, const HEIGHT: usize>(
        &mut self,
        row: usize,
        queries: &[Query],
        first: usize,
    ) {
        for (lane, query) in queries.iter().enumerate() {
            let scores = &mut self.scores[(row + lane) * TILE..(row + lane + 1) * TILE];
            if query.from > first || query.to < first + TILE {
                hide(scores, first, query);
            }
        }
        // SAFETY: the buffers hold a tile of rows; `max` and `correction` hold all rows.
        unsafe {
            let mut largest = [HIDDEN; HEIGHT];
            for (lane, largest) in largest.iter_mut().enumerate() {
                let scores = self.scores.as_ptr().add((row + lane) * TILE);
                let mut max = S::max(S::load(scores), S::load(scores.add(LANES)));
                for block in 2..BLOCKS {
                    max = S::max(max, S::load(scores.add(block * LANES)));
                }
                *largest = S::largest(max);
            }
            let mut change = [0.0; LANES];
            for (lane, largest) in largest.into_iter().enumerate() {
                let max = self.max[row + lane].max(largest);
                change[lane] = self.max[row + lane] - max;
                self.max[row + lane] = max;
            }
            let correction = exp::<S>(S::load(change.as_ptr()));
            S::store(change.as_mut_ptr(), correction);
            self.correction[row..row + HEIGHT].copy_from_slice(&change[..HEIGHT]);
            for lane in 0..HEIGHT {
                let scores = self.scores.as_mut_ptr().add((row + lane) * TILE);
                let max = S::splat(self.max[row + lane]);
                let mut weights = S::splat(0.0);
                for block in 0..BLOCKS {
                    let weight = exp::<S>(S::sub(S::load(scores.add(block * LANES)), max));
                    weights = S::add(weights, weight);
                    S::store(scores.add(block * LANES), weight);
                }
                let total = self.totals[row + lane].as_mut_ptr();
                let before = S::splat(self.correction[row + lane]);
                S::store(total, S::fma(S::load(total), before, weights));
            }
        }
    }

    /// Adds the values of the tile, weighted, to the sums of the rows from `row` on.
    #[inline(always)]
    unsafe fn weigh<S: Simd, const HEIGHT: usize>(&mut self, row: usize, head_dim: usize) {
        let mut d = 0;
        // SAFETY: `head_dim` is a multiple of 16.
        unsafe {
            while d + 2 * LANES <= head_dim {
                self.weigh_vectors::<S, HEIGHT, 2>(row, head_dim, d);
                d += 2 * LANES;
            }
            if d < head_dim {
                self.weigh_vectors::<S, HEIGHT, 1>(row, head_dim, d);
            }
        }
    }

    #[inline(always)]
    unsafe fn weigh_vectors<S: Simd, const HEIGHT: usize, const VECTORS: usize>(
        &mut self,
        row: usize,
        head_dim: usize,
        d: usize,
    ) {
        // SAFETY: the buffers hold a tile.
        unsafe {
            let weights = self.scores.as_ptr().add(row * TILE);
            let sums = self.sums.as_mut_ptr().add(row * head_dim + d);
            let values = self.values.as_ptr().add(d);
            let mut acc = [[S::splat(0.0); VECTORS]; HEIGHT];
            for (lane, acc) in acc.iter_mut().enumerate() {
                let correction = S::splat(self.correction[row + lane]);
                for (vector, acc) in acc.iter_mut().enumerate() {
                    let before = S::load(sums.add(lane * head_dim + vector * LANES));
                    *acc = S::mul(before, correction);
                }
            }
            for position in 0..TILE {
                let line = values.add(position * head_dim);
                let mut values = [S::load(line); VECTORS];
                for (vector, values) in values.iter_mut().enumerate().skip(1) {
                    *values = S::load(line.add(vector * LANES));
                }
                for (lane, acc) in acc.iter_mut().enumerate() {
                    let weight = S::splat(*weights.add(lane * TILE + position));
                    for vector in 0..VECTORS {
                        acc[vector] = S::fma(values[vector], weight, acc[vector]);
                    }
                }
            }
            for (lane, acc) in acc.into_iter().enumerate() {
                for (vector, acc) in acc.into_iter().enumerate() {
                    S::store(sums.add(lane * head_dim + vector * LANES), acc);
                }
            }
        }
    }
}

//! Causal attention of one key/value head, for all query heads that share it, with an online softmax.
//!
//! Keys are stored transposed in blocks of 16 positions (`[head_dim][16]`), values in rows (`[16][head_dim]`): both products
//! become broadcast multiply-adds without a horizontal sum, and a query group of grouped-query attention is one small matmul.
//! The softmax is computed tile by tile with a running maximum (Milakov and Gimelshein, 2018; Dao et al., 2022).

use super::elementwise::{exp_minus, largest, scale};
use crate::simd::{LANES, Simd};

/// Positions in a block of the key/value cache.
pub const KV_BLOCK: usize = 16;
/// Blocks whose scores are held at once.
const TILE_BLOCKS: usize = 8;
const TILE: usize = TILE_BLOCKS * KV_BLOCK;
/// Stands for "not visible" in scores; finite, so that differences are never NaN.
const HIDDEN: f32 = -1e30;
/// Most query rows in one task.
pub(crate) const QUERY_ROWS: usize = 8;

/// One query head of one token.
#[derive(Clone, Copy)]
pub(crate) struct Query {
    pub input: *const f32,
    pub output: *mut f32,
    /// First visible position.
    pub from: usize,
    /// One past the last visible position.
    pub to: usize,
}

/// The keys and values of one head: where each block of 16 positions lies.
#[derive(Clone, Copy)]
pub(crate) struct Blocks<'a> {
    pub keys: *const u16,
    pub values: *const u16,
    /// Physical number of each block of the sequence.
    pub table: &'a [u32],
    /// Values from one physical block to the next.
    pub stride: usize,
    pub head_dim: usize,
    /// `1 / √head_dim`.
    pub scale: f32,
}

impl Blocks<'_> {
    #[inline(always)]
    unsafe fn key(&self, block: usize) -> *const u16 {
        // SAFETY: the caller keeps `block` inside the table.
        unsafe { self.keys.add(self.table[block] as usize * self.stride) }
    }

    #[inline(always)]
    unsafe fn value(&self, block: usize) -> *const u16 {
        // SAFETY: the caller keeps `block` inside the table.
        unsafe { self.values.add(self.table[block] as usize * self.stride) }
    }
}

/// Working memory of one worker.
#[derive(Default)]
pub(crate) struct Scratch {
    scores: Vec<f32>,
    sums: Vec<f32>,
}

/// Attention for up to [`QUERY_ROWS`] queries against one head.
///
/// # Safety
/// The table must cover every visible position; pointers must be valid for `head_dim` (a multiple of 16) values.
#[inline(always)]
pub(crate) unsafe fn attend<S: Simd>(
    queries: &[Query],
    blocks: &Blocks<'_>,
    scratch: &mut Scratch,
) {
    let head_dim = blocks.head_dim;
    scratch.scores.resize(QUERY_ROWS * TILE, 0.0);
    scratch.sums.clear();
    scratch.sums.resize(QUERY_ROWS * head_dim, 0.0);
    let mut max = [HIDDEN; QUERY_ROWS];
    let mut total = [0.0; QUERY_ROWS];
    let begin = queries.iter().map(|query| query.from).min().unwrap_or(0) / TILE * TILE;
    let end = queries.iter().map(|query| query.to).max().unwrap_or(0);
    // SAFETY: as the caller promises.
    unsafe {
        for first in (begin..end).step_by(TILE) {
            let count = TILE.min(end - first).next_multiple_of(KV_BLOCK);
            scores_of::<S>(queries, blocks, first, count, &mut scratch.scores);
            for (row, query) in queries.iter().enumerate() {
                let scores = &mut scratch.scores[row * TILE..row * TILE + count];
                hide(scores, first, query);
                let new_max = largest::<S>(scores).max(max[row]);
                let correction = (max[row] - new_max).exp();
                total[row] = total[row] * correction + exp_minus::<S>(scores, new_max);
                max[row] = new_max;
                if correction < 1.0 {
                    scale::<S>(
                        &mut scratch.sums[row * head_dim..(row + 1) * head_dim],
                        correction,
                    );
                }
            }
            add_values::<S>(queries.len(), blocks, first, count, scratch);
        }
        for (row, query) in queries.iter().enumerate() {
            let sums = &mut scratch.sums[row * head_dim..(row + 1) * head_dim];
            scale::<S>(sums, 1.0 / total[row]);
            std::ptr::copy_nonoverlapping(sums.as_ptr(), query.output, head_dim);
        }
    }
}

fn hide(scores: &mut [f32], first: usize, query: &Query) {
    let hidden_before = query.from.saturating_sub(first).min(scores.len());
    scores[..hidden_before].fill(HIDDEN);
    let visible = query.to.saturating_sub(first).min(scores.len());
    scores[visible..].fill(HIDDEN);
}

/// Scores of all queries with `count` positions from `first` on, several blocks at a time so that few rows still make many
/// independent sums.
#[inline(always)]
unsafe fn scores_of<S: Simd>(
    queries: &[Query],
    blocks: &Blocks<'_>,
    first: usize,
    count: usize,
    scores: &mut [f32],
) {
    let block_count = count / KV_BLOCK;
    let mut row = 0;
    // SAFETY: as the caller promises.
    unsafe {
        while row < queries.len() {
            let to = scores.as_mut_ptr().add(row * TILE);
            let queries = &queries[row..];
            let mut block = 0;
            while block < block_count {
                let at = first / KV_BLOCK + block;
                let to = to.add(block * KV_BLOCK);
                let wide = S::FLOAT_TILE_ROWS == 12;
                block += match (queries.len(), block_count - block) {
                    (8.., 2..) if wide => score_rows::<S, 8, 2>(queries, blocks, at, to),
                    (8.., _) => score_rows::<S, 8, 1>(queries, blocks, at, to),
                    (4.., 4..) if wide => score_rows::<S, 4, 4>(queries, blocks, at, to),
                    (4.., _) => score_rows::<S, 4, 1>(queries, blocks, at, to),
                    (2.., 4..) => score_rows::<S, 2, 4>(queries, blocks, at, to),
                    (2.., _) => score_rows::<S, 2, 1>(queries, blocks, at, to),
                    (_, 4..) => score_rows::<S, 1, 4>(queries, blocks, at, to),
                    _ => score_rows::<S, 1, 1>(queries, blocks, at, to),
                };
            }
            row += rows_taken(queries.len());
        }
    }
}

/// How many of `left` rows are taken together.
#[inline(always)]
fn rows_taken(left: usize) -> usize {
    match left {
        8.. => 8,
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

#[inline(always)]
unsafe fn score_rows<S: Simd, const ROWS: usize, const BLOCKS: usize>(
    queries: &[Query],
    blocks: &Blocks<'_>,
    first: usize,
    to: *mut f32,
) -> usize {
    // SAFETY: as the caller promises.
    unsafe {
        let mut keys = [blocks.key(first); BLOCKS];
        for (block, key) in keys.iter_mut().enumerate() {
            *key = blocks.key(first + block);
        }
        let mut sums = [[S::splat(0.0); BLOCKS]; ROWS];
        for d in 0..blocks.head_dim {
            let mut line = [S::load_f16(keys[0].add(d * LANES)); BLOCKS];
            for block in 1..BLOCKS {
                line[block] = S::load_f16(keys[block].add(d * LANES));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let query = S::splat(*queries.get_unchecked(row).input.add(d));
                for block in 0..BLOCKS {
                    sums[block] = S::fma(line[block], query, sums[block]);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (block, sum) in sums.into_iter().enumerate() {
                S::store(
                    to.add(row * TILE + block * KV_BLOCK),
                    S::mul(sum, S::splat(blocks.scale)),
                );
            }
        }
        BLOCKS
    }
}

/// Adds the values of `count` positions from `first` on, weighted by the scores, to the sums of all rows.
#[inline(always)]
unsafe fn add_values<S: Simd>(
    rows: usize,
    blocks: &Blocks<'_>,
    first: usize,
    count: usize,
    scratch: &mut Scratch,
) {
    let at = Positions {
        first: first / KV_BLOCK,
        blocks: count / KV_BLOCK,
    };
    let mut row = 0;
    // SAFETY: as the caller promises.
    unsafe {
        while row < rows {
            let weights = scratch.scores.as_ptr().add(row * TILE);
            let mut d = 0;
            while d < blocks.head_dim {
                let sums = scratch.sums.as_mut_ptr().add(row * blocks.head_dim + d);
                let wide = S::FLOAT_TILE_ROWS == 12;
                d += LANES
                    * match (rows - row, (blocks.head_dim - d) / LANES) {
                        (8.., 2..) if wide => add_rows::<S, 8, 2>(weights, blocks, at, d, sums),
                        (8.., _) => add_rows::<S, 8, 1>(weights, blocks, at, d, sums),
                        (4.., 4..) if wide => add_rows::<S, 4, 4>(weights, blocks, at, d, sums),
                        (4.., _) => add_rows::<S, 4, 1>(weights, blocks, at, d, sums),
                        (2.., 4..) if wide => add_rows::<S, 2, 4>(weights, blocks, at, d, sums),
                        (2.., 2..) => add_rows::<S, 2, 2>(weights, blocks, at, d, sums),
                        (2.., _) => add_rows::<S, 2, 1>(weights, blocks, at, d, sums),
                        (_, 4..) => add_rows::<S, 1, 4>(weights, blocks, at, d, sums),
                        (_, 2..) => add_rows::<S, 1, 2>(weights, blocks, at, d, sums),
                        _ => add_rows::<S, 1, 1>(weights, blocks, at, d, sums),
                    };
            }
            row += rows_taken(rows - row);
        }
    }
}

/// The first block of a tile and how many there are.
#[derive(Clone, Copy)]
struct Positions {
    first: usize,
    blocks: usize,
}

#[inline(always)]
unsafe fn add_rows<S: Simd, const ROWS: usize, const VECTORS: usize>(
    weights: *const f32,
    blocks: &Blocks<'_>,
    at: Positions,
    d: usize,
    sums: *mut f32,
) -> usize {
    // SAFETY: as the caller promises.
    unsafe {
        let mut acc = [[S::splat(0.0); VECTORS]; ROWS];
        for (row, acc) in acc.iter_mut().enumerate() {
            for (vector, acc) in acc.iter_mut().enumerate() {
                *acc = S::load(sums.add(row * blocks.head_dim + vector * LANES));
            }
        }
        for block in 0..at.blocks {
            let value = blocks.value(at.first + block).add(d);
            let weights = weights.add(block * KV_BLOCK);
            for position in 0..KV_BLOCK {
                let line = value.add(position * blocks.head_dim);
                let mut values = [S::load_f16(line); VECTORS];
                for (vector, values) in values.iter_mut().enumerate().skip(1) {
                    *values = S::load_f16(line.add(vector * LANES));
                }
                for (row, acc) in acc.iter_mut().enumerate() {
                    let weight = S::splat(*weights.add(row * TILE + position));
                    for vector in 0..VECTORS {
                        acc[vector] = S::fma(values[vector], weight, acc[vector]);
                    }
                }
            }
        }
        for (row, acc) in acc.into_iter().enumerate() {
            for (vector, acc) in acc.into_iter().enumerate() {
                S::store(sums.add(row * blocks.head_dim + vector * LANES), acc);
            }
        }
        VECTORS
    }
}

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

#[inline(always)]
unsafe fn scores_of<S: Simd>(
    queries: &[Query],
    blocks: &Blocks<'_>,
    first: usize,
    count: usize,
    scores: &mut [f32],
) {
    // SAFETY: as the caller promises.
    unsafe {
        for block in 0..count / KV_BLOCK {
            let key = blocks.key(first / KV_BLOCK + block);
            let to = scores.as_mut_ptr().add(block * KV_BLOCK);
            let mut row = 0;
            while row < queries.len() {
                row += match queries.len() - row {
                    8.. => score_rows::<S, 8>(&queries[row..], key, blocks, to.add(row * TILE)),
                    4.. => score_rows::<S, 4>(&queries[row..], key, blocks, to.add(row * TILE)),
                    2.. => score_rows::<S, 2>(&queries[row..], key, blocks, to.add(row * TILE)),
                    _ => score_rows::<S, 1>(&queries[row..], key, blocks, to.add(row * TILE)),
                };
            }
        }
    }
}

#[inline(always)]
unsafe fn score_rows<S: Simd, const ROWS: usize>(
    queries: &[Query],
    key: *const u16,
    blocks: &Blocks<'_>,
    to: *mut f32,
) -> usize {
    // SAFETY: as the caller promises.
    unsafe {
        let mut sums = [S::splat(0.0); ROWS];
        for d in 0..blocks.head_dim {
            let keys = S::load_f16(key.add(d * LANES));
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum = S::fma(
                    keys,
                    S::splat(*queries.get_unchecked(row).input.add(d)),
                    *sum,
                );
            }
        }
        for (row, sum) in sums.into_iter().enumerate() {
            S::store(to.add(row * TILE), S::mul(sum, S::splat(blocks.scale)));
        }
        ROWS
    }
}

#[inline(always)]
unsafe fn add_values<S: Simd>(
    rows: usize,
    blocks: &Blocks<'_>,
    first: usize,
    count: usize,
    scratch: &mut Scratch,
) {
    // SAFETY: as the caller promises.
    unsafe {
        for block in 0..count / KV_BLOCK {
            let value = blocks.value(first / KV_BLOCK + block);
            for d in (0..blocks.head_dim).step_by(LANES) {
                let weights = scratch.scores.as_ptr().add(block * KV_BLOCK);
                let sums = scratch.sums.as_mut_ptr().add(d);
                let mut row = 0;
                while row < rows {
                    let (weights, sums) =
                        (weights.add(row * TILE), sums.add(row * blocks.head_dim));
                    row += match rows - row {
                        8.. => add_rows::<S, 8>(weights, value.add(d), blocks.head_dim, sums),
                        4.. => add_rows::<S, 4>(weights, value.add(d), blocks.head_dim, sums),
                        2.. => add_rows::<S, 2>(weights, value.add(d), blocks.head_dim, sums),
                        _ => add_rows::<S, 1>(weights, value.add(d), blocks.head_dim, sums),
                    };
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn add_rows<S: Simd, const ROWS: usize>(
    weights: *const f32,
    value: *const u16,
    head_dim: usize,
    sums: *mut f32,
) -> usize {
    // SAFETY: as the caller promises.
    unsafe {
        let mut acc = [S::splat(0.0); ROWS];
        for (row, acc) in acc.iter_mut().enumerate() {
            *acc = S::load(sums.add(row * head_dim));
        }
        for position in 0..KV_BLOCK {
            let values = S::load_f16(value.add(position * head_dim));
            for (row, acc) in acc.iter_mut().enumerate() {
                *acc = S::fma(values, S::splat(*weights.add(row * TILE + position)), *acc);
            }
        }
        for (row, acc) in acc.into_iter().enumerate() {
            S::store(sums.add(row * head_dim), acc);
        }
        ROWS
    }
}

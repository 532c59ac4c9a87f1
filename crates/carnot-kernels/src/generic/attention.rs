//! Causal attention of one key/value head, for all query heads that share it, with an online softmax.
//!
//! Keys are stored transposed in blocks of 16 positions (`[head_dim][16]`), values in rows (`[16][head_dim]`): both products
//! become broadcast multiply-adds without a horizontal sum, and a query group of grouped-query attention is one small matmul.
//! The softmax is computed tile by tile with a running maximum (Milakov and Gimelshein, 2018; Dao et al., 2022).
//!
//! - few rows (decoding): half floats are widened in registers and used at once; memory is the limit, so the next
//!   blocks are asked for while these are used;
//! - many rows (prefill): a tile of keys and values is widened once for all rows, in [`wide`].

mod stored;
mod wide;

pub(crate) use self::stored::GROUP;
use self::stored::{F16, Q8, Stored};
use super::elementwise::{exp_minus, largest, scale};
use super::matmul_int::prefetch;
use crate::kv::KvType;
use crate::simd::{LANES, Simd};

/// Positions in a block of the key/value cache.
pub const KV_BLOCK: usize = 16;
/// Blocks whose scores are held at once.
const TILE_BLOCKS: usize = 8;
const TILE: usize = TILE_BLOCKS * KV_BLOCK;
/// Stands for "not visible" in scores; finite, so that differences are never NaN.
const HIDDEN: f32 = -1e30;
/// Most query rows in one task.
pub(crate) const QUERY_ROWS: usize = 48;
/// Up to this many rows can use keys and values as they come from memory.
pub(crate) const FEW_ROWS: usize = 8;

/// One query head of one token.
#[derive(Clone, Copy)]
pub(crate) struct Query {
    pub input: *const f32,
    pub output: *mut f32,
    /// First visible position.
    pub from: usize,
    /// One past the last visible position.
    pub to: usize,
    /// Where the running maximum and sum go when these are a part of the visible positions, and the output stays a sum:
    /// [`merge`] puts the parts together.
    pub partial: Option<*mut [f32; 2]>,
}

impl Query {
    /// Stores `sums` as the output of this query.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, sums: &mut [f32], max: f32, total: f32) {
        // SAFETY: the output has room for a head, and so many are the sums.
        unsafe {
            match self.partial {
                Some(to) => *to = [max, total],
                None => scale::<S>(sums, 1.0 / total),
            }
            std::ptr::copy_nonoverlapping(sums.as_ptr(), self.output, sums.len());
        }
    }
}

/// Puts together what `states` and `sums` (one head each) say of parts of the visible positions.
pub(crate) fn merge(states: &[[f32; 2]], sums: &[f32], out: &mut [f32]) {
    let max = states.iter().fold(HIDDEN, |max, state| max.max(state[0]));
    let weight = |state: &[f32; 2]| (state[0] - max).exp();
    let total: f32 = states.iter().map(|state| state[1] * weight(state)).sum();
    out.fill(0.0);
    for (state, sums) in states.iter().zip(sums.chunks_exact(out.len())) {
        let weight = weight(state) / total;
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += sum * weight;
        }
    }
}

/// The keys and values of one head: where each block of 16 positions lies.
#[derive(Clone, Copy)]
pub(crate) struct Blocks<'a> {
    pub keys: *const u8,
    pub values: *const u8,
    pub dtype: KvType,
    /// Physical number of each block of the sequence.
    pub table: &'a [u32],
    /// Bytes from one physical block to the next.
    pub stride: usize,
    pub head_dim: usize,
    /// `1 / √head_dim`.
    pub scale: f32,
}

impl Blocks<'_> {
    #[inline(always)]
    unsafe fn key(&self, block: usize) -> *const u8 {
        // SAFETY: the caller keeps `block` inside the table.
        unsafe { self.keys.add(self.table[block] as usize * self.stride) }
    }

    /// `block`, or the last block of the table where that is less: what is asked for ahead need not be needed.
    #[inline(always)]
    fn at_most(&self, block: usize) -> usize {
        block.min(self.table.len() - 1)
    }

    #[inline(always)]
    unsafe fn value(&self, block: usize) -> *const u8 {
        // SAFETY: the caller keeps `block` inside the table.
        unsafe { self.values.add(self.table[block] as usize * self.stride) }
    }
}

/// Working memory of one worker.
#[derive(Default)]
pub(crate) struct Scratch {
    scores: Vec<f32>,
    sums: Vec<f32>,
    wide: wide::Scratch,
}

/// Attention for up to [`QUERY_ROWS`] queries against one head; up to `few` of them use keys and values as they come.
///
/// # Safety
/// The table must cover every visible position; pointers must be valid for `head_dim` (a multiple of 16) values.
#[inline(always)]
pub(crate) unsafe fn attend<S: Simd>(
    queries: &[Query],
    blocks: &Blocks<'_>,
    few: usize,
    scratch: &mut Scratch,
) {
    // SAFETY: as the caller promises.
    unsafe {
        match blocks.dtype {
            KvType::F16 => attend_stored::<S, F16>(queries, blocks, few, scratch),
            KvType::Q8_0 => attend_stored::<S, Q8>(queries, blocks, few, scratch),
        }
    }
}

#[inline(always)]
unsafe fn attend_stored<S: Simd, K: Stored>(
    queries: &[Query],
    blocks: &Blocks<'_>,
    few: usize,
    scratch: &mut Scratch,
) {
    // SAFETY: as the caller promises.
    unsafe {
        if queries.len() > few.min(FEW_ROWS) {
            return wide::attend::<S, K>(queries, blocks, &mut scratch.wide);
        }
        let head_dim = blocks.head_dim;
        scratch.scores.resize(FEW_ROWS * TILE, 0.0);
        scratch.sums.clear();
        scratch.sums.resize(FEW_ROWS * head_dim, 0.0);
        let mut max = [HIDDEN; FEW_ROWS];
        let mut total = [0.0; FEW_ROWS];
        let (begin, end) = visible(queries, TILE);
        for first in (begin..end).step_by(TILE) {
            let count = TILE.min(end - first).next_multiple_of(KV_BLOCK);
            scores_of::<S, K>(queries, blocks, first, count, &mut scratch.scores);
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
            add_values::<S, K>(queries.len(), blocks, first, count, scratch);
        }
        for (row, query) in queries.iter().enumerate() {
            let sums = &mut scratch.sums[row * head_dim..(row + 1) * head_dim];
            query.finish::<S>(sums, max[row], total[row]);
        }
    }
}

/// The positions that any of `queries` sees, from a multiple of `tile` on.
fn visible(queries: &[Query], tile: usize) -> (usize, usize) {
    let begin = queries.iter().map(|query| query.from).min().unwrap_or(0);
    let end = queries.iter().map(|query| query.to).max().unwrap_or(0);
    (begin / tile * tile, end)
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
unsafe fn scores_of<S: Simd, K: Stored>(
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
                let wide = S::FLOAT_TILE.most == 12;
                block += match (queries.len(), block_count - block) {
                    (8.., 2..) if wide => score_rows::<S, K, 8, 2>(queries, blocks, at, to),
                    (8.., _) => score_rows::<S, K, 8, 1>(queries, blocks, at, to),
                    (4.., 4..) if wide => score_rows::<S, K, 4, 4>(queries, blocks, at, to),
                    (4.., _) => score_rows::<S, K, 4, 1>(queries, blocks, at, to),
                    (2.., 4..) => score_rows::<S, K, 2, 4>(queries, blocks, at, to),
                    (2.., _) => score_rows::<S, K, 2, 1>(queries, blocks, at, to),
                    (_, 4..) => score_rows::<S, K, 1, 4>(queries, blocks, at, to),
                    _ => score_rows::<S, K, 1, 1>(queries, blocks, at, to),
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
unsafe fn score_rows<S: Simd, K: Stored, const ROWS: usize, const BLOCKS: usize>(
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
        let mut ahead = [keys[0]; BLOCKS];
        for (block, ahead) in ahead.iter_mut().enumerate() {
            *ahead = blocks.key(blocks.at_most(first + BLOCKS + block));
        }
        let head_dim = blocks.head_dim;
        let mut begin = 0;
        while begin < head_dim {
            let end = head_dim.min(begin.saturating_add(K::RUN));
            let mut scales = [K::key_scales::<S>(keys[0], head_dim, begin); BLOCKS];
            for block in 1..BLOCKS {
                scales[block] = K::key_scales::<S>(keys[block], head_dim, begin);
            }
            for d in begin..end {
                let at = d * LANES * K::BYTES;
                if at.is_multiple_of(64) {
                    for ahead in ahead {
                        prefetch(ahead.add(at).cast(), 64);
                    }
                }
                let mut line = [K::key::<S>(keys[0], d, scales[0]); BLOCKS];
                for block in 1..BLOCKS {
                    line[block] = K::key::<S>(keys[block], d, scales[block]);
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let query = S::splat(*queries.get_unchecked(row).input.add(d));
                    for block in 0..BLOCKS {
                        sums[block] = S::fma(line[block], query, sums[block]);
                    }
                }
            }
            begin = end;
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
unsafe fn add_values<S: Simd, K: Stored>(
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
                let wide = S::FLOAT_TILE.most == 12;
                d += LANES
                    * match (rows - row, (blocks.head_dim - d) / LANES) {
                        (8.., 2..) if wide => add_rows::<S, K, 8, 2>(weights, blocks, at, d, sums),
                        (8.., _) => add_rows::<S, K, 8, 1>(weights, blocks, at, d, sums),
                        (4.., 4..) if wide => add_rows::<S, K, 4, 4>(weights, blocks, at, d, sums),
                        (4.., _) => add_rows::<S, K, 4, 1>(weights, blocks, at, d, sums),
                        (2.., 4..) if wide => add_rows::<S, K, 2, 4>(weights, blocks, at, d, sums),
                        (2.., 2..) => add_rows::<S, K, 2, 2>(weights, blocks, at, d, sums),
                        (2.., _) => add_rows::<S, K, 2, 1>(weights, blocks, at, d, sums),
                        (_, 4..) => add_rows::<S, K, 1, 4>(weights, blocks, at, d, sums),
                        (_, 2..) => add_rows::<S, K, 1, 2>(weights, blocks, at, d, sums),
                        _ => add_rows::<S, K, 1, 1>(weights, blocks, at, d, sums),
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
unsafe fn add_rows<S: Simd, K: Stored, const ROWS: usize, const VECTORS: usize>(
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
            let value = blocks.value(at.first + block);
            let ahead = blocks.value(blocks.at_most(at.first + block + 2));
            let weights = weights.add(block * KV_BLOCK);
            let mut scales = [[0.0; LANES]; VECTORS];
            for (vector, scales) in scales.iter_mut().enumerate() {
                *scales = K::value_scales::<S>(value, blocks.head_dim, d + vector * LANES);
            }
            let mut position = 0;
            while position < KV_BLOCK {
                let line = position * blocks.head_dim + d;
                prefetch(
                    ahead.add(line * K::BYTES).cast(),
                    VECTORS * LANES * K::BYTES,
                );
                let mut values = [K::value::<S>(value, line, scales[0][position]); VECTORS];
                for (vector, values) in values.iter_mut().enumerate().skip(1) {
                    let scale = scales[vector][position];
                    *values = K::value::<S>(value, line + vector * LANES, scale);
                }
                for (row, acc) in acc.iter_mut().enumerate() {
                    let weight = S::splat(*weights.add(row * TILE + position));
                    for vector in 0..VECTORS {
                        acc[vector] = S::fma(values[vector], weight, acc[vector]);
                    }
                }
                position += 1;
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

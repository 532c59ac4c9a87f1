//! The operations of a forward pass over whole buffers: the pool splits them, the dispatch table does them.
//!
//! Everything here is safe: slices in, slices out. Work too small to be worth a fork runs on the caller alone.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use crate::activations::{Activations, Forms, GROUP, INT_CHUNK, Target, TileRows};
use crate::cpu::InstructionSet;
use crate::dispatch::{Job, Table, table};
use crate::generic::attention::{Blocks, FEW_ROWS, QUERY_ROWS, Query, Scratch, merge};
use crate::kv::{BLOCK_TOKENS, KvLayer, KvShape, KvType};
use crate::pack::{Layout, PackedMatrix};
use crate::pool::{Pool, Scattered, share_of};
use crate::simd::LANES;

/// Values below which an element-wise operation is not split.
const SMALL: usize = 16 * 1024;
/// Multiply-adds of a matmul that are worth a piece of their own: some tens of microseconds.
const PIECE: usize = 1 << 20;
/// Most pieces of a worker's share of a matmul.
const MOST_PIECES: usize = 8;
/// Fewest pairs of panels in a piece.
const PIECE_UNITS: usize = 4;

/// One matmul of a fused group: `out[row][n] = Σ_k activations[row][k] · weights[n][k]`.
pub struct Product<'a> {
    /// The weights.
    pub weights: &'a PackedMatrix,
    /// Row-major outputs, `rows × weights.rows()`.
    pub out: &'a mut [f32],
}

/// Cosines and sines of rotary embedding, `dimension / 2` per position.
pub struct Rotation<'a> {
    /// Cosines, row after row.
    pub cos: &'a [f32],
    /// Sines, row after row.
    pub sin: &'a [f32],
    /// Angles per position: half of the rotated dimensions.
    pub half: usize,
    /// Whether neighbours rotate together instead of halves.
    pub interleaved: bool,
}

/// One sequence's share of an attention call: `tokens` queries from `position` on.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// First row of the batch.
    pub row: usize,
    /// Number of rows.
    pub tokens: usize,
    /// Position of the first row in its sequence.
    pub position: usize,
    /// Physical block of each 16 positions of the sequence.
    pub table: &'a [u32],
    /// How many positions back a token sees; `usize::MAX` for all.
    pub window: usize,
}

/// Which of two kernels takes how many rows, where both can: found by measurement ([`crate::measure`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Up to this many rows are multiplied with quantised weights as they come from memory; more are cut into tiles.
    pub matmul_rows: usize,
    /// Up to this many query rows of a task use keys and values as they come from memory; for more they are widened first.
    pub attention_rows: usize,
}

impl Default for Tuning {
    /// As many as the registers hold.
    fn default() -> Self {
        Self {
            matmul_rows: usize::MAX,
            attention_rows: FEW_ROWS,
        }
    }
}

/// A pool, the kernels of one instruction set, and which of them takes what.
pub struct Compute {
    pool: Arc<Pool>,
    table: &'static Table,
    tuning: Tuning,
}

thread_local! {
    /// One token's keys and values as half floats.
    static HALVES: RefCell<Vec<u16>> = RefCell::default();
    /// What attention looks at, and where it keeps what it widened.
    static SCRATCH: RefCell<(Vec<Query>, Scratch)> = RefCell::default();
    /// One row of activations on its way into a tile.
    static ROW: RefCell<Vec<f32>> = RefCell::default();
}

impl Compute {
    /// `threads` workers with the best instruction set of this processor.
    pub fn new(threads: usize) -> Self {
        Self::with_instruction_set(threads, InstructionSet::best())
    }

    /// `threads` workers with `set`, or with the scalar kernels where the processor lacks it.
    pub fn with_instruction_set(threads: usize, set: InstructionSet) -> Self {
        Self {
            pool: Arc::new(Pool::new(threads)),
            table: table(set),
            tuning: Tuning::default(),
        }
    }

    /// The same workers with the kernels of `set`, tuned otherwise.
    #[must_use]
    pub fn tuned(&self, set: InstructionSet, tuning: Tuning) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            table: table(set),
            tuning,
        }
    }

    /// Which kernel takes how many rows.
    pub fn tuning(&self) -> Tuning {
        self.tuning
    }

    /// Whether `rows` rows are multiplied with weights of `layout` as they come from memory.
    pub fn is_streamed(&self, rows: usize, layout: Layout) -> bool {
        let (int, float) = self.tiles();
        rows <= if layout.is_integer() {
            int.few
        } else {
            float.few
        }
    }

    /// Heights of tiles for quantised and for float weights.
    fn tiles(&self) -> (TileRows, TileRows) {
        let Table {
            tile, float_tile, ..
        } = self.table;
        // Fewer rows than half of the highest tile are never cut.
        let few = self.tuning.matmul_rows.clamp(tile.most / 2, tile.few);
        (TileRows { few, ..*tile }, *float_tile)
    }

    /// The workers.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The instruction set in use.
    pub fn instruction_set(&self) -> InstructionSet {
        self.table.set
    }

    pub(crate) fn table(&self) -> &'static Table {
        self.table
    }

    /// Runs a group of matmuls that read the same activations, split over output rows in one fork.
    ///
    /// Cost: each weight is read once; `2 · rows · Σ n·k` operations.
    ///
    /// # Panics
    /// If a shape does not fit.
    pub fn matmul(&self, activations: &Activations, products: &mut [Product<'_>]) {
        let rows = activations.rows();
        for product in products.iter() {
            assert_eq!(
                product.weights.columns(),
                activations.columns(),
                "inputs of a matmul"
            );
            assert_eq!(
                product.out.len(),
                rows * product.weights.rows(),
                "outputs of a matmul"
            );
            let needed = Forms::of([product.weights]);
            let filled = activations.forms();
            assert!(
                (filled.int8 || !needed.int8) && (filled.f32 || !needed.f32),
                "the form of the activations that the weights read was filled"
            );
        }
        let (int, float) = self.tiles();
        activations.check_arranged(int, float);
        if rows == 0 {
            return;
        }
        let targets: Vec<_> = products
            .iter_mut()
            .map(|p| (p.weights, Scattered::new(p.out)))
            .collect();
        // Tiles take panels in pairs.
        let unit = 2;
        let units = |weights: &PackedMatrix| weights.panels().div_ceil(unit);
        let total: usize = targets.iter().map(|(weights, _)| units(weights)).sum();
        let work = rows * total * unit * LANES * activations.columns() / self.pool.threads();
        let most = (total / self.pool.threads() / PIECE_UNITS).clamp(1, MOST_PIECES);
        let pieces = (work / PIECE).clamp(1, most);
        self.pool.divide(total, pieces, |mut mine| {
            for (weights, target) in &targets {
                let units = units(weights);
                let part = mine.start.min(units) * unit
                    ..(mine.end.min(units) * unit).min(weights.panels());
                if !part.is_empty() {
                    let job = Job {
                        weights,
                        activations,
                        out: target.as_ptr(),
                        out_stride: weights.rows(),
                    };
                    // SAFETY: shapes were checked; parts are disjoint panels, so disjoint columns are written.
                    unsafe { self.table.matmul(weights.layout())(&job, part) };
                }
                mine = mine.start.saturating_sub(units)..mine.end.saturating_sub(units);
            }
        });
    }

    /// Fills `out`, in `forms`, with RMS-normalised rows of `x`.
    pub fn rms_norm_into(
        &self,
        x: &[f32],
        weight: &[f32],
        epsilon: f32,
        forms: Forms,
        out: &mut Activations,
    ) {
        assert_eq!(weight.len(), out.columns(), "weights of a norm");
        self.fill(out, forms, x.len(), |row, floats| {
            let columns = floats.len();
            // SAFETY: the table was chosen for this processor; lengths are equal.
            unsafe {
                (self.table.rms_norm)(
                    &x[row * columns..(row + 1) * columns],
                    weight,
                    epsilon,
                    floats,
                );
            }
        });
    }

    /// Fills `out`, in `forms`, with rows of `x`.
    pub fn copy_into(&self, x: &[f32], forms: Forms, out: &mut Activations) {
        self.fill(out, forms, x.len(), |row, floats| {
            floats.copy_from_slice(&x[row * floats.len()..(row + 1) * floats.len()]);
        });
    }

    /// Fills `out`, in `forms`, with rows of `silu(gate) · up`.
    pub fn silu_gate_into(&self, gate: &[f32], up: &[f32], forms: Forms, out: &mut Activations) {
        assert_eq!(gate.len(), up.len(), "gate and up are of one shape");
        self.fill(out, forms, gate.len(), |row, floats| {
            let range = row * floats.len()..(row + 1) * floats.len();
            // SAFETY: the table was chosen for this processor; lengths are equal.
            unsafe { (self.table.silu_gate)(&gate[range.clone()], &up[range], floats) }
        });
    }

    fn fill(
        &self,
        out: &mut Activations,
        forms: Forms,
        length: usize,
        row_into: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let (rows, columns) = (out.rows(), out.columns());
        assert_eq!(length, rows * columns, "values of {rows} rows of {columns}");
        let (int, float) = self.tiles();
        out.arrange(forms, int, float);
        let target = Target::new(out);
        self.rows(rows, length, |row| {
            ROW.with_borrow_mut(|values| {
                values.clear();
                values.resize(columns.next_multiple_of(GROUP), 0.0);
                row_into(row, &mut values[..columns]);
                // SAFETY: every row is visited once, by one worker; the table was chosen for this processor.
                unsafe {
                    if forms.f32 {
                        target.spread(row, &values[..columns]);
                    }
                    if forms.int8 {
                        for (values, place) in values.chunks(INT_CHUNK).zip(target.quantized(row)) {
                            (self.table.quantize_row)(values, &place);
                        }
                    }
                }
            });
        });
    }

    /// Calls `each(row)` for every row, on all workers when there is enough to do.
    fn rows(&self, rows: usize, values: usize, each: impl Fn(usize) + Sync) {
        if rows < 2 || values < SMALL {
            (0..rows).for_each(each);
        } else {
            self.pool.divide(rows, 1, |range| range.for_each(&each));
        }
    }

    /// `x += y`.
    pub fn add(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "a sum of two buffers of one shape");
        let length = x.len();
        let x = Scattered::new(x);
        let part = |range: Range<usize>| {
            // SAFETY: shares are disjoint; the table was chosen for this processor.
            unsafe { (self.table.add)(x.part(range.clone()), &y[range]) }
        };
        if length < SMALL {
            part(0..length);
        } else {
            self.pool.divide(length, 1, part);
        }
    }

    /// RMS-normalises every head of every row in place (Qwen3's query and key norms).
    pub fn norm_heads(&self, x: &mut [f32], head_dim: usize, weight: &[f32], epsilon: f32) {
        assert_eq!(weight.len(), head_dim, "weights of a head's norm");
        let mut normed = vec![0.0; head_dim];
        for head in x.chunks_exact_mut(head_dim) {
            // SAFETY: the table was chosen for this processor; lengths are equal.
            unsafe { (self.table.rms_norm)(head, weight, epsilon, &mut normed) };
            head.copy_from_slice(&normed);
        }
    }

    /// Rotates every head of every row by the angles of the row.
    pub fn rotate(&self, x: &mut [f32], heads: usize, head_dim: usize, rotation: &Rotation<'_>) {
        assert!(
            2 * rotation.half <= head_dim,
            "a head of {head_dim} holds {} pairs",
            rotation.half
        );
        let width = heads * head_dim;
        let rows = x.len() / width;
        let length = x.len();
        let x = Scattered::new(x);
        self.rows(rows, length, |row| {
            // SAFETY: every row is visited once, by one worker.
            let row_values = unsafe { x.part(row * width..(row + 1) * width) };
            let angles = row * rotation.half..(row + 1) * rotation.half;
            let (cos, sin) = (&rotation.cos[angles.clone()], &rotation.sin[angles]);
            // SAFETY: the table was chosen for this processor; heads hold the pairs, as was checked.
            unsafe {
                (self.table.rope)(row_values, head_dim, (cos, sin), rotation.interleaved);
            }
        });
    }

    /// Writes the keys and values of every span's rows to their places in `cache`.
    ///
    /// # Panics
    /// If a shape does not fit or a table does not cover its positions.
    pub fn store_kv(
        &self,
        cache: &mut KvLayer,
        shape: KvShape,
        spans: &[Span<'_>],
        keys: &[f32],
        values: &[f32],
    ) {
        let width = shape.heads * shape.head_dim;
        let places: Vec<(u32, usize)> = spans
            .iter()
            .flat_map(|span| {
                (span.position..span.position + span.tokens)
                    .map(|at| (span.table[at / BLOCK_TOKENS], at % BLOCK_TOKENS))
            })
            .collect();
        assert!(
            keys.len() == places.len() * width && values.len() == keys.len(),
            "shapes of keys and values"
        );
        let begun = places.iter().filter(|(_, slot)| *slot == 0);
        begun.for_each(|&(block, _)| cache.clear_values(block));
        let target = cache.writer(shape);
        self.rows(places.len(), keys.len(), |row| {
            let (block, slot) = places[row];
            let range = row * width..(row + 1) * width;
            if shape.dtype == KvType::Q8_0 {
                // SAFETY: rows are tokens of different places, each visited by one worker.
                unsafe { target.write_codes(block, slot, &keys[range.clone()], &values[range]) };
                return;
            }
            HALVES.with_borrow_mut(|halves| {
                halves.resize(2 * width, 0);
                let (key, value) = halves.split_at_mut(width);
                // SAFETY: the table was chosen for this processor; heads are multiples of 16; rows are tokens of
                // different places, each visited by one worker.
                unsafe {
                    (self.table.narrow)(&keys[range.clone()], key);
                    (self.table.narrow)(&values[range], value);
                    target.write(block, slot, key, value);
                }
            });
        });
    }

    /// Causal attention of every span's rows of `q` against its sequence's keys and values, into the same rows of `out`.
    ///
    /// The keys and values of the rows themselves must be in `cache` already. Cost: `4 · head_dim` operations per query
    /// head and visible position; each visible key and value is read once per group of 8 query rows.
    ///
    /// # Panics
    /// If a shape does not fit or a table does not cover its positions.
    pub fn attention(
        &self,
        cache: &KvLayer,
        shape: KvShape,
        heads: usize,
        q: &[f32],
        spans: &[Span<'_>],
        out: &mut [f32],
    ) {
        let group = heads / shape.heads;
        assert!(
            q.len() == out.len() && group * shape.heads == heads,
            "shapes of attention"
        );
        let width = heads * shape.head_dim;
        let tasks = tasks_of(spans, shape.heads, group, self.pool.threads());
        check_spans(spans, cache, q.len() / width.max(1));
        let end = |task: &Task| task.slot + task.rows() * task.parts;
        let slots = tasks.iter().filter(|task| task.parts > 1).map(end).max();
        let slots = slots.unwrap_or(0);
        let (mut states, mut sums) = (vec![[0.0; 2]; slots], vec![0.0; slots * shape.head_dim]);
        let place = |task: &Task, index: usize| {
            let (token, head) = (index / group, task.kv_head * group + index % group);
            (spans[task.span].row + token) * width + head * shape.head_dim
        };
        {
            let (targets, sums) = (Scattered::new(out), Scattered::new(&mut sums));
            let states = Scattered::new(&mut states);
            self.pool.each(tasks.len(), |next| {
                SCRATCH.with_borrow_mut(|(queries, scratch)| {
                    queries.clear();
                    let task = &tasks[next];
                    let span = &spans[task.span];
                    queries.extend((task.first..task.last).map(|index| {
                        let at = place(task, index);
                        let to = span.position + index / group + 1;
                        let from = to.saturating_sub(span.window);
                        let slot = task.slot + (index - task.first) * task.parts + task.part;
                        // SAFETY: each (row, head) belongs to one task, each of its parts to one slot.
                        let (output, partial) = unsafe {
                            if task.parts == 1 {
                                (targets.part(at..at + shape.head_dim), None)
                            } else {
                                let head = slot * shape.head_dim..(slot + 1) * shape.head_dim;
                                let state = states.part(slot..slot + 1).as_mut_ptr();
                                (sums.part(head), Some(state))
                            }
                        };
                        Query {
                            input: q[at..at + shape.head_dim].as_ptr(),
                            output: output.as_mut_ptr(),
                            from: from.max(task.positions.start),
                            to: to.min(task.positions.end),
                            partial,
                        }
                    }));
                    let blocks: Blocks<'_> = cache.blocks(shape, task.kv_head, span.table);
                    // SAFETY: pointers come from checked slices; `check_spans` saw that the table covers the positions.
                    unsafe {
                        (self.table.attend)(queries, &blocks, self.tuning.attention_rows, scratch);
                    }
                });
            });
        }
        for task in tasks.iter().filter(|task| task.parts > 1 && task.part == 0) {
            for index in task.first..task.last {
                let at = place(task, index);
                let first = task.slot + (index - task.first) * task.parts;
                merge(
                    &states[first..first + task.parts],
                    &sums[first * shape.head_dim..(first + task.parts) * shape.head_dim],
                    &mut out[at..at + shape.head_dim],
                );
            }
        }
    }

    /// Index of the largest value; 0 of none.
    pub fn arg_max(&self, x: &[f32]) -> usize {
        let largest = self.largest(x);
        x.iter().position(|&value| value >= largest).unwrap_or(0)
    }

    /// The largest value; negative infinity of none.
    pub fn largest(&self, x: &[f32]) -> f32 {
        // SAFETY: the table was chosen for this processor.
        unsafe { (self.table.largest)(x) }
    }

    /// `out = e^((x − largest) · factor)`; returns the sum. Nothing is less than e⁻⁸⁷, about 1.6e-38, not even of negative infinity.
    ///
    /// # Panics
    /// If the slices are not of one length.
    pub fn exp_scaled(&self, x: &[f32], largest: f32, factor: f32, out: &mut [f32]) -> f32 {
        out.copy_from_slice(x);
        // SAFETY: the table was chosen for this processor.
        unsafe {
            (self.table.scale)(out, factor);
            (self.table.exp_minus)(out, largest * factor)
        }
    }

    /// Turns logits into probabilities in place; returns the natural logarithm of the sum of exponentials.
    pub fn softmax(&self, x: &mut [f32]) -> f32 {
        // SAFETY: the table was chosen for this processor.
        unsafe {
            let largest = (self.table.largest)(x);
            let sum = (self.table.exp_minus)(x, largest);
            (self.table.scale)(x, 1.0 / sum);
            largest + sum.ln()
        }
    }
}

/// Up to [`QUERY_ROWS`] (token, head) pairs of one span and one key/value head, against a part of the positions.
struct Task {
    span: usize,
    kv_head: usize,
    first: usize,
    last: usize,
    positions: Range<usize>,
    part: usize,
    /// How many tasks have the same pairs and other positions.
    parts: usize,
    /// First place of the pairs' unfinished results, where there are several parts.
    slot: usize,
}

impl Task {
    fn rows(&self) -> usize {
        self.last - self.first
    }
}

/// Fewest positions that are worth a part of their own.
const PART: usize = 256;

/// Tasks from the latest, longest rows to the earliest, so that the last to be taken are short.
///
/// Few tasks are made smaller: fewer rows, and where rows are few as well, parts of the positions, so that there are at
/// least two for each of `threads`.
fn tasks_of(spans: &[Span<'_>], kv_heads: usize, group: usize, threads: usize) -> Vec<Task> {
    let count = |rows: usize| -> usize {
        let of = |span: &Span<'_>| (span.tokens * group).div_ceil(rows) * kv_heads;
        spans.iter().map(of).sum()
    };
    let mut rows = QUERY_ROWS;
    while rows > QUERY_ROWS / 4 && count(rows) < 3 * threads {
        rows /= 2;
    }
    let wanted = if threads > 1 {
        (2 * threads).div_ceil(count(rows).max(1))
    } else {
        1
    };
    let mut tasks = Vec::new();
    let mut slot = 0;
    for (index, span) in spans.iter().enumerate() {
        let pairs = span.tokens * group;
        let positions = span.position + span.tokens;
        let seen = positions.min(span.window.saturating_add(span.tokens));
        let parts = wanted.min(seen / PART).max(1);
        for last in (1..=pairs.div_ceil(rows)).rev() {
            let (first, last) = ((last - 1) * rows, pairs.min(last * rows));
            for kv_head in 0..kv_heads {
                for part in 0..parts {
                    let of_seen = share_of(seen.div_ceil(BLOCK_TOKENS), part, parts);
                    let start = positions - seen;
                    let at = |block: usize| (start + block * BLOCK_TOKENS).min(positions);
                    tasks.push(Task {
                        span: index,
                        kv_head,
                        first,
                        last,
                        positions: at(of_seen.start)..at(of_seen.end),
                        part,
                        parts,
                        slot,
                    });
                }
                slot += if parts > 1 { (last - first) * parts } else { 0 };
            }
        }
    }
    tasks
}

/// # Panics
/// If a span has rows beyond `rows`, or positions without blocks.
fn check_spans(spans: &[Span<'_>], cache: &KvLayer, rows: usize) {
    for span in spans {
        let positions = span.position + span.tokens;
        assert!(span.row + span.tokens <= rows, "rows of attention");
        assert!(
            span.table.len() * BLOCK_TOKENS >= positions,
            "the block table covers {positions} positions"
        );
        assert!(
            span.table
                .iter()
                .all(|&block| (block as usize) < cache.block_count()),
            "blocks of the table exist"
        );
    }
}

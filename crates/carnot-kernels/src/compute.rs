//! The operations of a forward pass over whole buffers: the pool splits them, the dispatch table does them.
//!
//! Everything here is safe: slices in, slices out. Work too small to be worth a fork runs on the caller alone.

use std::cell::RefCell;

use crate::activations::{Activations, GROUP, QuantizedRow};
use crate::cpu::InstructionSet;
use crate::dispatch::{Job, Table, table};
use crate::generic::attention::{Blocks, QUERY_ROWS, Query, Scratch};
use crate::generic::elementwise::rope;
use crate::kv::{BLOCK_TOKENS, KvLayer, KvShape};
use crate::pack::PackedMatrix;
use crate::pool::{Pool, Scattered, Ticket, share_of};

/// Values below which an element-wise operation is not split.
const SMALL: usize = 16 * 1024;

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

/// A pool and the kernels of one instruction set.
pub struct Compute {
    pool: Pool,
    table: &'static Table,
}

thread_local! {
    /// One token's keys and values as half floats.
    static HALVES: RefCell<Vec<u16>> = RefCell::default();
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Compute {
    /// `threads` workers with the best instruction set of this processor.
    pub fn new(threads: usize) -> Self {
        Self::with_instruction_set(threads, InstructionSet::best())
    }

    /// `threads` workers with `set`, or with the scalar kernels where the processor lacks it.
    pub fn with_instruction_set(threads: usize, set: InstructionSet) -> Self {
        Self {
            pool: Pool::new(threads),
            table: table(set),
        }
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
        }
        if rows == 0 {
            return;
        }
        let targets: Vec<_> = products
            .iter_mut()
            .map(|p| (p.weights, Scattered::new(p.out)))
            .collect();
        let total: usize = targets.iter().map(|(weights, _)| weights.panels()).sum();
        self.pool.run(|worker| {
            let mut mine = share_of(total, worker, self.pool.threads());
            for (weights, target) in &targets {
                let panels = mine.start.min(weights.panels())..mine.end.min(weights.panels());
                if !panels.is_empty() {
                    let job = Job {
                        weights,
                        // SAFETY: there is a row 0, and the activations outlive the call.
                        rows: unsafe { activations.pointers(0) },
                        row_count: rows,
                        out: target.as_ptr(),
                        out_stride: weights.rows(),
                    };
                    // SAFETY: shapes were checked; workers own disjoint panels, so they write disjoint columns.
                    unsafe { self.table.matmul(weights.layout())(&job, panels) };
                }
                mine = mine.start.saturating_sub(weights.panels())
                    ..mine.end.saturating_sub(weights.panels());
            }
        });
    }

    /// Fills `out` with RMS-normalised rows of `x`, quantised as well when `quantized`.
    pub fn rms_norm_into(
        &self,
        x: &[f32],
        weight: &[f32],
        epsilon: f32,
        quantized: bool,
        out: &mut Activations,
    ) {
        assert_eq!(weight.len(), out.columns(), "weights of a norm");
        self.fill(out, quantized, x.len(), |row, floats| {
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

    /// Fills `out` with rows of `x`, quantised as well when `quantized`.
    pub fn copy_into(&self, x: &[f32], quantized: bool, out: &mut Activations) {
        self.fill(out, quantized, x.len(), |row, floats| {
            floats.copy_from_slice(&x[row * floats.len()..(row + 1) * floats.len()]);
        });
    }

    /// Fills `out` with rows of `silu(gate) · up`, quantised as well when `quantized`.
    pub fn silu_gate_into(&self, gate: &[f32], up: &[f32], quantized: bool, out: &mut Activations) {
        assert_eq!(gate.len(), up.len(), "gate and up are of one shape");
        self.fill(out, quantized, gate.len(), |row, floats| {
            let range = row * floats.len()..(row + 1) * floats.len();
            // SAFETY: the table was chosen for this processor; lengths are equal.
            unsafe { (self.table.silu_gate)(&gate[range.clone()], &up[range], floats) }
        });
    }

    fn fill(
        &self,
        out: &mut Activations,
        quantized: bool,
        length: usize,
        row_into: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let (rows, columns, padded) = (out.rows(), out.columns(), out.padded());
        assert_eq!(length, rows * columns, "values of {rows} rows of {columns}");
        let floats = Scattered::new(&mut out.floats);
        let codes = Scattered::new(out.codes.as_mut_slice());
        let (scales, sums32, sums16) = (
            Scattered::new(&mut out.scales),
            Scattered::new(&mut out.sums32),
            Scattered::new(&mut out.sums16),
        );
        let (weighted32, weighted16) = (
            Scattered::new(&mut out.weighted32),
            Scattered::new(&mut out.weighted16),
        );
        self.rows(rows, length, |row| {
            let at = |step: usize| row * padded / step..(row + 1) * padded / step;
            // SAFETY: every row is visited once, by one worker.
            unsafe {
                let floats = floats.part(at(1));
                row_into(row, &mut floats[..columns]);
                if quantized {
                    let codes = codes.part(at(1));
                    let codes =
                        std::slice::from_raw_parts_mut(codes.as_mut_ptr().cast(), codes.len());
                    let mut target = QuantizedRow {
                        codes,
                        scales: scales.part(at(GROUP)),
                        sums32: sums32.part(at(GROUP)),
                        sums16: sums16.part(at(16)),
                        weighted32: weighted32.part(at(GROUP)),
                        weighted16: weighted16.part(at(16)),
                    };
                    (self.table.quantize_row)(
                        &floats[..columns.next_multiple_of(GROUP)],
                        &mut target,
                    );
                }
            }
        });
    }

    /// Calls `each(row)` for every row, on all workers when there is enough to do.
    fn rows(&self, rows: usize, values: usize, each: impl Fn(usize) + Sync) {
        if rows < 2 || values < SMALL {
            (0..rows).for_each(each);
        } else {
            self.pool
                .run(|worker| share_of(rows, worker, self.pool.threads()).for_each(&each));
        }
    }

    /// `x += y`.
    pub fn add(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "a sum of two buffers of one shape");
        let parts = if x.len() < SMALL {
            1
        } else {
            self.pool.threads()
        };
        let length = x.len();
        let x = Scattered::new(x);
        let part = |worker| {
            let range = share_of(length, worker, parts);
            // SAFETY: shares are disjoint; the table was chosen for this processor.
            unsafe { (self.table.add)(x.part(range.clone()), &y[range]) }
        };
        if parts == 1 {
            part(0);
        } else {
            self.pool.run(part);
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
        let width = heads * head_dim;
        let rows = x.len() / width;
        let length = x.len();
        let x = Scattered::new(x);
        self.rows(rows, length, |row| {
            // SAFETY: every row is visited once, by one worker.
            let row_values = unsafe { x.part(row * width..(row + 1) * width) };
            let angles = row * rotation.half..(row + 1) * rotation.half;
            let (cos, sin) = (&rotation.cos[angles.clone()], &rotation.sin[angles]);
            for head in row_values.chunks_exact_mut(head_dim) {
                rope(head, cos, sin, rotation.interleaved);
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
        let target = cache.writer(shape);
        self.rows(places.len(), keys.len(), |row| {
            let (block, slot) = places[row];
            let range = row * width..(row + 1) * width;
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
        let tasks = tasks_of(spans, shape.heads, group, cache, q.len() / width.max(1));
        let out = Scattered::new(out);
        let ticket = Ticket::new();
        let work = |_| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut queries = Vec::with_capacity(QUERY_ROWS);
                while let Some(next) = ticket.take(tasks.len()) {
                    let task = &tasks[next];
                    queries.clear();
                    let span = &spans[task.span];
                    queries.extend((task.first..task.last).map(|index| {
                        let (token, head) = (index / group, task.kv_head * group + index % group);
                        let at = (span.row + token) * width + head * shape.head_dim;
                        let to = span.position + token + 1;
                        // SAFETY: each (row, head) belongs to one task.
                        let output = unsafe { out.part(at..at + shape.head_dim) }.as_mut_ptr();
                        Query {
                            input: q[at..at + shape.head_dim].as_ptr(),
                            output,
                            from: to.saturating_sub(span.window),
                            to,
                        }
                    }));
                    let blocks: Blocks<'_> = cache.blocks(shape, task.kv_head, span.table);
                    // SAFETY: pointers come from checked slices; `tasks_of` checked that the table covers the positions.
                    unsafe { (self.table.attend)(&queries, &blocks, scratch) };
                }
            });
        };
        self.pool.run(work);
    }

    /// Index of the largest value; 0 of none.
    pub fn arg_max(&self, x: &[f32]) -> usize {
        // SAFETY: the table was chosen for this processor.
        let largest = unsafe { (self.table.largest)(x) };
        x.iter().position(|&value| value >= largest).unwrap_or(0)
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

/// Up to [`QUERY_ROWS`] (token, head) pairs of one span and one key/value head.
struct Task {
    span: usize,
    kv_head: usize,
    first: usize,
    last: usize,
}

/// Tasks from the latest, longest rows to the earliest, so that the last to be taken are short.
fn tasks_of(
    spans: &[Span<'_>],
    kv_heads: usize,
    group: usize,
    cache: &KvLayer,
    rows: usize,
) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (index, span) in spans.iter().enumerate() {
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
        let pairs = span.tokens * group;
        for last in (1..=pairs.div_ceil(QUERY_ROWS)).rev() {
            let (first, last) = ((last - 1) * QUERY_ROWS, pairs.min(last * QUERY_ROWS));
            tasks.extend((0..kv_heads).map(|kv_head| Task {
                span: index,
                kv_head,
                first,
                last,
            }));
        }
    }
    tasks
}

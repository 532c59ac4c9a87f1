//! Which kernel is fastest here: every variant of the operations that a forward pass spends its time in, timed in turns.
//!
//! Variants of one operation are the instruction sets of this processor and, where both can take the rows, the kernel that
//! uses weights (or keys and values) as they come from memory and the one that expands them for tiles of rows.

use std::time::Instant;

use crate::activations::{Activations, Forms};
use crate::blocks::{BlockType, quantize};
use crate::compute::{Compute, Product, Span, Tuning};
use crate::cpu::InstructionSet;
use crate::kv::{BLOCK_TOKENS, KvLayer, KvShape, KvType};
use crate::pack::{Layout, PackedMatrix};

/// Weight types that are measured: those that models are kept in.
pub const TYPES: [BlockType; 7] = [
    BlockType::Q4_0,
    BlockType::Q4K,
    BlockType::Q5K,
    BlockType::Q6K,
    BlockType::Q8_0,
    BlockType::F16,
    BlockType::BF16,
];
/// Numbers of rows that are measured.
pub const ROWS: [usize; 6] = [1, 4, 6, 8, 32, 128];
/// Outputs and inputs of the measured matmuls.
const SHAPE: (usize, usize) = (2048, 2048);
/// Weights are copied until they fill this much, so that few rows find them in memory, as in decoding.
const WEIGHT_BYTES: usize = 192 << 20;
/// Turns that every variant gets; the median counts.
const TURNS: usize = 5;

/// One variant of one operation, as it was measured.
#[derive(Clone, Debug)]
pub struct Timing {
    /// `matmul q4_0 2048×2048` or `attention 32/4×64 at 2048`.
    pub operation: String,
    /// The rows that are multiplied, or the tokens whose queries attend.
    pub rows: usize,
    /// The instruction set.
    pub set: InstructionSet,
    /// Whether weights, or keys and values, are used as they come from memory.
    pub streamed: bool,
    /// How the weights are laid out; `None` for attention.
    pub layout: Option<Layout>,
    /// Whether the quantised or the float peak is the limit of its arithmetic.
    pub is_integer: bool,
    /// Median of the turns.
    pub seconds: f64,
    /// Multiplications and additions.
    pub operations: f64,
    /// Bytes of weights, or of keys and values, that must be read.
    pub bytes: f64,
}

impl Timing {
    /// Least time by the given limits: operations a second of this arithmetic, bytes a second.
    pub fn floor(&self, operations_per_s: f64, bytes_per_s: f64) -> f64 {
        (self.operations / operations_per_s).max(self.bytes / bytes_per_s)
    }
}

/// Times every variant on the workers of `compute`; `progress(done, of)` is called in between.
pub fn kernels(compute: &Compute, mut progress: impl FnMut(usize, usize)) -> Vec<Timing> {
    let mut timings = Vec::new();
    let steps = TYPES.len() + 1;
    for (done, dtype) in TYPES.into_iter().enumerate() {
        progress(done, steps);
        let weights = weights(compute, dtype);
        for rows in ROWS {
            timings.extend(matmul(compute, &weights, rows));
        }
    }
    progress(TYPES.len(), steps);
    for tokens in [1, 128] {
        timings.extend(attention(compute, tokens));
    }
    progress(steps, steps);
    timings
}

/// The instruction set and the tuning that `timings` speak for.
///
/// The set is the one whose best variants take least time together, each measured against the best of all sets. The most
/// rows that stay streamed are those up to which streaming was not slower, over all quantised types.
pub fn choose(timings: &[Timing]) -> Option<(InstructionSet, Tuning)> {
    let cases: Vec<(&str, usize)> = {
        let mut cases: Vec<_> = timings
            .iter()
            .map(|t| (t.operation.as_str(), t.rows))
            .collect();
        cases.dedup();
        cases
    };
    let best = |case: (&str, usize), set: Option<InstructionSet>| {
        timings
            .iter()
            .filter(|t| {
                (t.operation.as_str(), t.rows) == case && set.is_none_or(|set| t.set == set)
            })
            .map(|t| t.seconds)
            .fold(f64::INFINITY, f64::min)
    };
    let slowdown = |set| -> f64 {
        let of = |case: &(&str, usize)| best(*case, Some(set)) / best(*case, None);
        cases.iter().map(of).sum()
    };
    let sets = InstructionSet::ALL
        .into_iter()
        .filter(|set| timings.iter().any(|t| t.set == *set));
    let set = sets.min_by(|a, b| slowdown(*a).total_cmp(&slowdown(*b)))?;
    let of = |streamed: bool, rows: usize, matmul: bool| -> Option<f64> {
        let chosen: Vec<f64> = timings
            .iter()
            .filter(|t| t.set == set && t.streamed == streamed && t.rows == rows)
            .filter(|t| t.operation.starts_with("matmul") == matmul && (t.is_integer || !matmul))
            .map(|t| t.seconds)
            .collect();
        (!chosen.is_empty()).then(|| chosen.iter().sum())
    };
    let is_streamed_better =
        |rows: usize, matmul: bool| match (of(true, rows, matmul), of(false, rows, matmul)) {
            (Some(streamed), Some(tiled)) => streamed <= tiled,
            (streamed, _) => streamed.is_some(),
        };
    let streamed = ROWS
        .into_iter()
        .take_while(|&rows| is_streamed_better(rows, true));
    let attention_rows = if is_streamed_better(1, false) {
        Tuning::default().attention_rows
    } else {
        0
    };
    let tuning = Tuning {
        matmul_rows: streamed.last().unwrap_or(1),
        attention_rows,
    };
    Some((set, tuning))
}

/// A variant to time: the kernels, and whether they stream.
type Variant = (Compute, bool);

/// Every instruction set, streamed and not.
fn variants(compute: &Compute) -> Vec<Variant> {
    let tunings = [
        (Tuning::default(), true),
        (
            Tuning {
                matmul_rows: 0,
                attention_rows: 0,
            },
            false,
        ),
    ];
    InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_available() && *set != InstructionSet::Scalar)
        .flat_map(|set| tunings.map(|(tuning, streamed)| (compute.tuned(set, tuning), streamed)))
        .collect()
}

fn weights(compute: &Compute, dtype: BlockType) -> Vec<PackedMatrix> {
    let (outputs, inputs) = SHAPE;
    let values: Vec<f32> = (0..inputs).map(|i| (i as f32 * 0.7).sin()).collect();
    let mut row = vec![0; dtype.row_bytes(inputs)];
    quantize(dtype, &values, &mut row);
    let one = PackedMatrix::pack(compute.pool(), dtype, outputs, inputs, &row.repeat(outputs));
    let copies = WEIGHT_BYTES.div_ceil(one.packed_bytes());
    vec![one; copies]
}

fn matmul(compute: &Compute, weights: &[PackedMatrix], rows: usize) -> Vec<Timing> {
    let (outputs, inputs) = SHAPE;
    // Enough matrices that the weights of few rows are not found in a cache again; one turn takes a few milliseconds.
    let count = (weights.len() / rows).clamp(2, 24);
    let x: Vec<f32> = (0..rows * inputs).map(|i| (i as f32 * 0.3).cos()).collect();
    let mut out = vec![0.0; rows * outputs];
    let first = &weights[0];
    let mut next = 0;
    // What cannot be chosen is not measured: tiles are not cut so low, rows not streamed so many.
    let can =
        |(compute, streamed): &Variant| compute.is_streamed(rows, first.layout()) == *streamed;
    let cases: Vec<(Variant, Activations)> = variants(compute)
        .into_iter()
        .filter(can)
        .map(|variant| {
            let mut activations = Activations::new(rows, inputs);
            variant
                .0
                .copy_into(&x, Forms::of([first]), &mut activations);
            (variant, activations)
        })
        .collect();
    let times = in_turns(&cases, |((compute, _), activations)| {
        for _ in 0..count {
            next = (next + 1) % weights.len();
            let product = Product {
                weights: &weights[next],
                out: &mut out,
            };
            compute.matmul(activations, &mut [product]);
        }
    });
    cases
        .into_iter()
        .zip(times)
        .map(|(((compute, streamed), _), seconds)| Timing {
            operation: format!(
                "matmul {} {outputs}×{inputs}",
                first.dtype().name().to_lowercase()
            ),
            rows,
            set: compute.instruction_set(),
            streamed,
            layout: Some(first.layout()),
            is_integer: first.layout().is_integer(),
            seconds: seconds / count as f64,
            operations: 2.0 * (rows * outputs * inputs) as f64,
            bytes: first.file_bytes() as f64,
        })
        .collect()
}

fn attention(compute: &Compute, tokens: usize) -> Vec<Timing> {
    const HEADS: usize = 32;
    const POSITIONS: usize = 2048;
    let shape = KvShape {
        heads: 4,
        head_dim: 64,
        dtype: KvType::F16,
    };
    let blocks = POSITIONS / BLOCK_TOKENS;
    let mut cache = KvLayer::new(shape, blocks);
    let table: Vec<u32> = (0..blocks as u32).collect();
    let span = |position, tokens| Span {
        row: 0,
        tokens,
        position,
        table: &table,
        window: usize::MAX,
    };
    let keys = vec![0.5; POSITIONS * shape.heads * shape.head_dim];
    compute.store_kv(&mut cache, shape, &[span(0, POSITIONS)], &keys, &keys);
    // As many layers as are more than the caches hold.
    let layers = vec![cache; if tokens == 1 { 22 } else { 1 }];
    let q = vec![0.1; tokens * HEADS * shape.head_dim];
    let mut out = q.clone();
    let cases: Vec<Variant> = variants(compute)
        .into_iter()
        .filter(|(_, streamed)| tokens == 1 || !streamed)
        .collect();
    let times = in_turns(&cases, |(compute, _)| {
        for cache in &layers {
            compute.attention(
                cache,
                shape,
                HEADS,
                &q,
                &[span(POSITIONS - tokens, tokens)],
                &mut out,
            );
        }
    });
    let visible: usize = (POSITIONS - tokens + 1..=POSITIONS).sum();
    cases
        .into_iter()
        .zip(times)
        .map(|((compute, streamed), seconds)| Timing {
            operation: format!(
                "attention {HEADS}/{}×{} at {POSITIONS}",
                shape.heads, shape.head_dim
            ),
            rows: tokens,
            set: compute.instruction_set(),
            streamed,
            layout: None,
            is_integer: false,
            seconds: seconds / layers.len() as f64,
            operations: (4 * shape.head_dim * HEADS * visible) as f64,
            bytes: (shape.token_bytes() * POSITIONS) as f64,
        })
        .collect()
}

/// Median seconds of `run` for each of `cases`, one after another, turn by turn; a first turn warms up.
fn in_turns<C>(cases: &[C], mut run: impl FnMut(&C)) -> Vec<f64> {
    let mut times = vec![Vec::with_capacity(TURNS); cases.len()];
    for turn in 0..=TURNS {
        for (case, times) in cases.iter().zip(&mut times) {
            let start = Instant::now();
            run(case);
            if turn > 0 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
    }
    times
        .into_iter()
        .map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(
        operation: &str,
        rows: usize,
        set: InstructionSet,
        streamed: bool,
        seconds: f64,
    ) -> Timing {
        Timing {
            operation: operation.to_owned(),
            rows,
            set,
            streamed,
            layout: None,
            is_integer: operation.starts_with("matmul"),
            seconds,
            operations: 0.0,
            bytes: 0.0,
        }
    }

    #[test]
    fn the_fastest_set_and_the_crossing_point_are_chosen() {
        let (a, b) = (InstructionSet::Avx2, InstructionSet::Avx512Vnni);
        let timings = [
            timing("matmul q4_0", 1, a, true, 2.0),
            timing("matmul q4_0", 1, b, true, 1.0),
            timing("matmul q4_0", 4, b, true, 1.0),
            timing("matmul q4_0", 4, b, false, 1.5),
            timing("matmul q4_0", 6, b, true, 2.0),
            timing("matmul q4_0", 6, b, false, 1.5),
            timing("attention", 1, b, true, 2.0),
            timing("attention", 1, b, false, 1.0),
        ];
        let expected = Tuning {
            matmul_rows: 4,
            attention_rows: 0,
        };
        assert_eq!(choose(&timings), Some((b, expected)));
        assert_eq!(choose(&[]), None);
    }
}

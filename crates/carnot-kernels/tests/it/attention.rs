//! Causal attention over shuffled blocks, grouped queries, windows, several sequences.

use std::sync::Arc;

use carnot_kernels::kv::BLOCK_TOKENS;
use carnot_kernels::{Compute, KvLayer, KvShape, KvType, Span};
use half::f16;

use crate::{machines, noise};

fn shape(dtype: KvType) -> KvShape {
    KvShape {
        heads: 2,
        head_dim: 32,
        dtype,
    }
}

const HEADS: usize = 6;

struct Sequence {
    position: usize,
    tokens: usize,
    window: usize,
}

/// Keys and values of a sequence, rounded as the cache stores them.
fn keys_and_values(seed: u64, positions: usize, dtype: KvType) -> (Vec<f32>, Vec<f32>) {
    let rounded = |seed| stored(&noise(seed, positions * 64), dtype);
    (rounded(seed), rounded(seed + 100))
}

fn stored(values: &[f32], dtype: KvType) -> Vec<f32> {
    match dtype {
        KvType::F16 => values.iter().map(|x| f16::from_f32(*x).to_f32()).collect(),
        // A head is one group.
        KvType::Q8_0 => values.chunks(32).flat_map(codes).collect(),
    }
}

fn codes(group: &[f32]) -> Vec<f32> {
    let largest = group
        .iter()
        .fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let near = f16::from_f32(largest / 127.0);
    let is_less = near.to_f32() < largest / 127.0;
    let scale = f16::from_bits(near.to_bits() + u16::from(is_less)).to_f32();
    group
        .iter()
        .map(|x| (x / scale).round_ties_even() * scale)
        .collect()
}

/// One query head in `f64`, straight from the definition.
fn reference(
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    head: usize,
    visible: std::ops::Range<usize>,
) -> Vec<f64> {
    let of = |all: &[f32], position: usize| all[position * 64 + head * 32..][..32].to_vec();
    let dot = |key: Vec<f32>| {
        query
            .iter()
            .zip(key)
            .map(|(q, k)| f64::from(*q) * f64::from(k))
            .sum::<f64>()
    };
    let weights: Vec<f64> = visible
        .clone()
        .map(|p| (dot(of(keys, p)) / 32_f64.sqrt()).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    let mut out = vec![0.0; 32];
    for (weight, position) in weights.iter().zip(visible) {
        for (sum, value) in out.iter_mut().zip(of(values, position)) {
            *sum += weight / total * f64::from(value);
        }
    }
    out
}

fn check(compute: &Compute, sequences: &[Sequence]) {
    KvType::ALL
        .into_iter()
        .for_each(|dtype| check_stored(compute, sequences, shape(dtype)));
}

fn check_stored(compute: &Compute, sequences: &[Sequence], shape: KvShape) {
    let blocks_of = |s: &Sequence| (s.position + s.tokens).div_ceil(BLOCK_TOKENS);
    let total: usize = sequences.iter().map(blocks_of).sum();
    let mut cache = KvLayer::new(shape, total);
    let mut free: Vec<u32> = (0..total as u32).rev().collect();
    let data: Vec<_> = (1..)
        .zip(sequences)
        .map(|(seed, s)| keys_and_values(seed, s.position + s.tokens, shape.dtype))
        .collect();
    let tables: Vec<Vec<u32>> = sequences
        .iter()
        .map(|s| {
            (0..blocks_of(s))
                .map(|_| free.pop().expect("enough blocks"))
                .rev()
                .collect()
        })
        .collect();
    for ((keys, values), (table, sequence)) in data.iter().zip(tables.iter().zip(sequences)) {
        let tokens = sequence.position + sequence.tokens;
        let span = Span {
            row: 0,
            tokens,
            position: 0,
            table,
            window: usize::MAX,
        };
        compute.store_kv(&mut cache, shape, &[span], keys, values);
    }
    let rows: usize = sequences.iter().map(|s| s.tokens).sum();
    let q = noise(50, rows * HEADS * 32);
    let mut row = 0;
    let spans: Vec<Span<'_>> = sequences
        .iter()
        .zip(&tables)
        .map(|(s, table)| {
            row += s.tokens;
            Span {
                row: row - s.tokens,
                tokens: s.tokens,
                position: s.position,
                table,
                window: s.window,
            }
        })
        .collect();
    let mut out = vec![f32::NAN; q.len()];
    compute.attention(&cache, shape, HEADS, &q, &spans, &mut out);
    for (span, (keys, values)) in spans.iter().zip(&data) {
        for token in 0..span.tokens {
            let end = span.position + token + 1;
            for head in 0..HEADS {
                let at = ((span.row + token) * HEADS + head) * 32;
                let visible = end.saturating_sub(span.window)..end;
                let expected = reference(
                    &q[at..at + 32],
                    keys,
                    values,
                    head / (HEADS / shape.heads),
                    visible,
                );
                for (got, expected) in out[at..at + 32].iter().zip(expected) {
                    assert!(
                        (f64::from(*got) - expected).abs() < 1e-5,
                        "{got} for {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn attention_matches_its_definition() {
    for compute in machines() {
        for (position, tokens) in [
            (0, 1),
            (0, 40),
            (15, 1),
            (16, 1),
            (200, 1),
            (130, 7),
            (0, 150),
            (700, 30),
            (1000, 1),
        ] {
            check(
                &compute,
                &[Sequence {
                    position,
                    tokens,
                    window: usize::MAX,
                }],
            );
        }
    }
}

#[test]
fn sequences_do_not_see_each_other() {
    for compute in machines() {
        check(
            &compute,
            &[
                Sequence {
                    position: 33,
                    tokens: 1,
                    window: usize::MAX,
                },
                Sequence {
                    position: 0,
                    tokens: 20,
                    window: usize::MAX,
                },
                Sequence {
                    position: 300,
                    tokens: 3,
                    window: 64,
                },
                Sequence {
                    position: 500,
                    tokens: 1,
                    window: 1,
                },
            ],
        );
    }
}

/// Few tasks for many workers: positions are split, and the parts put together again.
#[test]
fn parts_of_the_positions_make_a_whole() {
    for compute in machines() {
        for window in [usize::MAX, 900] {
            let sequence = Sequence {
                position: 1500,
                tokens: 2,
                window,
            };
            check(&compute, &[sequence]);
        }
    }
}

/// A block is used again by another sequence: what is left of the first must not matter, were it infinite.
#[test]
fn what_another_sequence_left_in_a_block_does_not_matter() {
    let types =
        |compute: Arc<Compute>| KvType::ALL.map(|dtype| (Arc::clone(&compute), shape(dtype)));
    for (compute, shape) in machines().map(Arc::new).flat_map(types) {
        let mut cache = KvLayer::new(shape, 2);
        let table = [1, 0];
        let span = |tokens| Span {
            row: 0,
            tokens,
            position: 0,
            table: &table,
            window: usize::MAX,
        };
        let infinite = vec![f32::INFINITY; 32 * 64];
        compute.store_kv(&mut cache, shape, &[span(32)], &infinite, &infinite);
        let (keys, values) = keys_and_values(5, 19, shape.dtype);
        compute.store_kv(&mut cache, shape, &[span(19)], &keys, &values);
        let queries = noise(9, 19 * HEADS * 32);
        let mut out = vec![0.0; queries.len()];
        compute.attention(&cache, shape, HEADS, &queries, &[span(19)], &mut out);
        let mut last = vec![0.0; HEADS * 32];
        let one = Span {
            position: 18,
            ..span(1)
        };
        let query = &queries[18 * HEADS * 32..];
        compute.attention(&cache, shape, HEADS, query, &[one], &mut last);
        assert!(
            out.iter().chain(&last).all(|value| value.is_finite()),
            "{}",
            compute.instruction_set()
        );
    }
}

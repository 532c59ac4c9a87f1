//! The same work cut in other ways: prefill whole, in chunks and token by token; sequences alone and together.
//!
//! Few rows and many rows take different kernels, which add in other orders. With float weights that moved logits by 2e-4 at most
//! when this was written. With quantised weights a sum that changes in its last bit may round to another int8 code, as it may
//! between two engines: the divergence from that stays at 1e-4 nats, as large as that of Carnot from llama.cpp on the same file.

use std::sync::Arc;

use carnot_formats::{Architecture, BlockType, ModelFile};
use carnot_kernels::InstructionSet;
use carnot_llm::{Batch, BatchSpan, Model};

use crate::{Distance, embedded, forward, instruction_sets, load, prompt, tiny};

const LENGTH: usize = 70;
const BLOCKS: usize = LENGTH.div_ceil(16);

/// The models that the tests go through, and how far logits may move.
fn cases() -> [(Arc<ModelFile>, f64); 4] {
    [
        (embedded(), 0.15),
        (tiny::model(Architecture::Qwen2, BlockType::Q4K), 0.15),
        (tiny::model(Architecture::Mistral, BlockType::Q4_0), 0.15),
        (tiny::model(Architecture::Qwen3, BlockType::F32), 0.001),
    ]
}

fn check(what: &str, model: &Model, logits: &[f32], expected: &[f32], tolerance: f64) {
    let distance = Distance::of(logits, expected, model.config().vocabulary);
    let (name, set) = (model.file().name(), model.compute().instruction_set());
    println!("{name} · {set} · {what}: {distance:?}");
    assert!(
        distance.largest <= tolerance,
        "{name} · {set} · {what}: {distance:?}"
    );
}

/// The logits after every token of `tokens`, fed `chunk` at a time.
fn in_chunks(model: &mut Model, tokens: &[u32], chunk: usize, blocks: &[u32]) -> Vec<f32> {
    let pieces = tokens.chunks(chunk).zip((0..).step_by(chunk));
    pieces
        .flat_map(|(piece, position)| {
            let rows: Vec<usize> = (0..piece.len()).collect();
            forward(model, (piece, position), blocks, &rows)
        })
        .collect()
}

#[test]
fn prefill_in_pieces_is_prefill() {
    let blocks: Vec<u32> = (0..BLOCKS as u32).rev().collect();
    for (file, tolerance) in cases() {
        // The scalar kernels take their time; they see the tiny models only.
        let is_tiny = file.config().layers == 2;
        for set in instruction_sets().filter(|set| is_tiny || *set != InstructionSet::Scalar) {
            let mut model = load(file.clone(), 2, set, BLOCKS);
            let tokens = prompt(LENGTH, model.config().vocabulary);
            let whole = in_chunks(&mut model, &tokens, LENGTH, &blocks);
            for chunk in [1, 2, 5, 16, 33] {
                let pieces = in_chunks(&mut model, &tokens, chunk, &blocks);
                check(
                    &format!("chunks of {chunk}"),
                    &model,
                    &pieces,
                    &whole,
                    tolerance,
                );
            }
        }
    }
}

#[test]
fn asking_for_fewer_rows_changes_none() {
    let blocks: Vec<u32> = (0..BLOCKS as u32).collect();
    let mut model = load(embedded(), 2, InstructionSet::best(), BLOCKS);
    let vocabulary = model.config().vocabulary;
    let tokens = prompt(LENGTH, vocabulary);
    let all = in_chunks(&mut model, &tokens, LENGTH, &blocks);
    let some = forward(&mut model, (&tokens, 0), &blocks, &[3, 41, 42, 69]);
    let expected: Vec<f32> = [3, 41, 42, 69]
        .into_iter()
        .flat_map(|row| &all[row * vocabulary..(row + 1) * vocabulary])
        .copied()
        .collect();
    check("four rows", &model, &some, &expected, 0.15);
}

#[test]
fn sequences_together_are_sequences_alone() {
    for (file, tolerance) in cases() {
        for set in instruction_sets() {
            let mut model = load(file.clone(), 3, set, 2 * BLOCKS);
            let tokens = prompt(2 * LENGTH, model.config().vocabulary);
            let (first, second) = tokens.split_at(LENGTH);
            let (even, odd): (Vec<u32>, Vec<u32>) =
                (0..2 * BLOCKS as u32).partition(|block| block % 2 == 0);
            let alone = [
                forward(&mut model, (first, 0), &even, &[30, LENGTH - 1]),
                forward(&mut model, (second, 0), &odd, &[LENGTH - 1]),
            ];
            // Leaves the cache of a prefix of each; the batch then continues both at different positions.
            forward(&mut model, (&first[..9], 0), &odd, &[]);
            forward(&mut model, (&second[..LENGTH - 1], 0), &even, &[]);
            let spans = [
                span(&first[9..], 9, &odd),
                span(&second[LENGTH - 1..], LENGTH - 1, &even),
            ];
            let together = model
                .forward(Batch {
                    spans: &spans,
                    logits: &[30 - 9, LENGTH - 10, LENGTH - 9],
                })
                .to_vec();
            check("together", &model, &together, &alone.concat(), tolerance);
        }
    }
}

#[test]
fn many_decode_steps_at_once_are_each_alone() {
    let sequences = 9;
    for (file, tolerance) in cases() {
        let mut model = load(file, 2, InstructionSet::best(), sequences);
        let tokens = prompt(16 * sequences, model.config().vocabulary);
        let blocks: Vec<[u32; 1]> = (0..sequences as u32).map(|block| [block]).collect();
        let sequence = |index: usize| &tokens[16 * index..][..4 + index];
        let mut alone = Vec::new();
        for (index, blocks) in blocks.iter().enumerate() {
            let tokens = sequence(index);
            let last = [tokens.len() - 1];
            alone.extend(forward(&mut model, (tokens, 0), blocks, &last));
        }
        let spans: Vec<BatchSpan> = (0..sequences)
            .map(|index| {
                let (last, before) = sequence(index).split_last().unwrap();
                span(std::slice::from_ref(last), before.len(), &blocks[index])
            })
            .collect();
        let rows: Vec<usize> = (0..sequences).collect();
        let together = model
            .forward(Batch {
                spans: &spans,
                logits: &rows,
            })
            .to_vec();
        check("nine together", &model, &together, &alone, tolerance);
    }
}

fn span<'a>(tokens: &'a [u32], position: usize, blocks: &'a [u32]) -> BatchSpan<'a> {
    BatchSpan {
        tokens,
        position,
        blocks,
    }
}

//! The crate from outside: logits against an independent forward pass, ways to cut the same work, and requests good and bad.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]
#![expect(
    clippy::print_stdout,
    reason = "distances are measured here, and shown with --no-capture"
)]

mod batching;
mod embeddings;
mod goldens;
mod grammars;
mod memory;
mod perplexity;
mod requests;
mod scheduling;
mod serving;
mod tiny;

use std::path::PathBuf;
use std::sync::Arc;

use carnot_formats::ModelFile;
use carnot_kernels::{Compute, InstructionSet};
use carnot_llm::{Batch, BatchSpan, Model};

fn models() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

/// The model that is built into Carnot, as GGUF.
fn embedded() -> Arc<ModelFile> {
    Arc::new(ModelFile::open(&models().join("embedded-q8_0.gguf")).unwrap())
}

fn instruction_sets() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_available())
}

/// Loads `file` with room for `blocks` blocks of 16 tokens.
fn load(file: Arc<ModelFile>, threads: usize, set: InstructionSet, blocks: usize) -> Model {
    let compute = Compute::with_instruction_set(threads, set);
    Model::load(file, compute, blocks, |_, _| ()).unwrap()
}

/// Some `length` tokens of a vocabulary; `tools/reference/forward.py` computes the same.
fn prompt(length: usize, vocabulary: usize) -> Vec<u32> {
    (0..length)
        .map(|at| ((7 * at * at + 13 * at + 5) % vocabulary) as u32)
        .collect()
}

/// The logits after each of `rows`, from `tokens` that begin at `position` of the sequence in `blocks`.
fn forward(
    model: &mut Model,
    (tokens, position): (&[u32], usize),
    blocks: &[u32],
    rows: &[usize],
) -> Vec<f32> {
    let span = BatchSpan {
        tokens,
        position,
        blocks,
    };
    let batch = Batch {
        spans: &[span],
        logits: rows,
    };
    model.forward(batch).to_vec()
}

/// How far logits are from others, over all rows.
#[derive(Debug)]
struct Distance {
    largest: f64,
    mean: f64,
    /// The largest divergence of a row, in nats.
    kl: f64,
}

impl Distance {
    fn of(logits: &[f32], from: &[f32], vocabulary: usize) -> Self {
        assert_eq!(logits.len(), from.len(), "as many logits as expected");
        assert!(
            logits.iter().all(|logit| logit.is_finite()),
            "logits are numbers"
        );
        let differences = || {
            logits
                .iter()
                .zip(from)
                .map(|(a, b)| f64::from((a - b).abs()))
        };
        let rows = logits
            .chunks_exact(vocabulary)
            .zip(from.chunks_exact(vocabulary));
        Self {
            largest: differences().fold(0.0, f64::max),
            mean: differences().sum::<f64>() / logits.len() as f64,
            kl: rows
                .map(|(a, b)| divergence(&log_softmax(b), &log_softmax(a)))
                .fold(0.0, f64::max),
        }
    }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - top).exp()).sum();
    logits
        .iter()
        .map(|x| f64::from(x - top) - sum.ln())
        .collect()
}

fn divergence(base: &[f64], of: &[f64]) -> f64 {
    base.iter().zip(of).map(|(b, o)| b.exp() * (b - o)).sum()
}

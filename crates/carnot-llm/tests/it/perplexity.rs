//! Perplexity against `tools/reference/forward.py perplexity … --chunks 4`, which reads the text with llama.cpp's tokenizer.

use std::sync::Arc;

use carnot_formats::ModelFile;
use carnot_kernels::InstructionSet;
use carnot_llm::perplexity::{Protocol, Settings, Tally, score};

use crate::{embedded, load, models};

const CONTEXT: usize = 512;

/// Holds the first four chunks of the validation text to `expected`, within a thousandth.
fn check(file: Arc<ModelFile>, protocol: Protocol, expected: f64) {
    let text = std::fs::read_to_string(models().join("text/validation.txt")).unwrap();
    let tokenizer = file.tokenizer().unwrap();
    let tokens = tokenizer
        .encode(&text, protocol == Protocol::LlamaCpp)
        .unwrap();
    let settings = Settings {
        context: CONTEXT,
        chunks: Some(4),
        protocol,
        bos: tokenizer.bos(),
    };
    let mut model = load(file, 2, InstructionSet::best(), CONTEXT / 16);
    let mut loss = Tally::default();
    score(&mut model, &tokens, &settings, |_, scored| {
        loss.add(-f64::from(scored.log_probabilities[scored.token as usize]));
    });
    assert_eq!(loss.tokens(), 4 * settings.scored().len() as u64);
    let perplexity = loss.mean().exp();
    println!("{protocol:?}: {perplexity} for {expected}");
    assert!(
        (perplexity / expected - 1.0).abs() < 1e-3,
        "{protocol:?}: {perplexity} for {expected}"
    );
}

#[test]
fn llama_cpp_protocol() {
    check(embedded(), Protocol::LlamaCpp, 27.231_373);
}

#[test]
fn hugging_face_protocol() {
    check(embedded(), Protocol::HuggingFace, 35.238_982);
}

#[test]
fn half_precision_weights() {
    let file = ModelFile::open(&models().join("embedded")).unwrap();
    check(Arc::new(file), Protocol::LlamaCpp, 27.247_367);
}

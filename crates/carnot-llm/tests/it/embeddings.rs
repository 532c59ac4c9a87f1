//! Vectors of texts.

use std::time::Duration;

use carnot_engine::{Event, FinishReason, Pooling, TextEngine, TextRequest, Usage};
use carnot_llm::scheduler::Policy;
use carnot_llm::{EngineOptions, LlmEngine};

use crate::embedded;

const TEXT: &str =
    "def read_lines(path):\n    with open(path) as file:\n        return file.readlines()\n";

fn engine(max_prompt_tokens: usize) -> LlmEngine {
    let options = EngineOptions {
        threads: 2,
        context: 256,
        policy: Policy {
            max_prompt_tokens,
            ..Policy::default()
        },
        ..EngineOptions::default()
    };
    LlmEngine::load(embedded(), &options, |_, _| ()).unwrap()
}

fn vector(engine: &mut LlmEngine, text: &str, pooling: Pooling) -> (Vec<f32>, Usage) {
    let request = TextRequest {
        prompt: engine.tokenizer().encode(text, true).unwrap(),
        max_tokens: 0,
        embed: Some(pooling),
        ..TextRequest::default()
    };
    engine.submit(request, Duration::ZERO).unwrap();
    let (mut events, mut found) = (Vec::new(), Vec::new());
    while !engine.is_idle() {
        engine.step(Duration::ZERO, &mut events).unwrap();
    }
    for event in events {
        match event {
            Event::Embedding { values, .. } => found = values,
            Event::Finished {
                reason,
                usage,
                text,
                ..
            } => {
                assert_eq!((reason, text.as_str()), (FinishReason::Stop, ""));
                return (found, usage);
            }
            Event::Token { .. } => panic!("nothing is generated"),
            _ => (),
        }
    }
    panic!("it has no end");
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn a_text_has_one_vector_however_it_is_computed() {
    for pooling in [Pooling::Last, Pooling::Mean] {
        let (whole, usage) = vector(&mut engine(512), TEXT, pooling);
        assert_eq!(
            (whole.len(), usage.generated_tokens),
            (engine(512).loaded().config().hidden, 0)
        );
        let mut chunked = engine(5);
        let (cold, usage) = vector(&mut chunked, TEXT, pooling);
        assert_eq!(usage.cached_tokens, 0);
        assert!(
            cosine(&whole, &cold) > 0.9999,
            "{pooling:?}: {}",
            cosine(&whole, &cold)
        );
        let (warm, usage) = vector(&mut chunked, TEXT, pooling);
        assert!(
            cosine(&whole, &warm) > 0.9999,
            "{pooling:?}: {}",
            cosine(&whole, &warm)
        );
        // The mean needs every token's state, which the cache has not.
        let is_reused = usage.cached_tokens > 0;
        assert_eq!(is_reused, pooling == Pooling::Last);
        let census = chunked.census();
        assert_eq!(census.free_blocks + census.cached_blocks, census.blocks);
    }
}

#[test]
fn vectors_tell_texts_apart() {
    let mut engine = engine(512);
    let (one, _) = vector(&mut engine, TEXT, Pooling::Mean);
    let (near, _) = vector(&mut engine, &TEXT.replace("path", "name"), Pooling::Mean);
    let (far, _) = vector(
        &mut engine,
        "<html><body><p>Once upon a time.</p>",
        Pooling::Mean,
    );
    assert!(
        cosine(&one, &near) > cosine(&one, &far) + 0.01,
        "{} {}",
        cosine(&one, &near),
        cosine(&one, &far)
    );
}

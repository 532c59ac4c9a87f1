//! What recording costs a decode, with every span on: `cargo bench -p carnot-llm --bench probe_overhead [-- MODEL]`.
//!
//! Runs with and without recording take turns on the embedded model (or MODEL), so that both see the same machine; the
//! figure is the median of the pairwise ratios with its quartiles. Goals: ≤ 2 % on the embedded model, ≤ 0.2 % on a 1b one.
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use carnot_engine::{TextEngine, TextRequest};
use carnot_formats::ModelFile;
use carnot_llm::{EngineOptions, LlmEngine};

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let once = arguments.iter().any(|argument| argument == "--test");
    let embedded = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../models/embedded-q8_0.gguf"
    );
    let path = arguments
        .iter()
        .find(|argument| !argument.starts_with("--"))
        .map_or(embedded, String::as_str);
    let file = Arc::new(ModelFile::open(Path::new(path)).expect("the model opens"));
    let mut engine =
        LlmEngine::load(file, &EngineOptions::default(), |_, _| ()).expect("the model loads");
    let tokens = if once {
        4
    } else {
        tokens_for_a_quarter_second(&mut engine)
    };
    let pairs = if once { 1 } else { 21 };
    carnot_probe::enable();
    carnot_probe::reserve(tokens * 2000);
    let mut ratios: Vec<f64> = (0..pairs)
        .map(|pair| ratio(&mut engine, tokens, pair % 2 == 0))
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| (ratios[((ratios.len() - 1) as f64 * share) as usize] - 1.0) * 100.0;
    println!(
        "recording slows decoding by {:.2} % (quartiles {:.2} to {:.2} %, {pairs} pairs of {tokens} tokens, {})",
        at(0.5),
        at(0.25),
        at(0.75),
        engine.model().name
    );
}

fn tokens_for_a_quarter_second(engine: &mut LlmEngine) -> usize {
    decode(engine, 16);
    let token = decode(engine, 16) / 16.0;
    ((0.25 / token) as usize).clamp(16, 512)
}

/// Time with recording over time without; which comes first alternates.
fn ratio(engine: &mut LlmEngine, tokens: usize, on_first: bool) -> f64 {
    let mut timed = |on: bool| {
        if on {
            carnot_probe::enable();
        } else {
            carnot_probe::disable();
        }
        let seconds = decode(engine, tokens);
        carnot_probe::drain();
        seconds
    };
    let first = timed(on_first);
    let second = timed(!on_first);
    if on_first {
        first / second
    } else {
        second / first
    }
}

/// Seconds that `tokens` tokens after a one-token prompt take.
fn decode(engine: &mut LlmEngine, tokens: usize) -> f64 {
    let request = TextRequest {
        prompt: vec![0],
        max_tokens: tokens,
        ignore_eos: true,
        ..TextRequest::default()
    };
    let start = Instant::now();
    let id = engine.submit(request, start.elapsed());
    id.expect("the request fits");
    let mut events = Vec::new();
    while !engine.is_idle() {
        engine
            .step(start.elapsed(), &mut events)
            .expect("the engine runs");
        events.clear();
    }
    start.elapsed().as_secs_f64()
}

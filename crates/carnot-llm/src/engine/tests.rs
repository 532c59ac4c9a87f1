//! The engine after a step that panicked: what ran is lost, nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::*;

const NOW: Duration = Duration::ZERO;

fn engine() -> LlmEngine {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/embedded-q8_0.gguf");
    let options = EngineOptions {
        threads: 2,
        context: 128,
        cache: CacheSize::Tokens(512),
        policy: Policy {
            max_prompt_tokens: 8,
            ..Policy::default()
        },
        ..EngineOptions::default()
    };
    LlmEngine::load(
        Arc::new(ModelFile::open(&path).unwrap()),
        &options,
        |_, _| (),
    )
    .unwrap()
}

fn request(engine: &LlmEngine, text: &str) -> TextRequest {
    TextRequest {
        prompt: engine.tokenizer.encode(text, true).unwrap(),
        max_tokens: 12,
        ignore_eos: true,
        ..TextRequest::default()
    }
}

fn text(engine: &mut LlmEngine) -> String {
    let request = request(
        engine,
        "def read_lines(path):\n    with open(path) as file:\n",
    );
    engine.submit(request, NOW).unwrap();
    let mut events = Vec::new();
    while !engine.is_idle() {
        engine.step(NOW, &mut events).unwrap();
    }
    let pieces = events.into_iter().map(|event| match event {
        Event::Token { text, .. } | Event::Finished { text, .. } => text,
        _ => String::new(),
    });
    pieces.collect()
}

#[test]
fn a_step_that_panics_loses_what_ran_and_nothing_else() {
    let expected = text(&mut engine());
    for place in ["planned", "computed", "sampled"] {
        for passes in [0, 1, 5] {
            let mut engine = engine();
            let prompts = [
                "import os\n",
                "class Reader:\n    def __init__(self):\n",
                "import os\nimport sys\n",
            ];
            let ids = prompts.map(|prompt| {
                let request = request(&engine, prompt);
                engine.submit(request, NOW).unwrap()
            });
            fail::cfg(place, &format!("{passes}*off->1*panic")).unwrap();
            let mut events = Vec::new();
            let panicked = (0..50)
                .any(|_| catch_unwind(AssertUnwindSafe(|| engine.step(NOW, &mut events))).is_err());
            assert!(panicked, "{place} {passes}");
            ids.into_iter().for_each(|id| engine.cancel(id));
            while !engine.is_idle() {
                engine.step(NOW, &mut events).unwrap();
            }
            engine.scheduler.check_integrity();
            let census = engine.census();
            assert_eq!(
                census.free_blocks + census.cached_blocks,
                census.blocks,
                "{place} {passes}"
            );
            assert_eq!(text(&mut engine), expected, "{place} {passes}");
        }
    }
}

#[test]
fn a_draw_that_panics_ends_its_own_request() {
    let mut engine = engine();
    let prompts = ["import os\n", "class Reader:\n", "def f(x):\n"];
    for prompt in prompts {
        let request = request(&engine, prompt);
        engine.submit(request, NOW).unwrap();
    }
    fail::cfg("drawing", "7*off->1*panic").unwrap();
    let mut events = Vec::new();
    while !engine.is_idle() {
        engine.step(NOW, &mut events).unwrap();
    }
    let mut reasons: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            Event::Finished { reason, .. } => Some(reason.name()),
            _ => None,
        })
        .collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["failed", "length", "length"]);
    engine.scheduler.check_integrity();
}

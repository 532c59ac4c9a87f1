//! Many requests at once: what they share, in which order they run, and that none changes another.

use std::sync::Arc;
use std::time::Duration;

use carnot_engine::{Event, FinishReason, RequestId, Sampling, TextEngine, TextRequest, Usage};
use carnot_formats::ModelFile;
use carnot_kernels::KvType;
use carnot_llm::scheduler::Policy;
use carnot_llm::{CacheSize, EngineOptions, LlmEngine};

use crate::{embedded, models};

const NOW: Duration = Duration::ZERO;
/// What the requests begin with, some 70 tokens.
const SHARED: &str = "import os\nimport sys\n\n\ndef read_lines(path):\n    with open(path) as file:\n        return file.readlines()\n\n\n\
    def count_words(text):\n    return len(text.split())\n\n\ndef ";

fn engine(policy: Policy, cache_tokens: usize) -> LlmEngine {
    let options = EngineOptions {
        threads: 2,
        context: 512,
        cache: CacheSize::Tokens(cache_tokens),
        policy,
        ..EngineOptions::default()
    };
    LlmEngine::load(embedded(), &options, |_, _| ()).unwrap()
}

fn requests(engine: &LlmEngine) -> Vec<TextRequest> {
    [
        "main(",
        "write_lines(path",
        "parse(",
        "merge_dictionaries(a, b",
        "fibonacci(n",
        "save(self",
    ]
    .iter()
    .enumerate()
    .map(|(seed, own)| TextRequest {
        prompt: engine
            .tokenizer()
            .encode(&format!("{SHARED}{own}"), true)
            .unwrap(),
        max_tokens: 40,
        ignore_eos: true,
        sampling: Sampling {
            temperature: if seed % 2 == 0 { 0.0 } else { 0.8 },
            seed: seed as u64,
            ..Sampling::default()
        },
        ..TextRequest::default()
    })
    .collect()
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Outcome {
    tokens: Vec<u32>,
    usage: Usage,
}

/// Steps until nothing is left; what came of each of `ids`.
fn finish(engine: &mut LlmEngine, ids: &[RequestId]) -> Vec<Outcome> {
    let mut events = Vec::new();
    while !engine.is_idle() {
        engine.step(NOW, &mut events).unwrap();
    }
    let mut outcomes = vec![Outcome::default(); ids.len()];
    for event in events {
        let of = |request| ids.iter().position(|id| *id == request).unwrap();
        match event {
            Event::Token { request, token, .. } => outcomes[of(request)].tokens.push(token),
            Event::Finished {
                request,
                usage,
                reason,
                ..
            } => {
                assert_eq!(reason, FinishReason::Length);
                outcomes[of(request)].usage = usage;
            }
            _ => (),
        }
    }
    outcomes
}

fn alone(requests: &[TextRequest]) -> Vec<Outcome> {
    let uncached = Policy {
        prefix_cache: false,
        ..Policy::default()
    };
    let mut engine = engine(uncached, 512);
    let run = |request: &TextRequest| {
        let id = engine.submit(request.clone(), NOW).unwrap();
        finish(&mut engine, &[id]).remove(0)
    };
    requests.iter().map(run).collect()
}

fn texts(outcomes: &[Outcome]) -> Vec<&[u32]> {
    outcomes
        .iter()
        .map(|outcome| outcome.tokens.as_slice())
        .collect()
}

#[test]
fn together_or_alone_cached_or_not_the_tokens_are_the_same() {
    let mut engine = engine(Policy::default(), 2048);
    let requests = requests(&engine);
    let expected = alone(&requests);
    for round in 0..2 {
        let ids: Vec<RequestId> = requests
            .iter()
            .map(|request| engine.submit(request.clone(), NOW).unwrap())
            .collect();
        let outcomes = finish(&mut engine, &ids);
        assert_eq!(texts(&outcomes), texts(&expected), "round {round}");
        for (outcome, request) in outcomes.iter().zip(&requests) {
            let cached = outcome.usage.cached_tokens;
            let prompt = request.prompt.len();
            assert!(
                round == 0 || cached == prompt - 1,
                "all but the last is cached: {cached} of {prompt}"
            );
        }
        let cached: usize = outcomes[1..]
            .iter()
            .map(|outcome| outcome.usage.cached_tokens)
            .sum();
        assert!(
            cached > 5 * 40,
            "also the first time the shared part is computed once: {cached}"
        );
    }
}

/// By the clock of this test every step takes as long, so that a guess that is right pays.
#[test]
fn guesses_change_no_token() {
    let policy = Policy {
        draft_tokens: 4,
        ..Policy::default()
    };
    let mut engine = engine(policy, 4096);
    let requests = requests(&engine);
    let expected = alone(&requests);
    let (mut steps, mut tokens) = (0, 0);
    let mut now = NOW;
    for (request, expected) in requests.iter().zip(&expected) {
        let id = engine.submit(request.clone(), NOW).unwrap();
        let mut events = Vec::new();
        while !engine.is_idle() {
            now += Duration::from_millis(1);
            tokens += engine.step(now, &mut events).unwrap().decode_tokens;
            steps += 1;
        }
        let drawn = events.iter().filter_map(|event| match event {
            Event::Token { request, token, .. } if *request == id => Some(*token),
            _ => None,
        });
        assert_eq!(drawn.collect::<Vec<u32>>(), expected.tokens);
    }
    assert!(
        steps < tokens,
        "some guesses were right: {tokens} tokens in {steps} steps"
    );
    let ids: Vec<RequestId> = requests
        .iter()
        .map(|request| engine.submit(request.clone(), NOW).unwrap())
        .collect();
    assert_eq!(texts(&finish(&mut engine, &ids)), texts(&expected));
    let census = engine.census();
    assert_eq!(census.free_blocks + census.cached_blocks, census.blocks);
}

/// The embedded model with a third of its weights overwritten.
fn noise() -> ModelFile {
    let mut bytes = std::fs::read(models().join("embedded-q8_0.gguf")).unwrap();
    let kept = bytes.len() * 2 / 3;
    bytes[kept..].fill(0x11);
    ModelFile::from_gguf_bytes("noise", bytes).unwrap()
}

/// The model itself guesses all tokens right, another of its shape few; the text is the same. One request at a time, since kernels for
/// many rows add in another order.
#[test]
fn a_draft_model_changes_no_token() {
    let mut steps = Vec::new();
    for draft in [embedded(), Arc::new(noise())] {
        let policy = Policy {
            draft_tokens: 3,
            ..Policy::default()
        };
        let options = EngineOptions {
            threads: 2,
            context: 256,
            cache: CacheSize::Tokens(1024),
            policy,
            draft_model: Some(draft),
            ..EngineOptions::default()
        };
        let mut engine = LlmEngine::load(embedded(), &options, |_, _| ()).unwrap();
        let requests = requests(&engine);
        let expected = alone(&requests);
        let (mut now, mut count) = (NOW, 0);
        let mut run = |engine: &mut LlmEngine, requests: &[TextRequest]| {
            let submitted = requests
                .iter()
                .map(|request| engine.submit(request.clone(), now));
            let ids: Vec<RequestId> = submitted.map(Result::unwrap).collect();
            let mut events = Vec::new();
            while !engine.is_idle() {
                now += Duration::from_millis(1);
                engine.step(now, &mut events).unwrap();
                count += 1;
            }
            let drawn = |id: RequestId| -> Vec<u32> {
                let tokens = events.iter().filter_map(|event| match event {
                    Event::Token { request, token, .. } if *request == id => Some(*token),
                    _ => None,
                });
                tokens.collect()
            };
            ids.into_iter().map(drawn).collect::<Vec<_>>()
        };
        for (request, expected) in requests.iter().zip(&expected) {
            let drawn = run(&mut engine, std::slice::from_ref(request));
            assert_eq!(drawn, std::slice::from_ref(&expected.tokens));
        }
        let together = run(&mut engine, &requests);
        assert!(together.iter().all(|tokens| tokens.len() == 40));
        let census = engine.census();
        assert_eq!(census.free_blocks + census.cached_blocks, census.blocks);
        steps.push(count);
    }
    assert!(
        3 * steps[0] < 2 * steps[1],
        "guesses that are right save steps: {steps:?}"
    );
}

/// Eight bits change logits a little, and texts that are decided by more than that not at all: what is together, cached or alone is still
/// the same.
#[test]
fn keys_and_values_in_eight_bits_serve_as_well() {
    let options = EngineOptions {
        threads: 2,
        context: 256,
        cache: CacheSize::Bytes(1 << 20),
        kv_type: KvType::Q8_0,
        ..EngineOptions::default()
    };
    let mut engine = LlmEngine::load(embedded(), &options, |_, _| ()).unwrap();
    let half = LlmEngine::load(
        embedded(),
        &EngineOptions {
            kv_type: KvType::F16,
            ..options
        },
        |_, _| (),
    )
    .unwrap();
    assert!(
        engine.census().blocks > half.census().blocks * 18 / 10,
        "nearly twice the tokens in the same bytes"
    );
    let requests = requests(&engine);
    let run = |engine: &mut LlmEngine, requests: &[TextRequest]| {
        let submitted = requests
            .iter()
            .map(|request| engine.submit(request.clone(), NOW).unwrap());
        let ids: Vec<RequestId> = submitted.collect();
        finish(engine, &ids)
    };
    let together = run(&mut engine, &requests);
    let cached = run(&mut engine, &requests);
    assert_eq!(texts(&together), texts(&cached));
    let halves = alone(&requests);
    let same = together
        .iter()
        .zip(&halves)
        .filter(|(eight, half)| eight.tokens[..8] == half.tokens[..8]);
    assert!(
        same.count() >= requests.len() - 1,
        "{:?} {:?}",
        texts(&together),
        texts(&halves)
    );
}

#[test]
fn preempted_sequences_compute_again_and_end_the_same() {
    // Room for about two of six.
    let mut engine = engine(
        Policy {
            prefix_cache: false,
            ..Policy::default()
        },
        300,
    );
    let requests = requests(&engine);
    let expected = alone(&requests);
    let ids: Vec<RequestId> = requests
        .iter()
        .map(|request| engine.submit(request.clone(), NOW).unwrap())
        .collect();
    let outcomes = finish(&mut engine, &ids);
    assert_eq!(texts(&outcomes), texts(&expected));
    assert!(engine.census().preemptions > 0, "{:?}", engine.census());
    let recomputed: usize = outcomes
        .iter()
        .map(|outcome| outcome.usage.recomputed_tokens)
        .sum();
    assert!(recomputed > 0);
    assert_eq!(engine.census().free_blocks, engine.census().blocks);
}

#[test]
fn tenants_do_not_see_each_others_prefixes() {
    let mut engine = engine(Policy::default(), 2048);
    let request = |tenant: &str| TextRequest {
        tenant: tenant.into(),
        ..requests(&engine).remove(0)
    };
    let requests = [request("a"), request("b"), request("a")];
    let cached = requests.map(|request| {
        let id = engine.submit(request, NOW).unwrap();
        finish(&mut engine, &[id])[0].usage.cached_tokens
    });
    assert_eq!((cached[0], cached[1]), (0, 0));
    assert!(cached[2] > 0);
}

#[test]
fn a_deadline_ends_a_request_with_what_it_has() {
    let mut engine = engine(Policy::default(), 512);
    let request = TextRequest {
        deadline: Some(Duration::from_secs(1)),
        ..requests(&engine).remove(0)
    };
    engine.submit(request, NOW).unwrap();
    let mut events = Vec::new();
    for second in [0.0, 0.5, 0.9, 1.0] {
        engine
            .step(Duration::from_secs_f64(second), &mut events)
            .unwrap();
    }
    let end = events.pop();
    assert!(
        matches!(end, Some(Event::Finished { reason: FinishReason::TimedOut, usage, .. }) if usage.generated_tokens == 3),
        "{end:?}"
    );
    assert!(engine.is_idle());
}

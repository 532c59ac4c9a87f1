//! The engine as its users see it: requests in, events out.

use std::time::Duration;

use carnot_engine::{
    EngineError, Event, FinishReason, RequestId, Sampling, TextEngine, TextRequest, Usage,
};
use carnot_kernels::InstructionSet;
use carnot_llm::scheduler::Policy;
use carnot_llm::{EngineOptions, LlmEngine};

use crate::{embedded, instruction_sets};

/// The time, where it does not matter.
const NOW: Duration = Duration::ZERO;
const PROMPT: &str = "def read_lines(path):\n";

fn engine_with(options: &EngineOptions) -> LlmEngine {
    LlmEngine::load(embedded(), options, |_, _| ()).unwrap()
}

fn engine() -> LlmEngine {
    engine_with(&EngineOptions {
        threads: 2,
        context: 256,
        policy: chunks_of(8),
        ..EngineOptions::default()
    })
}

fn chunks_of(max_prompt_tokens: usize) -> Policy {
    Policy {
        max_prompt_tokens,
        ..Policy::default()
    }
}

/// Blocks that no sequence holds; what is cached is given up when it is needed.
fn unused_blocks(engine: &LlmEngine) -> usize {
    let census = engine.census();
    census.free_blocks + census.cached_blocks
}

fn request(engine: &LlmEngine, prompt: &str, max_tokens: usize) -> TextRequest {
    TextRequest {
        prompt: engine.tokenizer().encode(prompt, true).unwrap(),
        max_tokens,
        ..TextRequest::default()
    }
}

/// What came of a request.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    text: String,
    tokens: Vec<u32>,
    prefilled: usize,
    end: Option<(FinishReason, Usage)>,
}

impl Outcome {
    fn add(&mut self, event: Event) {
        match event {
            Event::Started { .. } | Event::Prefilling { .. } => (),
            Event::Prefilled { tokens, .. } => self.prefilled += tokens,
            Event::Token { token, text, .. } => {
                self.tokens.push(token);
                self.text += &text;
            }
            Event::Finished {
                reason,
                text,
                usage,
                ..
            } => {
                assert_eq!(self.end, None, "a request ends once");
                self.text += &text;
                self.end = Some((reason, usage));
            }
            other => panic!("an event that this test does not know: {other:?}"),
        }
    }

    fn reason(&self) -> FinishReason {
        self.end.unwrap().0
    }
}

fn run(engine: &mut LlmEngine, request: TextRequest) -> Outcome {
    let before = unused_blocks(engine);
    engine.submit(request, NOW).unwrap();
    let outcome = finish(engine);
    assert_eq!(unused_blocks(engine), before, "every block came back");
    outcome
}

fn finish(engine: &mut LlmEngine) -> Outcome {
    let (mut events, mut outcome) = (Vec::new(), Outcome::default());
    while !engine.is_idle() {
        engine.step(NOW, &mut events).unwrap();
    }
    for event in events {
        outcome.add(event);
    }
    outcome
}

#[test]
fn greedy_text_is_the_same_with_all_instructions_and_threads() {
    let texts = instruction_sets().flat_map(|set| [1, 3].map(|threads| (set, threads)));
    let texts: Vec<String> = texts
        .map(|(set, threads)| {
            let mut engine = engine_with(&EngineOptions {
                threads,
                instruction_set: Some(set),
                ..EngineOptions::default()
            });
            let request = request(&engine, PROMPT, 48);
            run(&mut engine, request).text
        })
        .collect();
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:#?}");
    insta::assert_snapshot!(format!("{PROMPT}{}", texts[0]));
}

#[test]
fn a_request_tells_its_whole_story() {
    let mut engine = engine();
    let request = request(&engine, PROMPT, 12);
    let prompt_tokens = request.prompt.len();
    assert!(prompt_tokens > 8, "the prompt takes more than one chunk");
    let outcome = run(&mut engine, request);
    assert_eq!(
        (outcome.prefilled, outcome.tokens.len()),
        (prompt_tokens, 12)
    );
    let usage = Usage {
        prompt_tokens,
        generated_tokens: 12,
        ..Usage::default()
    };
    assert_eq!(outcome.end, Some((FinishReason::Length, usage)));
    let whole = engine.tokenizer().decode(&outcome.tokens, true).unwrap();
    assert_eq!(outcome.text, whole, "streamed text is the tokens' text");
}

#[test]
fn chunks_of_prefill_do_not_change_the_text() {
    let of = |max_prompt_tokens| {
        let mut engine = engine_with(&EngineOptions {
            policy: chunks_of(max_prompt_tokens),
            ..EngineOptions::default()
        });
        let request = request(&engine, &PROMPT.repeat(6), 24);
        run(&mut engine, request)
    };
    let whole = of(512);
    for chunk in [1, 7, 16, 100] {
        assert_eq!(of(chunk), whole, "chunks of {chunk}");
    }
}

#[test]
fn a_seed_is_a_text() {
    let mut engine = engine();
    let mut of = |seed| {
        let sampling = Sampling {
            temperature: 1.0,
            top_k: 50,
            top_p: 0.95,
            seed,
            ..Sampling::default()
        };
        let request = TextRequest {
            sampling,
            ..request(&engine, PROMPT, 24)
        };
        run(&mut engine, request).tokens
    };
    let [first, again, other] = [7, 7, 8].map(&mut of);
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn a_stop_text_ends_the_text_before_it() {
    let mut engine = engine();
    let plain = request(&engine, PROMPT, 32);
    let whole = run(&mut engine, plain.clone()).text;
    // From inside a word to inside another: no token boundary need be there.
    let at = whole.find(|c: char| c.is_ascii_alphabetic()).unwrap() + 1;
    let stop = &whole[at..at + 9];
    let outcome = run(
        &mut engine,
        TextRequest {
            stop: vec!["not in the text".to_owned(), stop.to_owned()],
            ..plain
        },
    );
    assert_eq!(outcome.reason(), FinishReason::Stop);
    assert_eq!(outcome.text, whole[..whole.find(stop).unwrap()]);
}

#[test]
fn the_end_of_text_ends_the_text_unless_ignored() {
    let mut engine = engine();
    let eos = engine.tokenizer().eos()[0];
    let prompt = "if __name__ == '__main__':\n    unittest.main()\n";
    let plain = request(&engine, prompt, 20);
    let outcome = run(&mut engine, plain.clone());
    assert_eq!(outcome.reason(), FinishReason::Stop, "{outcome:?}");
    assert_eq!(outcome.tokens.last(), Some(&eos));
    let on = run(
        &mut engine,
        TextRequest {
            ignore_eos: true,
            ..plain
        },
    );
    assert_eq!((on.reason(), on.tokens.len()), (FinishReason::Length, 20));
    assert!(on.tokens.contains(&eos), "it went on past the same token");
}

#[test]
fn nothing_asked_is_nothing_generated() {
    let mut engine = engine();
    let nothing = request(&engine, PROMPT, 0);
    let outcome = run(&mut engine, nothing);
    assert_eq!((outcome.tokens.len(), outcome.text.as_str()), (0, ""));
    assert_eq!(outcome.reason(), FinishReason::Length);
}

#[test]
fn a_sequence_ends_where_its_context_does() {
    let mut engine = engine_with(&EngineOptions {
        context: 20,
        ..EngineOptions::default()
    });
    let eager = TextRequest {
        ignore_eos: true,
        ..request(&engine, PROMPT, 1000)
    };
    let prompt_tokens = eager.prompt.len();
    let outcome = run(&mut engine, eager);
    assert_eq!(outcome.reason(), FinishReason::Length);
    assert_eq!(prompt_tokens + outcome.tokens.len(), 20);
}

#[test]
fn cancelling_gives_everything_back_at_any_time() {
    let mut engine = engine();
    let baseline = unused_blocks(&engine);
    let long = request(&engine, &PROMPT.repeat(8), 64);
    let prefill_steps = long.prompt.len().div_ceil(8);
    for steps in [0, 1, prefill_steps - 1, prefill_steps, prefill_steps + 5] {
        let mut events = Vec::new();
        let id = engine.submit(long.clone(), NOW).unwrap();
        for _ in 0..steps {
            engine.step(NOW, &mut events).unwrap();
        }
        assert_eq!(unused_blocks(&engine) < baseline, steps > 0);
        engine.cancel(id);
        engine.step(NOW, &mut events).unwrap();
        assert!(
            matches!(
                events.last(),
                Some(Event::Finished {
                    reason: FinishReason::Cancelled,
                    ..
                })
            ),
            "after {steps} steps: {events:?}"
        );
        assert!(engine.is_idle() && unused_blocks(&engine) == baseline);
    }
}

#[test]
fn cancelling_what_is_not_there_does_nothing() {
    let mut engine = engine();
    engine.cancel(RequestId(99));
    let short = request(&engine, PROMPT, 4);
    let done = engine.submit(short.clone(), NOW).unwrap();
    assert_eq!(finish(&mut engine).tokens.len(), 4);
    engine.cancel(done);
    assert_eq!(run(&mut engine, short).tokens.len(), 4);
}

#[test]
fn requests_wait_their_turn_and_a_waiting_one_can_be_cancelled() {
    let mut engine = engine();
    let short = request(&engine, PROMPT, 3);
    let ids = [0; 3].map(|_| engine.submit(short.clone(), NOW).unwrap());
    engine.cancel(ids[1]);
    let mut events = Vec::new();
    while !engine.is_idle() {
        engine.step(NOW, &mut events).unwrap();
    }
    let ends: Vec<(RequestId, FinishReason)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Finished {
                request, reason, ..
            } => Some((*request, *reason)),
            _ => None,
        })
        .collect();
    let expected = [
        (ids[1], FinishReason::Cancelled),
        (ids[0], FinishReason::Length),
        (ids[2], FinishReason::Length),
    ];
    assert_eq!(ends, expected);
}

#[test]
fn bad_requests_are_refused_and_the_engine_goes_on() {
    let mut engine = engine();
    let good = request(&engine, PROMPT, 4);
    run(&mut engine, good.clone());
    let expected = run(&mut engine, good.clone());
    let vocabulary = engine.model().vocabulary as u32;
    let with = |prompt| TextRequest {
        prompt,
        ..good.clone()
    };
    let hot = Sampling {
        temperature: f32::NAN,
        ..Sampling::default()
    };
    let bad = [
        with(Vec::new()),
        with(vec![5, vocabulary, 6]),
        with(vec![5, u32::MAX]),
        with(vec![5; 256]),
        TextRequest {
            sampling: hot,
            ..good.clone()
        },
    ];
    for request in bad {
        let error = engine.submit(request, NOW).unwrap_err();
        assert!(
            matches!(
                error,
                EngineError::EmptyPrompt
                    | EngineError::UnknownToken { .. }
                    | EngineError::ContextExceeded {
                        prompt: 256,
                        context: 256
                    }
                    | EngineError::InvalidParameter { .. }
            ),
            "{error}"
        );
        assert!(engine.is_idle(), "nothing was queued after: {error}");
        assert_eq!(run(&mut engine, good.clone()), expected);
    }
    assert_eq!(run(&mut engine, with(vec![5; 255])).tokens.len(), 1);
}

#[test]
fn an_engine_without_work_does_nothing() {
    let mut engine = engine_with(&EngineOptions {
        instruction_set: Some(InstructionSet::Scalar),
        ..EngineOptions::default()
    });
    let mut events = Vec::new();
    let outcome = engine.step(NOW, &mut events).unwrap();
    assert_eq!((outcome.prefill_tokens, outcome.decode_tokens), (0, 0));
    assert!(events.is_empty() && engine.is_idle());
}

#[test]
fn a_token_that_is_none_is_told_from_a_failure() {
    let codec = engine().codec();
    let error = codec.decode(&[1, u32::MAX]).unwrap_err();
    let EngineError::UnknownToken {
        token, position, ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((token, position), (u32::MAX, 1));
}

//! Texts that have to have a form.

use std::time::Duration;

use carnot_engine::{EngineError, Event, FinishReason, Grammar, Sampling, TextEngine, TextRequest};
use carnot_llm::{EngineOptions, LlmEngine};

use crate::embedded;

const NOW: Duration = Duration::ZERO;

fn engine() -> LlmEngine {
    let options = EngineOptions {
        threads: 2,
        context: 512,
        ..EngineOptions::default()
    };
    LlmEngine::load(embedded(), &options, |_, _| ()).unwrap()
}

fn request(engine: &LlmEngine, grammar: Grammar, seed: u64) -> TextRequest {
    TextRequest {
        prompt: engine
            .tokenizer()
            .encode("import json\nvalue = ", true)
            .unwrap(),
        max_tokens: 200,
        grammar: Some(grammar),
        sampling: Sampling {
            temperature: 1.0,
            seed,
            ..Sampling::default()
        },
        ..TextRequest::default()
    }
}

fn run(engine: &mut LlmEngine, request: TextRequest) -> (String, FinishReason) {
    engine.submit(request, NOW).unwrap();
    let (mut events, mut text) = (Vec::new(), String::new());
    while !engine.is_idle() {
        engine.step(NOW, &mut events).unwrap();
    }
    let mut end = None;
    for event in events {
        match event {
            Event::Token { text: piece, .. } => text += &piece,
            Event::Finished {
                text: rest, reason, ..
            } => {
                text += &rest;
                end = Some(reason);
            }
            _ => (),
        }
    }
    (text, end.unwrap())
}

#[test]
fn json_is_what_its_schema_says() {
    let mut engine = engine();
    let schema = r#"{
        "type": "object",
        "properties": { "name": { "type": "string", "maxLength": 12 }, "size": { "type": "integer", "minimum": 0, "maximum": 9999 }, "kind": { "enum": ["a", "b"] } },
        "required": ["name", "size", "kind"],
        "additionalProperties": false
    }"#;
    for seed in 0..20 {
        let request = request(&engine, Grammar::JsonSchema(schema.to_owned()), seed);
        let (text, reason) = run(&mut engine, request);
        assert_eq!(reason, FinishReason::Stop, "{text}");
        let value: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(
            value["name"].as_str().unwrap().chars().count() <= 12,
            "{text}"
        );
        assert!(
            value["size"].is_number() && ["a", "b"].contains(&value["kind"].as_str().unwrap()),
            "{text}"
        );
        assert_eq!(value.as_object().unwrap().len(), 3);
    }
}

#[test]
fn regular_expressions_and_grammars_are_followed_to_their_end() {
    let mut engine = engine();
    for seed in 0..10 {
        let phone = request(
            &engine,
            Grammar::Regex("[0-9]{3}-[0-9]{4}".to_owned()),
            seed,
        );
        let (text, reason) = run(&mut engine, phone);
        let digits = text.chars().filter(char::is_ascii_digit).count();
        assert_eq!(
            (text.len(), digits, text.find('-'), reason),
            (8, 7, Some(3), FinishReason::Stop),
            "{text}"
        );
        let either = request(
            &engine,
            Grammar::Lark("start: \"yes\" | \"no\"".to_owned()),
            seed,
        );
        let (text, reason) = run(&mut engine, either);
        assert!(
            ["yes", "no"].contains(&text.as_str()) && reason == FinishReason::Stop,
            "{text}"
        );
    }
}

#[test]
fn grammars_that_are_none_are_refused() {
    let mut engine = engine();
    for bad in [
        Grammar::Regex("(foo".to_owned()),
        Grammar::JsonSchema("{".to_owned()),
        Grammar::JsonSchema(r#"{"type": "strin"}"#.to_owned()),
        Grammar::Lark("start: missing".to_owned()),
        Grammar::Regex("a".repeat(1 << 20)),
    ] {
        let request = request(&engine, bad.clone(), 0);
        let error = engine.submit(request, NOW).expect_err(&format!("{bad:?}"));
        assert!(
            matches!(error, EngineError::InvalidGrammar { .. }),
            "{bad:?}: {error}"
        );
        assert!(!error.to_string().contains('\n'), "one line: {error}");
        assert!(engine.is_idle());
    }
}

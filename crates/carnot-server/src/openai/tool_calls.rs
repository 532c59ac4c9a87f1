//! Calls of tools in what a model writes: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, as Hermes, Qwen and their like have it.
//!
//! Text goes on at once, but for what may be the beginning of a call; a call goes on when it is complete. What looks like a call and is none
//! stays text.

use serde::Deserialize;
use serde_json::{Value, json};

use super::plan::any_number;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// Something that a model wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Call(Call),
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub name: String,
    /// JSON, as OpenAI's clients expect it.
    pub arguments: String,
}

impl Call {
    /// In OpenAI's form, with a name of its own.
    pub fn told(&self) -> Value {
        json!({
            "id": format!("call_{:016x}", any_number()),
            "type": "function",
            "function": { "name": self.name, "arguments": self.arguments },
        })
    }
}

/// Tells calls from text, piece by piece.
#[derive(Clone, Debug, Default)]
pub(super) struct ToolCalls {
    /// What may be a call.
    held: String,
    count: usize,
}

impl ToolCalls {
    /// How many calls there were.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What is certain after `text`.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held += text;
        let mut pieces = Vec::new();
        while let Some(begin) = self.held.find(OPEN) {
            let Some(length) = self.held[begin..].find(CLOSE) else {
                break;
            };
            let end = begin + length + CLOSE.len();
            let inside = &self.held[begin + OPEN.len()..end - CLOSE.len()];
            match parse(inside) {
                Some(call) => {
                    add_text(&mut pieces, self.held[..begin].trim_end());
                    pieces.push(Piece::Call(call));
                    self.count += 1;
                }
                None => add_text(&mut pieces, &self.held[..end]),
            }
            self.held.drain(..end);
        }
        let certain = self
            .held
            .find(OPEN)
            .unwrap_or_else(|| self.held.len() - partial(&self.held));
        // Space before a call is no part of an answer.
        let certain = self.held[..certain].trim_end().len();
        add_text(&mut pieces, &self.held[..certain]);
        self.held.drain(..certain);
        pieces
    }

    /// What is left when nothing follows.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let rest = std::mem::take(&mut self.held);
        let is_space_after_a_call = self.count > 0 && rest.trim().is_empty();
        if !is_space_after_a_call {
            add_text(&mut pieces, &rest);
        }
        pieces
    }
}

fn add_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Bytes at the end of `text` that may be the beginning of a call.
fn partial(text: &str) -> usize {
    let longest = text.len().min(OPEN.len() - 1);
    let lengths = (1..=longest).rev();
    let mut matching = lengths.filter(|&length| text.ends_with(&OPEN[..length]));
    matching.next().unwrap_or(0)
}

fn parse(inside: &str) -> Option<Call> {
    #[derive(Deserialize)]
    struct Written {
        name: String,
        #[serde(default)]
        arguments: Value,
    }
    let written: Written = serde_json::from_str(inside.trim()).ok()?;
    let arguments = match written.arguments {
        Value::Null => "{}".to_owned(),
        Value::String(text) => text,
        value => value.to_string(),
    };
    Some(Call {
        name: written.name,
        arguments,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that comes of `text`, cut after every `step` characters; neighbouring texts are put together.
    fn pieces(text: &str, step: usize) -> Vec<Piece> {
        let mut calls = ToolCalls::default();
        let letters: Vec<char> = text.chars().collect();
        let parts = letters
            .chunks(step)
            .map(|part| part.iter().collect::<String>());
        let mut all: Vec<Piece> = parts.flat_map(|part| calls.push(&part)).collect();
        all.extend(calls.finish());
        let mut joined: Vec<Piece> = Vec::new();
        for piece in all {
            match (joined.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(text)) => *before += &text,
                (_, piece) => joined.push(piece),
            }
        }
        joined
    }

    fn call(name: &str, arguments: &str) -> Piece {
        Piece::Call(Call {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        })
    }

    #[test]
    fn calls_are_told_from_text_however_they_are_cut() {
        let text = "Let me see.\n<tool_call>\n{\"name\": \"now\", \"arguments\": {\"zone\": \"<UTC>\"}}\n</tool_call>\n<tool_call>{\"name\": \"add\"}</tool_call>\n";
        for step in 1..text.len() {
            let expected = [
                Piece::Text("Let me see.".to_owned()),
                call("now", r#"{"zone":"<UTC>"}"#),
                call("add", "{}"),
            ];
            assert_eq!(pieces(text, step), expected, "{step}");
        }
    }

    #[test]
    fn what_is_no_call_stays_text() {
        for text in [
            "a <tool_call>nonsense</tool_call> b",
            "a < b <tool",
            "unfinished <tool_call>{\"name\": \"x\"}",
            "spaces at the end  \n",
            "é<tool_é",
        ] {
            for step in [1, 2, 5, 100] {
                assert_eq!(
                    pieces(text, step),
                    [Piece::Text(text.to_owned())],
                    "{text} {step}"
                );
            }
        }
    }
}

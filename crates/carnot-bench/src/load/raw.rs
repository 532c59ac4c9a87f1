//! What is kept of answers: their times, as numbers that any tool can read; a JSON object a line.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::{Answer, Run};

/// One request. Times are in nanoseconds from the beginning of the load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raw {
    /// Of its conversation, from 1; where a file does not say, it is the only one.
    #[serde(default = "first_turn")]
    pub turn: u32,
    /// When it was to be sent.
    pub due_ns: u64,
    /// When it was.
    pub sent_ns: u64,
    /// When pieces of text came.
    pub pieces_ns: Vec<u64>,
    /// When it ended.
    pub ended_ns: u64,
    /// Tokens of the prompt by the server's count; 0 where it did not say.
    pub prompt_tokens: u64,
    /// Tokens of the answer by the server's count; its pieces where it did not say.
    pub tokens: u64,
    /// Tokens of the prompt that the server had kept.
    pub cached_tokens: u64,
    /// Rows of tensors that it asked for; 0 where it asked for text.
    #[serde(default, skip_serializing_if = "is_none")]
    pub rows: u64,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

fn first_turn() -> u32 {
    1
}

fn is_none(rows: &u64) -> bool {
    *rows == 0
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            turn: first_turn(),
            due_ns: 0,
            sent_ns: 0,
            pieces_ns: Vec::new(),
            ended_ns: 0,
            prompt_tokens: 0,
            tokens: 0,
            cached_tokens: 0,
            rows: 0,
            failure: None,
        }
    }
}

impl Raw {
    /// All requests of a run.
    pub fn of(run: &Run) -> Vec<Self> {
        let one = |answer: &Answer| {
            let since = |at: std::time::Instant| at.saturating_duration_since(run.begin).as_nanos();
            let [prompt, generated, cached] =
                answer.usage.unwrap_or([0, answer.pieces.len() as u64, 0]);
            Self {
                turn: answer.turn,
                due_ns: since(answer.due) as u64,
                sent_ns: since(answer.sent) as u64,
                pieces_ns: answer.pieces.iter().map(|at| since(*at) as u64).collect(),
                ended_ns: since(answer.ended) as u64,
                prompt_tokens: prompt,
                tokens: generated,
                cached_tokens: cached,
                rows: answer.rows,
                failure: answer.outcome.as_ref().err().map(ToString::to_string),
            }
        };
        run.answers.iter().map(one).collect()
    }
}

/// Writes `requests`, one a line.
pub fn write_raw(requests: &[Raw], mut to: impl Write) -> io::Result<()> {
    for request in requests {
        serde_json::to_writer(&mut to, request)?;
        to.write_all(b"\n")?;
    }
    to.flush()
}

/// Reads what [`write_raw`] wrote; an error says in which line what is wrong.
pub fn read_raw(from: impl BufRead) -> Result<Vec<Raw>, String> {
    let mut requests = Vec::new();
    for (number, line) in (1..).zip(from.lines()) {
        let line = line.map_err(|error| format!("line {number}: {error}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let request = serde_json::from_str(&line);
        requests.push(request.map_err(|error| format!("line {number}: {error}"))?);
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let request = Raw {
            turn: 2,
            due_ns: 1,
            sent_ns: 2,
            pieces_ns: vec![5, 9],
            ended_ns: 10,
            prompt_tokens: 7,
            tokens: 2,
            cached_tokens: 0,
            rows: 4,
            failure: None,
        };
        let failed = Raw {
            failure: Some("status 503: full".to_owned()),
            ..request.clone()
        };
        let mut text = Vec::new();
        write_raw(&[request.clone(), failed.clone()], &mut text).unwrap();
        assert_eq!(read_raw(&text[..]), Ok(vec![request, failed]));
        let old = br#"{"due_ns":0,"sent_ns":0,"pieces_ns":[],"ended_ns":0,"prompt_tokens":0,"tokens":0,"cached_tokens":0}"#;
        assert_eq!(read_raw(&old[..]), Ok(vec![Raw::default()]));
        let error = read_raw(&b"\n{\"due_ns\": 1}\n"[..]).unwrap_err();
        assert!(error.starts_with("line 2: missing field"), "{error}");
    }
}

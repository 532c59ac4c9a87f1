//! What others asked, and when: traces of requests.
//!
//! | form | a line | time |
//! |---|---|---|
//! | CSV | `due_s,prompt_tokens,tokens`, with that heading | seconds |
//! | Mooncake | `{"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": […]}`; an id is a block of 512 tokens that all prompts with it share | milliseconds |
//! | `BurstGPT` | CSV with the columns `Timestamp`, `Request tokens`, `Response tokens` | seconds |
//!
//! Traces have lengths and no texts: prompts are words, so many as tokens, the same words for the same block.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::prompts::words;
use super::{Arrivals, Ask};

/// Tokens that a hash of Mooncake's stands for.
const BLOCK: usize = 512;

/// The form of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceForm {
    /// Our own.
    Csv,
    /// Moonshot's.
    Mooncake,
    /// `BurstGPT`'s.
    BurstGpt,
}

impl fmt::Display for TraceForm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Csv => "CSV",
            Self::Mooncake => "Mooncake",
            Self::BurstGpt => "BurstGPT",
        })
    }
}

/// A trace that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Its form.
    pub form: TraceForm,
    /// When requests are due, the first at once.
    pub arrivals: Arrivals,
    /// What they ask, in the same order.
    pub asks: Vec<Ask>,
    /// From the first to the last.
    pub span: Duration,
}

/// A line of any of the forms.
struct Line {
    at_s: f64,
    prompt: usize,
    tokens: usize,
    blocks: Vec<u64>,
}

#[derive(Deserialize)]
struct Mooncake {
    timestamp: f64,
    input_length: usize,
    output_length: usize,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

impl Replay {
    /// Reads a trace whose form its first line tells, and plays it `speed` times as fast.
    ///
    /// # Errors
    /// The line in which something else was found than its form has.
    pub fn read(text: &str, speed: f64) -> Result<Self, String> {
        let mut lines = (1_usize..)
            .zip(text.lines())
            .filter(|(_, line)| !line.trim().is_empty());
        let (_, first) = lines
            .clone()
            .next()
            .ok_or("expected a trace, got nothing")?;
        let form = form(first)?;
        let parsed: Result<Vec<Line>, String> = match form {
            TraceForm::Mooncake => lines.map(|(number, line)| mooncake(number, line)).collect(),
            TraceForm::Csv | TraceForm::BurstGpt => {
                let columns = columns(form, first)?;
                lines.next();
                lines
                    .map(|(number, line)| row(number, line, columns))
                    .collect()
            }
        };
        let mut parsed = parsed?;
        parsed.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let begin = parsed
            .first()
            .ok_or("expected requests after the heading, got none")?
            .at_s;
        let offsets: Vec<Duration> = parsed
            .iter()
            .map(|line| Duration::from_secs_f64((line.at_s - begin) / speed))
            .collect();
        Ok(Self {
            form,
            span: offsets.last().copied().unwrap_or_default(),
            arrivals: Arrivals::Recorded(offsets.into()),
            asks: (0..)
                .zip(&parsed)
                .map(|(index, line)| ask(index, line))
                .collect(),
        })
    }
}

fn form(first: &str) -> Result<TraceForm, String> {
    if first.trim_start().starts_with('{') {
        return Ok(TraceForm::Mooncake);
    }
    let has = |name: &str| {
        first
            .split(',')
            .any(|column| column.trim().eq_ignore_ascii_case(name))
    };
    if has("due_s") {
        Ok(TraceForm::Csv)
    } else if has("Request tokens") {
        Ok(TraceForm::BurstGpt)
    } else {
        Err(format!(
            "line 1: expected a heading with due_s,prompt_tokens,tokens or Timestamp,Request tokens,Response tokens, or an object of Mooncake's, got {first}"
        ))
    }
}

/// Where time, prompt and answer stand.
fn columns(form: TraceForm, heading: &str) -> Result<[usize; 3], String> {
    let names = match form {
        TraceForm::BurstGpt => ["Timestamp", "Request tokens", "Response tokens"],
        _ => ["due_s", "prompt_tokens", "tokens"],
    };
    let place = |name: &str| {
        let mut columns = heading.split(',');
        let found = columns.position(|column| column.trim().eq_ignore_ascii_case(name));
        found.ok_or_else(|| format!("line 1: expected a column {name}, got {heading}"))
    };
    Ok([place(names[0])?, place(names[1])?, place(names[2])?])
}

fn row(number: usize, line: &str, columns: [usize; 3]) -> Result<Line, String> {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    let of = |column: usize| {
        let cell = cells.get(column).copied().unwrap_or("nothing");
        let value: Option<f64> = cell.parse().ok().filter(|value| *value >= 0.0);
        value.ok_or_else(|| format!("line {number}: expected a number, at least 0, got {cell}"))
    };
    Ok(Line {
        at_s: of(columns[0])?,
        prompt: of(columns[1])? as usize,
        tokens: of(columns[2])? as usize,
        blocks: Vec::new(),
    })
}

fn mooncake(number: usize, line: &str) -> Result<Line, String> {
    let line: Mooncake =
        serde_json::from_str(line).map_err(|error| format!("line {number}: {error}"))?;
    if line.timestamp < 0.0 {
        return Err(format!(
            "line {number}: expected a timestamp, at least 0, got {}",
            line.timestamp
        ));
    }
    Ok(Line {
        at_s: line.timestamp / 1e3,
        prompt: line.input_length,
        tokens: line.output_length,
        blocks: line.hash_ids,
    })
}

/// Words of the blocks, as far as the prompt is long; a prompt without blocks is like no other.
fn ask(index: u64, line: &Line) -> Ask {
    let length = line.prompt.max(1);
    let mut left = length;
    let mut parts = Vec::new();
    for &block in &line.blocks {
        let count = left.min(BLOCK);
        if count == 0 {
            break;
        }
        parts.push(words(count, block));
        left -= count;
    }
    if left > 0 {
        // No hash is so large.
        parts.push(words(left, u64::MAX - index));
    }
    Ask {
        prompt: parts.join(" ").into(),
        tokens: line.tokens.max(1),
        later: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(replay: &Replay) -> Vec<u128> {
        replay
            .arrivals
            .offsets(0)
            .map(|due| due.as_millis())
            .collect()
    }

    fn lengths(replay: &Replay) -> Vec<(usize, usize)> {
        let length = |ask: &Ask| (ask.prompt.split(' ').count(), ask.tokens);
        replay.asks.iter().map(length).collect()
    }

    #[test]
    fn each_form_is_told_by_its_first_line() {
        let own = Replay::read("due_s,prompt_tokens,tokens\n10,4,2\n10.5,6,3\n", 1.0).unwrap();
        assert_eq!((own.form, times(&own)), (TraceForm::Csv, vec![0, 500]));
        assert_eq!(lengths(&own), [(4, 2), (6, 3)]);
        let burst = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                     5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,230,1317,Conversation log\n";
        let burst = Replay::read(burst, 10.0).unwrap();
        assert_eq!(
            (burst.form, times(&burst)),
            (TraceForm::BurstGpt, vec![0, 4000])
        );
        assert_eq!(lengths(&burst), [(472, 18), (1087, 230)]);
        assert_eq!(burst.span, Duration::from_secs(4));
    }

    #[test]
    fn prompts_of_mooncake_share_the_blocks_that_they_share() {
        let trace = "{\"timestamp\": 3000, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [1, 3]}\n\
                     {\"timestamp\": 0, \"input_length\": 700, \"output_length\": 6, \"hash_ids\": [1, 2]}\n";
        let replay = Replay::read(trace, 1.0).unwrap();
        assert_eq!(
            (replay.form, times(&replay)),
            (TraceForm::Mooncake, vec![0, 3000])
        );
        assert_eq!(lengths(&replay), [(700, 6), (600, 5)]);
        let of = |index: usize| -> Vec<&str> { replay.asks[index].prompt.split(' ').collect() };
        assert_eq!(of(0)[..512], of(1)[..512]);
        assert_ne!(of(0)[512..600], of(1)[512..600]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let error = |text: &str| Replay::read(text, 1.0).unwrap_err();
        assert_eq!(
            error("due_s,prompt_tokens,tokens\n1,x,2\n"),
            "line 2: expected a number, at least 0, got x"
        );
        assert_eq!(
            error("due_s,prompt_tokens,tokens\n1\n"),
            "line 2: expected a number, at least 0, got nothing"
        );
        assert!(error("a,b\n").starts_with("line 1: expected a heading"));
        assert!(error("{\"timestamp\": 1}\n").starts_with("line 1: missing field"));
        assert_eq!(error(""), "expected a trace, got nothing");
        assert_eq!(
            error("due_s,prompt_tokens,tokens\n"),
            "expected requests after the heading, got none"
        );
    }
}

//! What can be typed after `cargo xtask bench`.

use std::fmt::Write as _;

use anyhow::{Context, bail, ensure};

use super::definition::{self, Case};

pub const USAGE: &str = "\
usage: cargo xtask bench [NAME…] [OPTION…]

  NAME                 a set of benchmarks/definitions, or SET/ROW or SET/ROW/TYPE for a part of it [default: smoke]
  --list               what there is
  --render             write tables and records anew from the turns of kept runs; measure nothing
  --quick              2 rounds, whatever the noise: to try out, never kept
  --rounds N           rounds at least, in place of the definition's
  --only WHO           carnot or peers: the others do not take part, and the run is not kept
  --peer-python PATH   a Python with llama-cpp-python [default: $CARNOT_BENCH_PYTHON, or python3]

Runs of all engines with 5 rounds or more are kept in benchmarks/results and shown in benchmarks/README.md, others in
target/bench/results. How it is measured: benchmarks/METHODOLOGY.md.";

/// Where the Python is looked for, if it is not given.
const PYTHON_VARIABLE: &str = "CARNOT_BENCH_PYTHON";
/// Fewer rounds have no interval worth keeping.
pub const KEPT_ROUNDS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    Carnot,
    Peers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Measure,
    List,
    Render,
    Help,
}

/// A set, one of its rows, or a row with one type of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub set: String,
    pub row: Option<String>,
    pub dtype: Option<String>,
}

#[derive(Debug)]
pub struct Arguments {
    pub mode: Mode,
    pub selections: Vec<Selection>,
    pub rounds: Option<usize>,
    pub quick: bool,
    pub only: Option<Only>,
    peer_python: Option<String>,
    /// What was typed, without the path of the Python, which says nothing elsewhere.
    pub command: String,
}

impl Arguments {
    pub fn parse(words: &[String]) -> anyhow::Result<Self> {
        let mut arguments = Self {
            mode: Mode::Measure,
            selections: Vec::new(),
            rounds: None,
            quick: false,
            only: None,
            peer_python: None,
            command: "cargo xtask bench".to_owned(),
        };
        let mut rest = words.iter().map(String::as_str);
        while let Some(word) = rest.next() {
            let mut value = || {
                rest.next()
                    .with_context(|| format!("{word}: expected a value"))
            };
            let mut typed = word.to_owned();
            match word {
                "--list" => arguments.mode = Mode::List,
                "--render" => arguments.mode = Mode::Render,
                "--help" | "-h" => arguments.mode = Mode::Help,
                "--quick" => arguments.quick = true,
                "--rounds" => {
                    let text = value()?;
                    arguments.rounds = Some(rounds(text)?);
                    typed = format!("--rounds {text}");
                }
                "--only" => {
                    let text = value()?;
                    arguments.only = Some(only(text)?);
                    typed = format!("--only {text}");
                }
                "--peer-python" => {
                    arguments.peer_python = Some(value()?.to_owned());
                    "--peer-python PYTHON".clone_into(&mut typed);
                }
                option if option.starts_with('-') => bail!("no option {option}\n\n{USAGE}"),
                name => arguments.selections.push(Selection::parse(name)?),
            }
            let _ = write!(arguments.command, " {typed}");
        }
        if arguments.selections.is_empty() {
            arguments.selections.push(Selection::parse("smoke")?);
        }
        Ok(arguments)
    }

    /// The Python that should have llama.cpp.
    pub fn python(&self) -> String {
        let given = self.peer_python.clone();
        given
            .or_else(|| std::env::var(PYTHON_VARIABLE).ok())
            .unwrap_or_else(|| "python3".to_owned())
    }
}

impl Selection {
    /// Whether `case` of the set is chosen.
    pub fn has(&self, case: &Case) -> bool {
        let row = self.row.as_ref().is_none_or(|row| *row == case.row);
        row && (self.dtype.is_none() || self.dtype.as_deref() == case.model.dtype())
    }

    fn parse(name: &str) -> anyhow::Result<Self> {
        let mut parts = name.splitn(3, '/').map(str::to_owned);
        let set = parts.next().unwrap_or_default();
        let known = definition::names()?;
        let expected = known.join(", ");
        ensure!(
            known.contains(&set),
            "no set {set} in benchmarks/definitions; expected {expected}"
        );
        Ok(Self {
            set,
            row: parts.next(),
            dtype: parts.next(),
        })
    }
}

fn rounds(text: &str) -> anyhow::Result<usize> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.with_context(|| format!("--rounds: expected a whole number from 1, got {text}"))
}

fn only(text: &str) -> anyhow::Result<Only> {
    match text {
        "carnot" => Ok(Only::Carnot),
        "peers" => Ok(Only::Peers),
        _ => bail!("--only: expected carnot or peers, got {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> anyhow::Result<Arguments> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&words)
    }

    #[test]
    fn a_line_is_understood_and_told_without_paths() {
        let found =
            parse("limit/decode/F16 embedded --rounds 7 --only peers --peer-python /x/python")
                .unwrap();
        let [set, row, dtype] = ["limit", "decode", "F16"].map(str::to_owned);
        let (row, dtype) = (Some(row), Some(dtype));
        assert_eq!(found.selections[0], Selection { set, row, dtype });
        assert_eq!(found.selections[1].row, None);
        assert_eq!((found.rounds, found.only), (Some(7), Some(Only::Peers)));
        assert_eq!(found.python(), "/x/python");
        let expected = "cargo xtask bench limit/decode/F16 embedded --rounds 7 --only peers --peer-python PYTHON";
        assert_eq!(found.command, expected);
        assert_eq!(parse("").unwrap().selections[0].set, "smoke");
    }

    #[test]
    fn wrong_lines_say_what_was_expected() {
        let cases = [
            (
                "--rounds 0",
                "--rounds: expected a whole number from 1, got 0",
            ),
            ("--rounds", "--rounds: expected a value"),
            ("--only us", "--only: expected carnot or peers, got us"),
            ("--rendr", "no option --rendr"),
            (
                "nothing",
                "no set nothing in benchmarks/definitions; expected ",
            ),
        ];
        for (line, expected) in cases {
            let found = parse(line).unwrap_err().to_string();
            assert!(found.starts_with(expected), "{line}: {found}");
        }
    }
}

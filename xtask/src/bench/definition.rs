//! What is measured: `benchmarks/definitions/*.toml`, one set of rows a file, named by the file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::workspace;

const FOLDER: &str = "benchmarks/definitions";

/// Storage types that `carnot synth` writes.
const TYPES: [&str; 15] = [
    "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K",
    "Q6_K", "IQ4_NL", "MXFP4",
];
/// Shapes that `carnot synth` writes.
const PRESETS: [&str; 5] = ["150m", "0.5b", "1b", "3b", "8b"];

/// A file of rows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// What the set is for, in a sentence.
    pub about: String,
    /// Whether other engines take part.
    #[serde(default = "yes")]
    pub peers: bool,
    /// Worker threads of every engine.
    #[serde(default = "two")]
    pub threads: usize,
    /// Rounds that are always run.
    #[serde(default = "five")]
    pub rounds: usize,
    /// Rounds at most, where the first were too noisy.
    #[serde(default = "fifteen")]
    pub most_rounds: usize,
    /// The widest interval that is still reported, as a share of the median.
    #[serde(default = "quarter")]
    pub widest: f64,
    /// The share of the cores that others may use during a round that counts.
    #[serde(default = "twentieth")]
    pub disturbance: f64,
    /// How long an engine may take for one answer, filling its cache included.
    #[serde(default = "half_an_hour")]
    pub timeout_s: u64,
    pub rows: Vec<Row>,
}

/// One kind of work, on one or several models.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Unique in the set.
    pub name: String,
    pub work: Phase,
    /// A model of the repository; this, or `preset` with `types`.
    pub path: Option<String>,
    /// A shape of `carnot synth`.
    pub preset: Option<String>,
    /// Storage types of the weights, each a row of the table.
    #[serde(default)]
    pub types: Vec<String>,
    /// Tokens of each sequence that are timed.
    pub tokens: usize,
    /// Tokens of each sequence that are in the cache before.
    #[serde(default)]
    pub depth: usize,
    #[serde(default = "one")]
    pub sequences: usize,
    /// Tokens of each sequence that are processed just before the clock starts, and forgotten.
    pub warmup: Option<usize>,
    /// How often the timed part is done for one sample, where once is too short to time.
    #[serde(default = "one")]
    pub repeat: usize,
    /// The ratio to the best peer that is promised.
    pub at_least: Option<f64>,
    /// The ratio that is hoped for.
    pub aim: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Prefill,
    Decode,
    /// A fresh process: load the model, evaluate a prompt, have the first token.
    FirstToken,
}

/// What every engine is told to do; its JSON is the line that drivers read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    pub phase: Phase,
    pub tokens: usize,
    pub depth: usize,
    pub sequences: usize,
    pub warmup: usize,
    pub repeat: usize,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Model {
    /// A file of the repository.
    File(String),
    /// A preset and a storage type of `carnot synth`.
    Synthetic(String, String),
}

/// A row on one model: what a line of the table shows.
#[derive(Clone, Debug)]
pub struct Case {
    /// The row's name.
    pub row: String,
    pub model: Model,
    pub work: Work,
    pub at_least: Option<f64>,
    pub aim: Option<f64>,
}

impl Definition {
    /// Reads the set called `name`.
    pub fn read(name: &str) -> anyhow::Result<Self> {
        let path = path(name);
        let text = fs::read_to_string(&path).with_context(|| {
            let known = names().unwrap_or_default().join(", ");
            format!("no set {name} in {FOLDER}; expected {known}")
        })?;
        Self::parse(&text).with_context(|| format!("{FOLDER}/{name}.toml"))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let definition: Self = toml::from_str(text)?;
        definition.check()?;
        Ok(definition)
    }

    fn check(&self) -> anyhow::Result<()> {
        let Self {
            threads, rounds, ..
        } = self;
        ensure!(*threads >= 1, "threads: expected at least 1, got {threads}");
        ensure!(*rounds >= 1, "rounds: expected at least 1, got {rounds}");
        let most = self.most_rounds;
        ensure!(
            most >= *rounds,
            "most_rounds: expected at least the {rounds} of rounds, got {most}"
        );
        let widest = self.widest;
        ensure!(
            widest > 0.0,
            "widest: expected a share above 0, got {widest}"
        );
        ensure!(
            !self.rows.is_empty(),
            "rows: expected at least one, got none"
        );
        for (index, row) in self.rows.iter().enumerate() {
            let name = &row.name;
            let is_new = self.rows[..index].iter().all(|other| other.name != *name);
            ensure!(is_new, "rows: {name} is there twice");
            row.check().with_context(|| format!("row {name}"))?;
        }
        Ok(())
    }

    /// All rows on all their models, in the order of the file.
    pub fn cases(&self) -> Vec<Case> {
        self.rows.iter().flat_map(Row::cases).collect()
    }
}

impl Row {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.name.is_empty(), "name: expected a word, got nothing");
        ensure!(self.tokens >= 1, "tokens: expected at least 1, got 0");
        ensure!(self.sequences >= 1, "sequences: expected at least 1, got 0");
        ensure!(self.repeat >= 1, "repeat: expected at least 1, got 0");
        match (&self.path, &self.preset) {
            (Some(path), None) => {
                ensure!(self.types.is_empty(), "types: {path} has its own");
                let exists = workspace::root().join(path).is_file();
                ensure!(exists, "path: nothing is at {path}");
            }
            (None, Some(preset)) => {
                let known = PRESETS.contains(&preset.as_str());
                let expected = PRESETS.join(", ");
                ensure!(known, "preset: expected one of {expected}, got {preset}");
                ensure!(!self.types.is_empty(), "types: expected at least one");
            }
            _ => anyhow::bail!("expected either path, or preset and types"),
        }
        for name in &self.types {
            let known = TYPES.contains(&name.as_str());
            let expected = TYPES.join(", ");
            ensure!(known, "types: expected some of {expected}, got {name}");
        }
        if self.work == Phase::FirstToken {
            let plain =
                (self.depth, self.sequences, self.repeat) == (0, 1, 1) && self.warmup.is_none();
            ensure!(
                plain,
                "a fresh process has no depth, sequences, warmup or repeat"
            );
        }
        Ok(())
    }

    fn cases(&self) -> impl Iterator<Item = Case> + '_ {
        let file = self.path.iter().cloned().map(Model::File);
        let preset = self.preset.clone().unwrap_or_default();
        let synthetic = self
            .types
            .iter()
            .map(move |name| Model::Synthetic(preset.clone(), name.clone()));
        file.chain(synthetic).map(|model| Case {
            row: self.name.clone(),
            model,
            work: self.work(),
            at_least: self.at_least,
            aim: self.aim,
        })
    }

    fn work(&self) -> Work {
        let usual = match self.work {
            Phase::Prefill => 64,
            Phase::Decode => 4,
            Phase::FirstToken => 0,
        };
        Work {
            phase: self.work,
            tokens: self.tokens,
            depth: self.depth,
            sequences: self.sequences,
            warmup: self.warmup.unwrap_or(usual),
            repeat: self.repeat,
        }
    }
}

impl Work {
    /// Tokens of all sequences together that a cache must have room for, in whole blocks of 16.
    pub fn cache_tokens(&self) -> usize {
        let each = self.depth + self.tokens.max(self.warmup);
        self.sequences * each.next_multiple_of(16)
    }
}

impl Model {
    /// The type of the weights, where it is chosen here.
    pub fn dtype(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Synthetic(_, dtype) => Some(dtype),
        }
    }

    /// How tables call it: the type of the weights, or the file.
    pub fn label(&self) -> String {
        match self {
            Self::File(path) => {
                let stem = Path::new(path).file_stem().unwrap_or_default();
                stem.to_string_lossy().into_owned()
            }
            Self::Synthetic(preset, name) => format!("{preset} {name}"),
        }
    }
}

impl Case {
    /// How it is chosen on the command line: its row, with the type of the weights where there are several.
    pub fn name(&self) -> String {
        match self.model.dtype() {
            Some(dtype) => format!("{}/{dtype}", self.row),
            None => self.row.clone(),
        }
    }

    /// The row and its model, for progress and errors.
    pub fn label(&self) -> String {
        format!("{} {}", self.row, self.model.label())
    }
}

/// The names of all sets, in order.
pub fn names() -> anyhow::Result<Vec<String>> {
    let folder = workspace::root().join(FOLDER);
    let entries = fs::read_dir(&folder).with_context(|| format!("listing {FOLDER}"))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("listing {FOLDER}"))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let stem = path.file_stem().unwrap_or_default();
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn path(name: &str) -> PathBuf {
    workspace::root().join(FOLDER).join(format!("{name}.toml"))
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn two() -> usize {
    2
}

fn five() -> usize {
    5
}

fn fifteen() -> usize {
    15
}

fn quarter() -> f64 {
    0.25
}

fn twentieth() -> f64 {
    0.05
}

fn half_an_hour() -> u64 {
    1800
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = r#"
        about = "For tests."
        [[rows]]
        name = "decode"
        work = "decode"
        preset = "1b"
        types = ["Q4_0", "F16"]
        tokens = 32
        depth = 100
        sequences = 3
    "#;

    fn error(text: &str) -> String {
        format!("{:#}", Definition::parse(text).unwrap_err())
    }

    #[test]
    fn every_committed_definition_is_sound() {
        let names = names().unwrap();
        assert!(
            ["embedded", "limit", "smoke"]
                .iter()
                .all(|name| names.contains(&(*name).to_owned()))
        );
        for name in names {
            let definition = Definition::read(&name).unwrap_or_else(|error| panic!("{error:#}"));
            assert!(
                !definition.cases().is_empty() && definition.about.ends_with('.'),
                "{name}"
            );
        }
    }

    #[test]
    fn a_row_becomes_a_case_for_each_type() {
        let cases = Definition::parse(SOUND).unwrap().cases();
        let labels: Vec<String> = cases.iter().map(Case::label).collect();
        assert_eq!(labels, ["decode 1b Q4_0", "decode 1b F16"]);
        assert_eq!(cases[0].work.cache_tokens(), 3 * 144);
        let line = serde_json::to_string(&cases[0].work).unwrap();
        let expected =
            r#"{"phase":"decode","tokens":32,"depth":100,"sequences":3,"warmup":4,"repeat":1}"#;
        assert_eq!(line, expected);
    }

    #[test]
    fn errors_say_what_is_wrong_and_where() {
        let cases = [
            ("depth = 100", "dpeth = 100", "unknown field `dpeth`"),
            (
                "tokens = 32",
                "tokens = 0",
                "row decode: tokens: expected at least 1, got 0",
            ),
            ("\"F16\"", "\"F17\"", "got F17"),
            (
                "\"1b\"",
                "\"2b\"",
                "preset: expected one of 150m, 0.5b, 1b, 3b, 8b, got 2b",
            ),
            ("preset", "path", "types: 1b has its own"),
            (
                "\"decode\"\n        preset",
                "\"encode\"\n        preset",
                "unknown variant `encode`",
            ),
        ];
        for (sound, broken, expected) in cases {
            let found = error(&SOUND.replace(sound, broken));
            assert!(found.contains(expected), "{broken}: {found}");
        }
        let twice = format!(
            "{SOUND}{}",
            SOUND.split_once("about = \"For tests.\"").unwrap().1
        );
        assert_eq!(error(&twice), "rows: decode is there twice");
    }
}

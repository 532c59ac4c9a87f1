//! The turns of a run: every raw sample, and all that is needed to judge it. They are kept in `benchmarks/results/DATE-NAME.json`, behind the record that
//! is made of them: what reads a record takes the file as it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use carnot_record::BenchRecord;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::Work;
use super::engines::CARNOT;
use super::machine::Machine;
use super::record;
use crate::workspace;

const SCHEMA: &str = "carnot.turns";
/// What they were called when they stood alone in a file.
const FORMER_SCHEMA: &str = "carnot.bench";
const VERSION: u32 = 1;
/// Where they stand in a record.
const FIELD: &str = "turns";
/// Runs that may stand in the tables.
const FOLDER: &str = "benchmarks/results";

/// A run of a definition, or of some of its rows.
#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    pub schema: String,
    pub version: u32,
    /// The name of the definition.
    pub definition: String,
    /// What was typed; the path of the peer's Python is left out.
    pub command: String,
    /// When the run began, in UTC: `2026-11-22T05:40:00Z`.
    pub begun: String,
    pub commit: Commit,
    pub machine: Machine,
    pub threads: usize,
    /// The widest interval that is reported, as a share of the median.
    pub widest: f64,
    /// What each engine said of itself, by its key in the samples.
    pub engines: BTreeMap<String, EngineFacts>,
    pub rows: Vec<RowResults>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Empty where it is not known.
    pub hash: String,
    /// Whether files differed from the commit.
    pub dirty: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineFacts {
    pub version: String,
    /// Kernels, or how it was built.
    pub system: String,
}

/// What a file has.
#[derive(Serialize)]
struct Kept<'a> {
    #[serde(flatten)]
    record: BenchRecord,
    turns: &'a Results,
}

/// One line of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RowResults {
    pub row: String,
    pub model: String,
    pub work: Work,
    pub at_least: Option<f64>,
    pub aim: Option<f64>,
    /// Sizes of the model, for the limits; as Carnot's driver told them.
    pub sizes: Option<Sizes>,
    /// The rounds that count.
    pub rounds: Vec<Round>,
    /// Those that do not, because others used the cores.
    pub disturbed: Vec<Round>,
    /// Why measuring ended early.
    pub failure: Option<String>,
}

/// What the model's work is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    pub parameters: u64,
    /// The file's tensors.
    pub bytes: u64,
    /// Weights that one decode step reads, as stored.
    pub step_bytes: u64,
    /// Keys and values of one token.
    pub kv_token_bytes: u64,
    /// Arithmetic on integer weights for each token, the output matrix apart.
    pub int8_operations: u64,
    /// Arithmetic on float weights for each token, the output matrix apart.
    pub f32_operations: u64,
    /// Arithmetic of the output matrix for each row whose logits are wanted, on integer weights.
    pub output_int8_operations: u64,
    /// The same on float weights.
    pub output_f32_operations: u64,
    /// Arithmetic of attention for each pair of a query and a position that it sees.
    pub attention_operations: u64,
}

/// All engines, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// The keys of the engines in the order of this round.
    pub order: Vec<String>,
    pub samples: BTreeMap<String, Sample>,
}

/// What a driver answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The timed part.
    pub seconds: f64,
    /// Tokens that were processed in it.
    pub tokens: u64,
    /// Before the clock started: filling the cache, warming up.
    pub prepare_seconds: f64,
    /// The likeliest token after the last row.
    pub top: u64,
    /// From starting the process to its answer, where each round starts one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spawn_seconds: Option<f64>,
    /// Ticks of all cores from the line of work to its answer; 0 where the system does not tell.
    pub ticks: u64,
    /// Those in which somebody else than the engine had a core.
    pub foreign_ticks: u64,
}

/// What a driver says of its work.
#[derive(Debug, Deserialize)]
pub struct Answer {
    pub seconds: f64,
    pub tokens: u64,
    pub prepare_seconds: f64,
    pub top: u64,
}

impl Round {
    /// The seconds of the best peer.
    pub fn peer(&self) -> Option<f64> {
        let peers = self.samples.iter().filter(|(key, _)| *key != CARNOT);
        let seconds = peers.map(|(_, sample)| sample.seconds);
        seconds.min_by(f64::total_cmp)
    }

    /// The seconds of the best peer over those of Carnot, where both took part.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.peer()? / self.samples.get(CARNOT)?.seconds)
    }

    /// The share of the cores that others used.
    pub fn disturbance(&self) -> f64 {
        let sum = |of: fn(&Sample) -> u64| self.samples.values().map(of).sum::<u64>();
        let all = sum(|sample| sample.ticks).max(1);
        sum(|sample| sample.foreign_ticks) as f64 / all as f64
    }
}

impl Results {
    /// A record of the current version, without rows.
    pub fn new(definition: &str, command: String, begun: String, machine: Machine) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            version: VERSION,
            definition: definition.to_owned(),
            command,
            begun,
            commit: Commit {
                hash: String::new(),
                dirty: true,
            },
            machine,
            threads: 0,
            widest: 0.0,
            engines: BTreeMap::new(),
            rows: Vec::new(),
        }
    }

    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let write = || -> anyhow::Result<()> {
            fs::create_dir_all(path.parent().context("no folder")?)?;
            let kept = Kept {
                record: record::of(self)?,
                turns: self,
            };
            Ok(fs::write(
                path,
                serde_json::to_string_pretty(&kept)? + "\n",
            )?)
        };
        write().with_context(|| format!("writing {}", path.display()))
    }

    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let read = || -> anyhow::Result<Self> {
            let mut value: Value = serde_json::from_slice(&fs::read(path)?)?;
            if let Some(turns) = value.get_mut(FIELD) {
                value = turns.take();
            }
            let results: Self = serde_json::from_value(value)?;
            let (schema, version) = (&results.schema, results.version);
            let is_known = schema == SCHEMA || schema == FORMER_SCHEMA;
            ensure!(
                is_known && version == VERSION,
                "expected {SCHEMA} version {VERSION}, got {schema} version {version}"
            );
            Ok(Self {
                schema: SCHEMA.to_owned(),
                ..results
            })
        };
        read().with_context(|| format!("reading {}", path.display()))
    }
}

/// Where a run is kept: among those that stand in the tables, or in the target folder.
pub fn path(definition: &str, date: &str, is_complete: bool, target: &Path) -> PathBuf {
    let folder = if is_complete {
        workspace::root().join(FOLDER)
    } else {
        target.join("bench/results")
    };
    let candidates = (1..).map(|number| match number {
        1 => folder.join(format!("{date}-{definition}.json")),
        number => folder.join(format!("{date}-{definition}-{number}.json")),
    });
    let mut free = candidates.filter(|path| !path.exists());
    free.next().expect("there are more numbers than files")
}

/// The files of all kept runs.
pub fn kept() -> anyhow::Result<Vec<PathBuf>> {
    let folder = workspace::root().join(FOLDER);
    let mut paths = Vec::new();
    for entry in fs::read_dir(&folder).into_iter().flatten() {
        let path = entry.with_context(|| format!("listing {FOLDER}"))?.path();
        if path.extension().is_some_and(|of| of == "json") {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Writes the records of all kept runs anew, out of their turns.
pub fn renew() -> anyhow::Result<()> {
    for path in kept()? {
        Results::read(&path)?.write(&path)?;
    }
    Ok(())
}

/// All kept runs of a definition, the newest first.
pub fn read_all(definition: &str) -> anyhow::Result<Vec<Results>> {
    let paths = kept()?;
    let all = paths.iter().map(|path| Results::read(path));
    let mut all = all.collect::<anyhow::Result<Vec<Results>>>()?;
    all.retain(|results| results.definition == definition);
    all.sort_by(|a, b| b.begun.cmp(&a.begun));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kept_run_can_be_read() {
        for name in super::super::definition::names().unwrap() {
            read_all(&name).unwrap();
        }
    }

    #[test]
    fn turns_are_read_back_from_behind_their_record_and_alone() {
        let begun = "2026-11-22T05:40:00Z".to_owned();
        let mut results = Results::new("smoke", String::new(), begun, Machine::default());
        results.rows.push(RowResults {
            row: "decode".to_owned(),
            model: "1b Q4_0".to_owned(),
            work: serde_json::from_str(
                r#"{"phase":"decode","tokens":3,"depth":0,"sequences":1,"warmup":0,"repeat":1}"#,
            )
            .unwrap(),
            at_least: Some(2.0),
            aim: None,
            sizes: None,
            rounds: Vec::new(),
            disturbed: Vec::new(),
            failure: Some("peer: ended".to_owned()),
        });
        let folder = std::env::temp_dir().join(format!("carnot-bench-{}", std::process::id()));
        let path = folder.join("results.json");
        results.write(&path).unwrap();
        let read = Results::read(&path).unwrap();
        assert_eq!(read.rows[0].failure, results.rows[0].failure);
        results.schema = FORMER_SCHEMA.to_owned();
        fs::write(&path, serde_json::to_string(&results).unwrap()).unwrap();
        let alone = Results::read(&path).unwrap();
        assert_eq!((alone.schema.as_str(), alone.rows.len()), (SCHEMA, 1));
        results.version = 2;
        results.write(&path).unwrap();
        let error = format!("{:#}", Results::read(&path).unwrap_err());
        assert!(error.ends_with("expected carnot.turns version 1, got carnot.bench version 2"));
        fs::remove_dir_all(folder).unwrap();
    }
}

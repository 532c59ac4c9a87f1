//! Whose recording a trace is: the session that a pipeline recorded, with what it says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{MachineProfile, ProbeCost};

/// A recording of a pipeline, as one of its processes tells it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Its name, the same for all processes of one run.
    pub id: String,
    /// Whatever the author wants to find it by.
    pub tags: BTreeMap<String, String>,
    /// What the pipeline makes, in the plural: `frames`, `tokens`, `images`.
    pub unit: String,
    /// Which of how many processes this is; `None` where there is one.
    pub rank: Option<Rank>,
    /// The machine's name in its network.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// When it began, in nanoseconds since 1970.
    pub started_unix_ns: u64,
    /// Models that took part.
    pub models: Vec<PipelineModel>,
    /// What the machine allows, where it was measured.
    pub machine: Option<MachineProfile>,
    /// What recording costs here.
    pub cost: ProbeCost,
    /// How it ended; `None` where it did not, or not in order.
    pub outcome: Option<Outcome>,
}

/// One process of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rank {
    /// Its number, from 0.
    pub rank: u32,
    /// How many there are.
    pub world_size: u32,
    /// Its number on its machine.
    #[serde(default)]
    pub local_rank: u32,
}

/// A model of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineModel {
    /// Its name.
    pub name: String,
    /// What it is, such as `diffusion` or `vae`; empty where nobody said.
    #[serde(default)]
    pub kind: String,
    /// How many numbers it has learnt.
    pub parameters: u64,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// In order.
    Completed,
    /// By an error, which this is.
    Failed(String),
}

/// Something that the author wanted noted, with whatever belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// What it is.
    pub name: String,
    /// When: ticks in a file, nanoseconds from the start once it is read.
    pub time: u64,
    /// The rest.
    pub data: serde_json::Value,
}

//! What was learnt from one profiled run: the stable form that scripts read. `docs/profile-json.md` defines each field.

use serde::{Deserialize, Serialize};

use crate::{Record, TensorSummary};

/// What was learnt from one profiled run. `floor_ns` and the losses sum to `wall_ns` exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileSummary {
    /// `carnot.profile`.
    pub schema: String,
    /// The version of the schema.
    pub version: u32,
    /// The model that ran.
    pub model: ModelSummary,
    /// The ceilings that it ran under.
    pub machine: MachineSummary,
    /// The time that is accounted for.
    pub wall_ns: u64,
    /// The least time that the same work can take on this machine.
    pub floor_ns: u64,
    /// `floor_ns / wall_ns`.
    pub efficiency: f64,
    /// Where the rest of the time went.
    pub losses: Vec<LossSummary>,
    /// The run's phases, in the order in which they began.
    pub phases: Vec<PhaseSummary>,
    /// How long tokens took to come.
    #[serde(default)]
    pub latency: LatencySummary,
    /// One entry for each operation and layer, the longest first.
    pub operations: Vec<OperationSummary>,
    /// What to look at, the largest share first.
    pub bottlenecks: Vec<BottleneckSummary>,
    /// What measuring cost.
    pub probe: ProbeSummary,
    /// What makes the figures doubtful; empty when nothing does.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The files that were written beside this.
    pub files: Vec<String>,
    /// Of a tensor model, what ran it on what, and its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensors: Option<TensorSummary>,
}

/// A model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSummary {
    /// Its name.
    pub name: String,
    /// Such as `llama`.
    pub architecture: String,
    /// How many numbers it has learnt.
    pub parameters: u64,
    /// Such as `Q8_0`.
    pub file_type: String,
    /// The size of its weights as stored.
    pub bytes: u64,
}

/// The ceilings of a machine with the threads that a run used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineSummary {
    /// The processor's model name.
    pub cpu: String,
    /// Threads of the run.
    pub threads: u32,
    /// Read bandwidth of memory: the last point of the curve.
    pub read_bandwidth_bytes_per_s: f64,
    /// Read bandwidth over the working set.
    pub bandwidth_curve: Vec<crate::BandwidthPoint>,
    /// 8-bit integer operations a second; 0 when not measured.
    pub peak_int8_ops_per_s: f64,
    /// 32-bit floating-point operations a second; 0 when not measured.
    pub peak_f32_flops: f64,
}

/// One row of the loss table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LossSummary {
    /// The loss, and after a slash what caused it: `kernel/matmul q8_0`, `wait`, `engine/sampling`, `probe`.
    pub name: String,
    /// How long. Negative only where a floor was above the measured time, which a warning then says.
    pub ns: i64,
    /// `ns` over `wall_ns`.
    pub share: f64,
}

/// One phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseSummary {
    /// `load`, `tokenize`, `prefill`, `decode` or another pipeline's own.
    pub name: String,
    /// Its time, of all its repetitions.
    pub ns: u64,
    /// Tokens that it processed.
    pub tokens: u64,
    /// `tokens` over `ns`.
    pub tokens_per_s: f64,
    /// The floor of its operations over its time.
    pub efficiency: f64,
}

/// How long tokens took to come; `null` where there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// From the start of tokenising, or of prefill where nothing was tokenised, to the first token; the median of repetitions.
    pub time_to_first_token_ns: Option<u64>,
    /// Median time between tokens.
    pub inter_token_p50_ns: Option<u64>,
    /// 95th percentile of the time between tokens.
    pub inter_token_p95_ns: Option<u64>,
    /// 99th percentile of the time between tokens.
    pub inter_token_p99_ns: Option<u64>,
}

/// One operation in one layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationSummary {
    /// The operation's name.
    pub name: String,
    /// The layer, or `null` outside of layers.
    pub layer: Option<u32>,
    /// How often it ran.
    pub count: u64,
    /// Its time on the engine's thread with the waiting that ended it.
    pub total_ns: u64,
    /// The mean of all threads' busy time; `total_ns - self_ns` was waited.
    pub self_ns: u64,
    /// Median of one run's total.
    pub p50_ns: u64,
    /// 95th percentile.
    pub p95_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// Arithmetic operations.
    pub flops: u64,
    /// Bytes that had to be moved.
    pub bytes: u64,
    /// The least time that it could have taken.
    pub floor_ns: u64,
    /// What the floor comes from: `memory`, `compute`, or `overhead` when the floor is under a tenth of the time.
    pub bound: String,
}

/// Something to look at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BottleneckSummary {
    /// The loss or the operation.
    pub name: String,
    /// `critical`, `high`, `medium`, `low` or `unstable`.
    pub severity: String,
    /// Its share of the wall.
    pub share: f64,
    /// What to do.
    pub advice: String,
    /// How many times faster the run would be without this loss.
    pub speedup_at_limit: f64,
}

/// What measuring cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSummary {
    /// Events that were recorded.
    pub events: u64,
    /// Events that were lost.
    pub dropped: u64,
    /// The cost of all events on all threads.
    pub cost_ns: u64,
}

impl Default for ProfileSummary {
    fn default() -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            version: Self::VERSION,
            model: ModelSummary::default(),
            machine: MachineSummary::default(),
            wall_ns: 0,
            floor_ns: 0,
            efficiency: 0.0,
            losses: Vec::new(),
            phases: Vec::new(),
            latency: LatencySummary::default(),
            operations: Vec::new(),
            bottlenecks: Vec::new(),
            probe: ProbeSummary::default(),
            warnings: Vec::new(),
            files: Vec::new(),
            tensors: None,
        }
    }
}

impl Record for ProfileSummary {
    const SCHEMA: &'static str = "carnot.profile";
    const VERSION: u32 = 1;
}

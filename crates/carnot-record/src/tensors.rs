//! What a profile of a tensor model says beside the others: what ran it on what, and its nodes. `docs/profile-json.md` defines each field.

use serde::{Deserialize, Serialize};

/// A profile of a tensor model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TensorSummary {
    /// `onnxruntime` or `embedded`.
    pub engine: String,
    /// Why that and no other.
    pub engine_reason: String,
    /// Whether each node was timed, or only the whole.
    pub is_timed_by_node: bool,
    /// What went in.
    pub inputs: Vec<TensorInputSummary>,
    /// What was taken as given though nobody said it, such as `batch of x is 1`.
    pub assumed: Vec<String>,
    /// Runs that nothing was recorded of.
    pub runs: RunTimesSummary,
    /// Nodes by operator, the longest first.
    pub operators: Vec<NodeGroupSummary>,
    /// Nodes by module, the longest first.
    pub modules: Vec<NodeGroupSummary>,
    /// Every node, the longest first.
    pub nodes: Vec<NodeSummary>,
    /// Operators of whose work nothing is known.
    pub uncounted: Vec<UncountedSummary>,
}

/// A tensor that went in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorInputSummary {
    /// Its name.
    pub name: String,
    /// The type of its values, such as `FP32`.
    pub data_type: String,
    /// Its size along each axis.
    pub shape: Vec<u64>,
    /// Where its values come from: `random`, or a file.
    pub values: String,
}

/// How long runs took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunTimesSummary {
    /// How many there were.
    pub count: u64,
    /// The shortest.
    pub min_ns: u64,
    /// The median.
    pub p50_ns: u64,
    /// 90th percentile.
    pub p90_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Standard deviation over mean.
    pub variation: f64,
}

/// Nodes that have something in common. Sums are of all recorded runs where nodes were timed, of one run where they were not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeGroupSummary {
    /// The operator, or the module.
    pub name: String,
    /// How many nodes.
    pub nodes: u64,
    /// How often they ran; 0 where they were not timed.
    pub count: u64,
    /// Their time; 0 where they were not timed.
    pub total_ns: u64,
    /// The least time.
    pub floor_ns: u64,
    /// Arithmetic operations.
    pub flops: u64,
    /// Bytes that have to be moved.
    pub bytes: u64,
    /// `memory`, `compute` or `overhead`.
    pub bound: String,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSummary {
    /// Its name.
    pub name: String,
    /// Its operator.
    pub operator: String,
    /// The module that it belongs to.
    pub module: String,
    /// Shapes that it takes, as far as they are known.
    pub inputs: String,
    /// Shapes that it gives.
    pub outputs: String,
    /// Whether its work is known; where it is not, its floor is 0.
    pub is_counted: bool,
    /// How often it ran; 0 where it was not timed.
    pub count: u64,
    /// Its time.
    pub total_ns: u64,
    /// The median of its runs.
    pub p50_ns: u64,
    /// The least time.
    pub floor_ns: u64,
    /// Arithmetic operations.
    pub flops: u64,
    /// Bytes that have to be moved.
    pub bytes: u64,
    /// `memory`, `compute` or `overhead`.
    pub bound: String,
}

/// An operator of whose work nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UncountedSummary {
    /// The operator.
    pub operator: String,
    /// How many nodes have it.
    pub nodes: u64,
}

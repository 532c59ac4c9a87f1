//! From a trace to insight: pure functions.
//!
//! [`analyze`] turns what ran ([`Trace`]) and what the machine allows ([`MachineProfile`]) into an [`Analysis`]: where
//! the wall time went, from the floor up, and what would help. Nothing here reads a clock, a file or the environment.
//!
//! The invariant that everything else rests on: for each phase and for the whole,
//! **floor + Σ losses = wall time, in whole nanoseconds** (see [`Accounting`]).
//!
//! ```
//! use carnot_analyze::{RunInfo, analyze};
//! use carnot_record::{MachineProfile, Trace};
//!
//! let analysis = analyze(&Trace::default(), &MachineProfile::default(), &RunInfo::default());
//! assert_eq!(analysis.total.wall_ns, 0);
//! ```

mod accounting;
mod analysis;
mod bottlenecks;
mod call_tree;
mod durations;
mod execution;
mod floor;
mod layers;
mod memory;
mod nesting;
mod notes;
mod operations;
mod phases;
pub mod pipeline;
mod recording;
mod span_tree;
mod statistics;
mod summary;
mod tensors;
mod warnings;

pub use accounting::{Accounting, Loss, LossKind};
pub use analysis::{Analysis, Ceilings, RunInfo, WallScope, analyze};
pub use bottlenecks::{Bottleneck, Severity};
pub use call_tree::{CallNode, CallTree};
pub use durations::{Durations, durations};
pub use floor::{Bound, Floor};
pub use layers::LayerRow;
pub use memory::{MemoryOwner, MemoryPoint, MemoryTimeline};
pub use nesting::nest;
pub use operations::{OperationGroup, family};
pub use phases::{Latency, Phase};
pub use span_tree::SpanTree;
pub use statistics::{Distribution, percentile};
pub use tensors::{NodeGroup, NodeInfo, NodeRow, NodeSums, NodeWork, TensorAnalysis, TensorRun};

#[doc(no_inline)]
pub use carnot_record::{MachineProfile, Trace};

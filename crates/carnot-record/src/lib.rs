//! Plain versioned data that Carnot promises to read again.
//!
//! A record is what one part of Carnot hands to another, or to a file: a [`Trace`] of what ran, a [`MachineProfile`]
//! of what the machine allows, a [`ProfileSummary`] of what was learnt, a [`BenchRecord`] of what was measured again and again. Records know nothing of how they were made and
//! compute nothing but look-ups in themselves and the date that their seconds are ([`Utc`]). Each is JSON with a `schema` and a `version`; see [`Record`].
//! What a pipeline records while it runs is a file of its own kind: [`trace_file`].
//!
//! ```
//! use carnot_record::{Record, Trace};
//!
//! let trace = Trace { duration_ns: 1_000, ..Trace::default() };
//! let again = Trace::from_json(&trace.to_json())?;
//! assert_eq!(again, trace);
//! # Ok::<(), carnot_record::Error>(())
//! ```

mod bench;
mod error;
mod machine;
mod profile;
mod record;
mod session;
mod sites;
mod span;
mod span_columns;
mod tensors;
mod trace;
pub mod trace_file;
mod utc;

pub use bench::{BenchRecord, Better, LossSamples, Metric, Series};
pub use error::Error;
pub use machine::{
    BandwidthCurve, BandwidthPoint, Cache, Cpu, DispatchEntry, KernelTiming, Kernels,
    MachineProfile, Peaks,
};
pub use profile::{
    BottleneckSummary, LatencySummary, LossSummary, MachineSummary, ModelSummary, OperationSummary,
    PhaseSummary, ProbeSummary, ProfileSummary,
};
pub use record::Record;
pub use session::{Note, Outcome, PipelineModel, Rank, Session};
pub use sites::{AllocationSite, FunctionShare};
pub use span::{Arithmetic, Site, Span, SpanKind};
pub use tensors::{
    NodeGroupSummary, NodeSummary, RunTimesSummary, TensorInputSummary, TensorSummary,
    UncountedSummary,
};
pub use trace::{
    CacheEvent, CacheOutcome, CounterSample, Flow, FrameEvent, Instant, MemoryEvent, ProbeCost,
    Thread, Trace, TracedRun,
};
pub use utc::Utc;

//! A span: an interval on one thread with what was done in it.

use serde::{Deserialize, Serialize};

/// The place in the code that spans come from; what all of its spans have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The name, such as `matmul q8_0 attn_q` or `sampling`.
    pub name: String,
    /// What its spans are.
    pub kind: SpanKind,
    /// The source file, or empty.
    #[serde(default)]
    pub file: String,
    /// The line in `file`, or 0.
    #[serde(default)]
    pub line: u32,
}

/// What a span stands for; decides where its time goes in the loss accounting.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// Part of a run's life: `load`, `tokenize`, `prefill`, `decode`.
    Phase,
    /// One forward pass: with its sampling, or of an iteration such as denoising.
    Step,
    /// One layer of a model.
    Layer,
    /// One parallel operation: a kernel on all threads.
    Operation,
    /// Waiting at the barrier that ends an operation.
    Wait,
    /// Work between operations: scheduling, sampling, detokenising.
    Engine,
    /// A stage of a pipeline that is not a language model's.
    Stage,
    /// All that is done for one prompt.
    Prompt,
    /// One chunk of what a pipeline makes: the blocks between two looks at its memory.
    Chunk,
    /// One block of frames or tokens, made together.
    Block,
    /// Anything else.
    #[default]
    Other,
}

impl SpanKind {
    /// The name as it is written in records and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Phase => "phase",
            Self::Step => "step",
            Self::Layer => "layer",
            Self::Operation => "operation",
            Self::Wait => "wait",
            Self::Engine => "engine",
            Self::Stage => "stage",
            Self::Prompt => "prompt",
            Self::Chunk => "chunk",
            Self::Block => "block",
            Self::Other => "other",
        }
    }
}

/// The arithmetic that an operation's multiplications are done in; chooses the peak of its floor.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Arithmetic {
    /// No arithmetic that is counted.
    #[default]
    None,
    /// 8-bit integers, summed in 32 bits.
    Int8,
    /// 32-bit floating point.
    F32,
    /// bfloat16, summed in 32-bit floating point.
    Bf16,
}

impl Arithmetic {
    /// The name as it is written in records and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Int8 => "int8",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// One interval on one thread.
///
/// Work is the algorithm's own and stands on one span only: of a parallel operation, worker 0's span carries
/// `flops` and `bytes` of the whole operation, and the other threads' spans carry none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Index into [`Trace::sites`](crate::Trace::sites).
    pub site: u32,
    /// A thread's `id`.
    pub thread: u32,
    /// Index into [`Trace::spans`](crate::Trace::spans) of the span that encloses this one.
    pub parent: Option<u32>,
    /// Begin, from the start of the trace.
    pub start_ns: u64,
    /// End, from the start of the trace; never before `start_ns`.
    pub end_ns: u64,
    /// The model's layer; of a prompt, chunk, block or step its number. From 0.
    pub layer: Option<u32>,
    /// The running number of the parallel operation, the same on all threads, and on the wait that ends it.
    pub sequence: Option<u64>,
    /// The request that was worked for, where there is one.
    pub request: Option<u64>,
    /// Tokens that were processed, or frames or images where the session counts those.
    pub tokens: u64,
    /// Arithmetic operations; a multiplication and its addition are two.
    pub flops: u64,
    /// Bytes that must be read or written at least once.
    pub bytes: u64,
    /// The memory that is gone through before any of it is read again; places the span on the bandwidth curve.
    pub working_set_bytes: u64,
    /// What `flops` are done in.
    pub arithmetic: Arithmetic,
}

impl Span {
    /// How long it took.
    pub fn duration_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }
}

//! Tensor models at work: requests of several clients share runs.
//!
//! ```text
//! oip ─ admission ─▶ queue ─ who goes together, and when ─▶ runner ─▶ TensorEngine::run
//!  ▲                   │                                      │
//!  └── oneshot ◀───────┴────────── rows: joined, split ◀──────┘
//! ```
//!
//! ```text
//! cost        what a run of n rows takes, learnt; when waiting for another row pays
//! queue       a state machine: priorities, tenants in turns, shapes, deadlines
//! rows        requests into one run, its results back to requests
//! runner      threads, each of which owns an engine
//! registry    models by name: loaded, unloaded
//! results     what was computed before
//! statistics  what became of a model's requests, as Triton's clients ask for it
//! ```

mod cost;
mod queue;
mod registry;
pub(crate) mod results;
mod rows;
mod runner;
mod statistics;

use std::error::Error;
use std::time::Duration;

use carnot_engine::TensorEngine;

pub(crate) use registry::Registry;
pub(crate) use runner::{Answer, ModelHandle, Request};
pub(crate) use statistics::{Count, Statistics};

/// A tensor model to be served.
pub struct TensorModel {
    /// The engine that runs it, by whose name it is served; further instances are its duplicates.
    pub engine: Box<dyn TensorEngine>,
    /// How its requests share runs.
    pub batching: Batching,
    /// Opens it again after it was unloaded; a model without is not unloaded.
    pub reopen: Option<Reopen>,
}

/// Opens a model's engine.
pub type Reopen =
    Box<dyn Fn() -> Result<Box<dyn TensorEngine>, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// How requests of a tensor model share runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Rows of a run at most; 1 where nothing is shared. A request of more rows runs alone.
    pub max_rows: usize,
    /// How long a request may wait for others while an engine is free. It waits only while that is expected to pay.
    pub max_delay: Duration,
    /// Sizes that runs should have: where there are any, the largest that can be made runs at once, and what makes none waits for all of
    /// `max_delay`.
    pub preferred_rows: Vec<usize>,
    /// What an answer should take, queue and run together; runs are then no larger than such that twice their time is within it, unless
    /// that costs more than a tenth of the rows a second that there could be.
    pub target: Option<Duration>,
    /// Engines that run at the same time, each on a thread of its own.
    pub instances: usize,
    /// Answers come in the order of requests of their priority: one run at a time, tenants not in turns.
    pub is_ordered: bool,
    /// What becomes of a request that waited for longer than it may.
    pub on_timeout: TimeoutAction,
}

/// What becomes of a request that waited for longer than it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeoutAction {
    /// It is refused.
    #[default]
    Reject,
    /// It goes behind all others of its priority.
    Delay,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            max_rows: 8,
            max_delay: Duration::from_millis(5),
            preferred_rows: Vec::new(),
            target: None,
            instances: 1,
            is_ordered: false,
            on_timeout: TimeoutAction::Reject,
        }
    }
}

//! Flags of tensor models, of `carnot serve`.

use std::path::PathBuf;
use std::time::Duration;

use carnot_server::TimeoutAction;
use clap::{Args, ValueEnum};

use super::{EngineArgument, bytes, positive};

/// How tensor models run, and whose requests share a run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tensor models")]
pub struct TensorServing {
    /// What runs ONNX files
    #[arg(
        long,
        env = "CARNOT_ENGINE",
        value_name = "ENGINE",
        value_enum,
        default_value_t
    )]
    pub engine: EngineArgument,
    /// ONNX Runtime's library [default: that of `ORT_DYLIB_PATH`, of Python's package `onnxruntime`, or of the system]
    #[arg(long, value_name = "FILE", env = "CARNOT_ONNXRUNTIME")]
    pub onnxruntime: Option<PathBuf>,
    /// Most rows of a run, of all requests in it together; 1 for requests one by one
    #[arg(long, value_name = "ROWS", default_value_t = 8, value_parser = positive)]
    pub max_batch: usize,
    /// How long a request may wait for others while an engine is free; it waits only while that is expected to pay
    #[arg(long, value_name = "MS", default_value = "5", value_parser = milliseconds)]
    pub max_queue_delay: Duration,
    /// Sizes that runs should have: the largest that can be made runs at once, what makes none waits
    #[arg(long, value_name = "ROWS", value_delimiter = ',', value_parser = positive)]
    pub preferred_batch: Vec<usize>,
    /// What an answer should take: runs are no larger than such that twice their time is within it, unless that costs a tenth of the rows a second
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    pub batch_target: Option<Duration>,
    /// Engines of each tensor model that run at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    pub instances: usize,
    /// Answer requests of a priority in the order in which they came, one run at a time
    #[arg(long)]
    pub preserve_ordering: bool,
    /// What becomes of a request that waited for as long as it may
    #[arg(long, value_name = "ACTION", default_value = "reject")]
    pub timeout_action: TimeoutChoice,
    /// Keep results in so many bytes, such as 256MiB: the same inputs of the same tenant are not computed again
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub result_cache: Option<u64>,
    /// Keep them in Redis too, such as `redis://127.0.0.1:6379/0`; needs a binary with the feature `redis`
    #[arg(long, value_name = "URL", requires = "result_cache")]
    pub redis: Option<String>,
    /// Let clients load and unload tensor models
    #[arg(long)]
    pub model_control: bool,
}

/// What becomes of a request that waited for as long as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TimeoutChoice {
    /// It is refused
    Reject,
    /// It goes behind all others of its priority
    Delay,
}

impl From<TimeoutChoice> for TimeoutAction {
    fn from(choice: TimeoutChoice) -> Self {
        match choice {
            TimeoutChoice::Reject => Self::Reject,
            TimeoutChoice::Delay => Self::Delay,
        }
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let number = text.parse().ok().map(|number: f64| number / 1e3);
    let duration = number.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| "expected milliseconds, such as 5 or 0.5".to_owned())
}

//! What a baseline is made of.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{ComputeArguments, positive, seconds};

/// What `carnot baseline` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot baseline
  carnot baseline model.gguf --targets targets.json --duration 60
  carnot compare --current performance_baseline --baseline main/performance_baseline --threshold 10")]
pub struct BaselineArguments {
    /// GGUF files, safetensors files, or directories with config.json; the embedded model if none is given
    pub models: Vec<PathBuf>,
    /// Directory for `baseline_results.json`, `performance_targets.json` and `baseline_report.md`
    #[arg(
        short,
        long,
        value_name = "DIRECTORY",
        default_value = "performance_baseline"
    )]
    pub output: PathBuf,
    /// Targets that the report holds the figures to [default: the usual ones]
    #[arg(long, value_name = "FILE")]
    pub targets: Option<PathBuf>,
    /// Of the models, those that these run
    #[arg(
        long,
        value_name = "BACKEND,…",
        value_delimiter = ',',
        default_value = "gguf,safetensors"
    )]
    pub backends: Vec<Backend>,
    /// For how long each model is measured
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub duration: Duration,
    /// Length of the built-in prompt
    #[arg(long, value_name = "N", value_parser = positive)]
    pub prompt_tokens: Option<usize>,
    /// Tokens to generate; end-of-text tokens are ignored
    #[arg(short = 'n', long, value_name = "N", default_value_t = 64, value_parser = positive)]
    pub tokens: usize,
    #[command(flatten)]
    pub compute: ComputeArguments,
}

/// What runs a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// Models in GGUF files
    Gguf,
    /// Models in safetensors files
    Safetensors,
}

impl Backend {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gguf => "gguf",
            Self::Safetensors => "safetensors",
        }
    }
}

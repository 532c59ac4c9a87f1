//! How often a model is loaded and forgotten again.

use std::path::PathBuf;

use clap::Args;

use super::{Format, ModelArguments, positive};

/// What `carnot bench memory-profile` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot bench memory-profile
  carnot bench memory-profile model.gguf --cycles 100 --track --output memory.json

Exit codes: 0 memory does not go on rising, 1 it does, or failed; 2 wrong usage; 3 inconclusive: it still settles, or too few cycles.")]
pub struct MemoryProfileArguments {
    #[command(flatten)]
    pub model: ModelArguments,
    /// How often it is loaded, runs, and is unloaded
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = positive)]
    pub cycles: usize,
    /// Tokens to generate in each
    #[arg(short = 'n', long, value_name = "N", default_value_t = 32, value_parser = positive)]
    pub tokens: usize,
    /// Also tell which kind of memory rose: heap, mappings, stacks, files; threads and open files; and who allocated what one more cycle kept
    #[arg(long)]
    pub track: bool,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Also write the record of the benchmark to a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

//! What can be compared.

use clap::Args;

use super::{Format, percent};

/// What `carnot compare` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot compare --a './old --input data' --b './new --input data'
  carnot compare --a 'carnot run a.gguf -p x -n 64' --b 'carnot run b.gguf -p x -n 64' --threshold 5

Exit codes: 0 no worse, 1 worse by more than the threshold or a command failed, 2 wrong usage, 3 inconclusive.")]
pub struct CompareArguments {
    /// The command to compare with, as a shell takes it
    #[arg(long, value_name = "COMMAND")]
    pub a: String,
    /// The command that is compared
    #[arg(long, value_name = "COMMAND")]
    pub b: String,
    /// A change by less than this does not matter
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = percent)]
    pub threshold: f64,
    /// Runs of each that are not counted, before all others
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub warmup: usize,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

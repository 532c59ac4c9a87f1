//! What can be compared.

use std::path::PathBuf;

use clap::Args;

use super::{Format, percent};

/// What `carnot compare` takes: two commands, two files, or runs of a history.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot compare --a './old --input data' --b './new --input data'
  carnot compare --a 'carnot run a.gguf -p x -n 64' --b 'carnot run b.gguf -p x -n 64' --threshold 5
  carnot compare --baseline main.json --current branch.json --report regression.md
  carnot compare --baseline old/trace.json --current new/trace.json
  carnot compare --baseline old/trace_film.carnot --current new/trace_film.carnot
  carnot compare --history --baseline last:20 --current last:1
  carnot compare --history runs.db --baseline 2026-11-01..2026-11-07 --current 8c1e0f2

Exit codes: 0 no worse, 1 worse by more than the threshold or a command failed, 2 wrong usage or files or runs that cannot be compared, 3 inconclusive.")]
pub struct CompareArguments {
    /// The command to compare with, as a shell takes it
    #[arg(long, value_name = "COMMAND", required_unless_present_any = ["current", "baseline"], conflicts_with_all = ["current", "baseline"])]
    pub a: Option<String>,
    /// The command that is compared
    #[arg(long, value_name = "COMMAND", required_unless_present_any = ["current", "baseline"], conflicts_with_all = ["current", "baseline"])]
    pub b: Option<String>,
    /// Or the file to compare with: a record of `carnot bench`, several in a list, a profile as JSON, a trace, or a directory with `baseline_results.json`;
    /// with --history, the runs: a commit, a day, a range `a..b` of these, or `last:N`
    #[arg(long, value_name = "FILE|RUNS", requires = "current")]
    pub baseline: Option<PathBuf>,
    /// The file that is compared, or the runs
    #[arg(long, value_name = "FILE|RUNS", requires = "baseline")]
    pub current: Option<PathBuf>,
    /// Compare runs of this history [default: that of `carnot history`]
    #[arg(long, value_name = "FILE", num_args = 0..=1, requires = "current")]
    #[expect(
        clippy::option_option,
        reason = "not there, there without a file, there with one"
    )]
    pub history: Option<Option<PathBuf>>,
    /// Only runs of this suite, such as inference
    #[arg(long, requires = "history")]
    pub suite: Option<String>,
    /// A change by less than this does not matter [default: 1 of commands, 10 of files and histories]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub threshold: Option<f64>,
    /// Runs of each command that are not counted, before all others
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub warmup: usize,
    /// Also write what was found as Markdown
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Compare files or runs although machine, model or conditions differ
    #[arg(long, requires = "current")]
    pub force: bool,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

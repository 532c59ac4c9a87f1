//! What can be kept of measurements.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Format;

/// What `carnot history` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot history add benchmark.json
  carnot history list --suite inference --metric decode
  carnot history show decode")]
pub struct HistoryArguments {
    #[command(subcommand)]
    pub action: HistoryAction,
    /// The file that the history is kept in [default: carnot/history.db in the user's data directory]
    #[arg(long, global = true, env = "CARNOT_HISTORY", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// What to do with it.
#[derive(Debug, Subcommand)]
pub enum HistoryAction {
    /// Keep records of `carnot bench`; those that are there already are left alone
    Add {
        /// A record, a list of them, or a directory with `baseline_results.json`
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// The runs that are kept, the latest last, with the median of a metric
    List {
        /// Only runs of this suite, such as inference
        #[arg(long)]
        suite: Option<String>,
        /// The metric that is told [default: the first of each record]
        #[arg(long)]
        metric: Option<String>,
    },
    /// A metric over time, and where it changed
    Show {
        /// Such as decode
        metric: String,
        /// Only runs of this suite
        #[arg(long)]
        suite: Option<String>,
        /// The quantile that is told: 0.5 of everything, also 0.95 and 0.99 of latencies
        #[arg(long, default_value_t = 0.5, value_parser = share)]
        quantile: f64,
    },
}

fn share(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "expected a share from 0 to 1, such as 0.95".to_owned())
}

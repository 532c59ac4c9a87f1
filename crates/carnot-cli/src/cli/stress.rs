//! Who visits a server, how often, for how long.

use std::path::PathBuf;
use std::time::Duration;

use carnot_bench::load::Target;
use clap::Args;

use super::{Format, positive, rate, seconds};

/// What `carnot bench stress` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot bench stress --duration 60
  carnot bench stress model.gguf --clients 32 --rate 2
  carnot bench stress --url http://127.0.0.1:8000 --model other --duration 3600 --output stress.json

Exit codes: 0 done, 1 failed: under 95 % of the well-formed requests were answered, or the server is not afterwards as it was; 2 wrong usage.")]
pub struct StressArguments {
    /// The model of a server that is started for this and ended after it; the embedded one if none is given
    #[arg(value_name = "MODEL", conflicts_with = "url")]
    pub path: Option<PathBuf>,
    /// A server that is there already, instead
    #[arg(long, value_name = "URL", value_parser = Target::parse)]
    pub url: Option<Target>,
    /// The model's name, where that server has several
    #[arg(long, value_name = "NAME", requires = "url")]
    pub model: Option<String>,
    /// What opens it
    #[arg(
        long,
        value_name = "KEY",
        env = "CARNOT_API_KEY",
        hide_env_values = true
    )]
    pub api_key: Option<String>,
    /// Clients
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = positive)]
    pub clients: usize,
    /// For how long they come
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub duration: Duration,
    /// Visits a second of each, on average
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = rate)]
    pub rate: f64,
    /// Tokens that a well-formed request asks for
    #[arg(short = 'n', long, value_name = "N", default_value_t = 32, value_parser = positive)]
    pub tokens: usize,
    /// The same seed gives the same visits at the same times
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Also write the record of the benchmark to a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

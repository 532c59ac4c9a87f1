//! What is watched, how often, and where it goes.

use std::path::PathBuf;
use std::time::Duration;

use carnot_bench::load::Target;
use clap::{Args, ValueEnum};

use super::not_negative;

/// What `carnot monitor` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot monitor
  carnot monitor --url http://127.0.0.1:8080 --pid $(pgrep -x carnot) --duration 0
  carnot monitor --interval 0.5 --duration 30 --format csv --output load.csv

On a terminal it is a screen, which q or Ctrl-C leaves. What is not known is `–`, `null` or an empty cell, never 0.")]
pub struct MonitorArguments {
    /// For how long; 0 until it is ended
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = duration)]
    pub duration: Duration,
    /// From one sample to the next, at least 0.1; a screen is drawn each second all the same
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = interval)]
    pub interval: Duration,
    /// How samples are told
    #[arg(long, value_enum, default_value_t)]
    pub format: SampleFormat,
    /// Write the samples to a file instead, or beside the screen
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Also watch a process
    #[arg(long)]
    pub pid: Option<u32>,
    /// Also watch a Carnot server, by its metrics
    #[arg(long, value_name = "URL", value_parser = Target::parse)]
    pub url: Option<Target>,
    /// What opens the server
    #[arg(
        long,
        value_name = "KEY",
        env = "CARNOT_API_KEY",
        hide_env_values = true
    )]
    pub api_key: Option<String>,
}

/// How samples are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SampleFormat {
    /// A screen on a terminal, else a few lines each
    #[default]
    Console,
    /// An object a line
    Json,
    /// A row each, under a header
    Csv,
}

fn duration(text: &str) -> Result<Duration, String> {
    let refused = || "expected a number of seconds from 0, such as 60".to_owned();
    let seconds = not_negative(text).map_err(|_| refused())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| refused())
}

/// Processors count their time in hundredths of a second: over less than ten of them a share says nothing.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|&number: &f64| number >= 0.1);
    let duration = seconds.and_then(|number| Duration::try_from_secs_f64(number).ok());
    duration.ok_or_else(|| "expected a number of seconds from 0.1, such as 0.5".to_owned())
}

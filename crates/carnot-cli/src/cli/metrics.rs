//! Whose metrics are told, and in which form.

use std::path::PathBuf;

use carnot_bench::load::Target;
use clap::{Args, Subcommand, ValueEnum};

/// What `carnot metrics` takes.
#[derive(Debug, Args)]
pub struct MetricsArguments {
    #[command(subcommand)]
    pub action: MetricsAction,
}

/// What is done with metrics.
#[derive(Debug, Subcommand)]
pub enum MetricsAction {
    /// Write the metrics of a server as they are now; without one, those of this machine
    Export(ExportArguments),
    /// Print what `carnot monitor` would tell of one second, as JSON
    Snapshot(SnapshotArguments),
}

/// What `carnot metrics export` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carnot metrics export --format json | jq '.metrics[].name'
  carnot metrics export --url http://127.0.0.1:9000 --format openmetrics --output metrics.txt

Without --url, a server on this machine's port 8080 is asked; where there is none, the machine itself is told, under names that begin with carnot_host_.")]
pub struct ExportArguments {
    /// The form
    #[arg(long, value_enum, default_value_t)]
    pub format: MetricsFormat,
    #[command(flatten)]
    pub server: WatchedServer,
    /// Write to a file instead
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What `carnot metrics snapshot` takes.
#[derive(Debug, Args)]
pub struct SnapshotArguments {
    #[command(flatten)]
    pub server: WatchedServer,
    /// A field a line
    #[arg(long)]
    pub pretty: bool,
}

/// A server, if one is meant.
#[derive(Debug, Args)]
pub struct WatchedServer {
    /// The server
    #[arg(long, value_name = "URL", value_parser = Target::parse)]
    pub url: Option<Target>,
    /// What opens it
    #[arg(
        long,
        value_name = "KEY",
        env = "CARNOT_API_KEY",
        hide_env_values = true
    )]
    pub api_key: Option<String>,
}

/// A form of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MetricsFormat {
    /// The text format 0.0.4 of Prometheus
    #[default]
    Prometheus,
    /// For programs
    Json,
    /// OpenMetrics 1.0
    Openmetrics,
}

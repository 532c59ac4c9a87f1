//! `carnot profile report|open|merge|versus`: what a pipeline recorded.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum ProfileAction {
    /// Report on a trace that a pipeline recorded
    Report(ReportArguments),
    /// Show a trace in a browser: a page on this machine that has every span of it
    Open(OpenArguments),
    /// Put the traces of all ranks of a run together
    Merge(MergeArguments),
    /// Compare two traces: what a component costs, with an interval
    Versus(VersusArguments),
}

/// Which sections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TemplateArgument {
    /// All there is something to say of
    #[default]
    Full,
    /// Five: overall, components, prompts, chunks, blocks
    Pipeline,
}

/// How the report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportForm {
    /// For people
    #[default]
    Text,
    /// For a page that somebody reads
    Markdown,
    /// For programs
    Json,
}

/// Files beside what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PipelineFile {
    /// One page, with a timeline
    Html,
    /// For programs
    Json,
    /// For a page that somebody reads
    Markdown,
    /// As it is printed
    Text,
    /// Every span, for ui.perfetto.dev or a local viewer
    Perfetto,
}

/// How a trace is looked at.
#[derive(Clone, Debug, Args)]
pub struct ViewArguments {
    /// How many frames a second are shown: stalls and the real-time factor need it
    #[arg(long, value_name = "RATE")]
    pub fps: Option<f64>,
    /// Points of a curve and rows of a table, at most
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = super::positive)]
    pub points: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  carnot profile report profiling_reports/trace_nightly_20261123_021530.carnot
  carnot profile report trace.carnot --template pipeline
  carnot profile report trace.carnot --emit html,perfetto --output carnot-out --fps 16")]
pub struct ReportArguments {
    /// Trace that a session wrote; one that was cut is read as far as it goes
    pub trace: PathBuf,
    /// Which sections
    #[arg(long, value_enum, default_value_t)]
    pub template: TemplateArgument,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportForm,
    /// Files to write
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FORMS")]
    pub emit: Vec<PipelineFile>,
    /// Directory for the files
    #[arg(short, long, default_value = "carnot-out", env = "CARNOT_OUTPUT")]
    pub output: PathBuf,
    #[command(flatten)]
    pub view: ViewArguments,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  carnot profile open trace.carnot --port 8765")]
pub struct OpenArguments {
    /// Trace that a session wrote
    pub trace: PathBuf,
    /// Port on this machine alone; 0 for one that is free
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    #[command(flatten)]
    pub view: ViewArguments,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  carnot profile merge profiling_reports --emit perfetto,html")]
pub struct MergeArguments {
    /// Directory with a trace of each rank in it, or in directories within it; the newest of each rank counts
    pub folder: PathBuf,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportForm,
    /// Files to write
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "perfetto",
        value_name = "FORMS"
    )]
    pub emit: Vec<PipelineFile>,
    /// Directory for the files
    #[arg(short, long, default_value = "carnot-out", env = "CARNOT_OUTPUT")]
    pub output: PathBuf,
    #[command(flatten)]
    pub view: ViewArguments,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  carnot profile versus with-memory-bank.carnot without.carnot")]
pub struct VersusArguments {
    /// With the component
    pub with: PathBuf,
    /// Without it
    pub without: PathBuf,
}

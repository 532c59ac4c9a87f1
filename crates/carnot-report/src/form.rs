//! The list of forms: what `--emit` may name, and what the files are called.

use carnot_analyze::{Analysis, Trace};
use carnot_record::Record;

use crate::{
    chrome, collapsed, csv, flamegraph, html, json, markdown, perfetto, pprof, speedscope, text,
};

/// A form in which a profile can be written to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// The HTML report.
    Html,
    /// A Perfetto trace.
    Perfetto,
    /// A trace in the JSON of Chrome's trace viewer.
    Chrome,
    /// A flame graph as SVG.
    Flamegraph,
    /// Collapsed stacks.
    Collapsed,
    /// A pprof profile, compressed.
    Pprof,
    /// A speedscope file.
    Speedscope,
    /// The operations as CSV.
    Csv,
    /// The report as Markdown.
    Markdown,
    /// The summary as JSON.
    Json,
    /// The report as plain text.
    Text,
    /// The trace itself, as this program reads it again.
    Trace,
}

impl Form {
    /// All forms.
    pub const ALL: [Self; 12] = [
        Self::Html,
        Self::Perfetto,
        Self::Chrome,
        Self::Flamegraph,
        Self::Collapsed,
        Self::Pprof,
        Self::Speedscope,
        Self::Csv,
        Self::Markdown,
        Self::Json,
        Self::Text,
        Self::Trace,
    ];

    /// The form of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The file that it is written to.
    pub fn file_name(self) -> &'static str {
        self.row().1
    }

    /// What opens the file.
    pub fn opened_by(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Html => ("html", "report.html", "any browser"),
            Self::Perfetto => ("perfetto", "trace.pftrace", "ui.perfetto.dev"),
            Self::Chrome => (
                "chrome",
                "trace.chrome.json",
                "ui.perfetto.dev, chrome://tracing",
            ),
            Self::Flamegraph => ("flamegraph", "flamegraph.svg", "any browser"),
            Self::Collapsed => ("collapsed", "stacks.collapsed", "flamegraph.pl, inferno"),
            Self::Pprof => ("pprof", "profile.pb.gz", "go tool pprof"),
            Self::Speedscope => ("speedscope", "profile.speedscope.json", "speedscope.app"),
            Self::Csv => ("csv", "operations.csv", "any spreadsheet"),
            Self::Markdown => ("markdown", "report.md", "any text editor"),
            Self::Json => ("json", "profile.json", "scripts"),
            Self::Text => ("text", "report.txt", "any text editor"),
            Self::Trace => ("trace", "trace.json", "carnot"),
        }
    }

    /// The file's contents.
    pub fn render(self, analysis: &Analysis, trace: &Trace) -> Vec<u8> {
        match self {
            Self::Html => html::render(analysis, trace).into_bytes(),
            Self::Perfetto => perfetto::render(trace),
            Self::Chrome => chrome::render(trace).into_bytes(),
            Self::Flamegraph => flamegraph::render(analysis).into_bytes(),
            Self::Collapsed => collapsed::render(analysis).into_bytes(),
            Self::Pprof => pprof::render(analysis, trace),
            Self::Speedscope => speedscope::render(analysis, trace).into_bytes(),
            Self::Csv => csv::render(analysis).into_bytes(),
            Self::Markdown => markdown::render(analysis).into_bytes(),
            Self::Json => json::render(analysis).into_bytes(),
            Self::Text => text::render(analysis, text::Colour::Never).into_bytes(),
            Self::Trace => trace.to_json().into_bytes(),
        }
    }
}

//! What is made of a trace file when its session has ended: the reports that the configuration asks for, beside it.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use carnot_analyze::pipeline::{PipelineAnalysis, View, read};
use carnot_record::trace_file::{FileError, TraceReader};
use carnot_report::pipeline::{self, Template, TimelineBuilder};

use crate::Error;
use crate::config::{Config, ReportFormat};

/// What was made.
#[derive(Debug)]
pub struct Reports {
    /// Files that were written, and the trace if it was kept.
    pub files: Vec<PathBuf>,
    /// The report for a terminal.
    pub text: String,
    /// What it all says.
    pub analysis: PipelineAnalysis,
}

/// Reads a trace file and writes `profiling_report_ID_STAMP.html` and `.json` beside it; then removes it, if it is not to be kept.
pub fn report(trace: &Path, config: &Config, playback_fps: Option<f64>) -> Result<Reports, Error> {
    let reading = |source| Error::File {
        what: "reading",
        path: trace.to_owned(),
        source,
    };
    let mut file = open(trace).map_err(reading)?;
    let view = View {
        playback_fps,
        most_points: config.max_data_points,
        ..View::default()
    };
    let analysis = read(&mut file, view).map_err(reading)?;
    let mut files = Vec::new();
    let mut write = |extension: &str, text: String| {
        let path = named(trace, extension);
        fs::write(&path, text).map_err(|source| Error::File {
            what: "writing",
            path: path.clone(),
            source,
        })?;
        files.push(path);
        Ok::<(), Error>(())
    };
    if config.generate_final_report {
        if config.report_format != ReportFormat::Json {
            let timeline = TimelineBuilder::read(&mut file, None).map_err(reading)?;
            write("html", pipeline::html(&analysis, None, &timeline, None))?;
        }
        if config.report_format != ReportFormat::Html {
            write("json", pipeline::json(&analysis, None))?;
        }
    }
    if config.save_raw_data {
        files.push(trace.to_owned());
    } else {
        fs::remove_file(trace).map_err(|source| Error::File {
            what: "removing",
            path: trace.to_owned(),
            source,
        })?;
    }
    Ok(Reports {
        files,
        text: pipeline::text(&analysis, None, Template::Full),
        analysis,
    })
}

fn open(path: &Path) -> io::Result<TraceReader<BufReader<File>>> {
    TraceReader::new(BufReader::new(File::open(path)?)).map_err(|error| match error {
        FileError::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    })
}

/// `trace_X.carnot` gives `profiling_report_X.html`.
fn named(trace: &Path, extension: &str) -> PathBuf {
    let stem = trace.file_stem().unwrap_or_default().to_string_lossy();
    let name = stem.strip_prefix("trace_").unwrap_or(&stem);
    trace.with_file_name(format!("profiling_report_{name}.{extension}"))
}

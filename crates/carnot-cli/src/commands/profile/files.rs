//! Trace files in, reports out: what the commands on a pipeline's trace have in common.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::Context;
use carnot_analyze::pipeline::{PipelineAnalysis, Ranks, View, read};
use carnot_record::MachineProfile;
use carnot_record::trace_file::TraceReader;
use carnot_report::pipeline::{self, PerfettoStream, Template, Timeline};
use carnot_samplers::cores;

use crate::cli::{PipelineFile, ReportForm, TemplateArgument, ViewArguments};
use crate::machine;
use crate::printer::Printer;

/// A trace file that is being read.
pub type Trace = TraceReader<BufReader<File>>;

/// Opens a trace that a session wrote.
pub fn open(path: &Path) -> anyhow::Result<Trace> {
    let what = || {
        format!(
            "reading {} (expected a trace that a session of a pipeline wrote)",
            path.display()
        )
    };
    let file = File::open(path).with_context(what)?;
    TraceReader::new(BufReader::with_capacity(1 << 20, file)).with_context(what)
}

/// Everything that is learnt from it.
pub fn analyse(trace: &mut Trace, view: &ViewArguments) -> anyhow::Result<PipelineAnalysis> {
    let view = View {
        playback_fps: view.fps.or_else(|| tagged_fps(trace)),
        most_points: view.points,
        machine: machine_of(trace),
    };
    Ok(read(trace, view)?)
}

/// A session may say by a tag how fast its frames are shown.
fn tagged_fps(trace: &Trace) -> Option<f64> {
    trace.session().tags.get("fps")?.parse().ok()
}

/// What the machine of the trace allows: what the session knew, or what is known here if it is here that it ran.
fn machine_of(trace: &Trace) -> Option<MachineProfile> {
    let known = trace.session().machine.clone();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let is_here = host.trim() == trace.session().host;
    known.or_else(|| is_here.then(|| machine::known(cores::usable())).flatten())
}

/// The report as it is printed.
pub fn printed(
    form: ReportForm,
    template: TemplateArgument,
    analysis: &PipelineAnalysis,
    ranks: Option<&Ranks>,
) -> String {
    let template = match template {
        TemplateArgument::Full => Template::Full,
        TemplateArgument::Pipeline => Template::Pipeline,
    };
    match form {
        ReportForm::Text => pipeline::text(analysis, ranks, template),
        ReportForm::Markdown => pipeline::markdown(analysis, ranks, template),
        ReportForm::Json => pipeline::json(analysis, ranks),
    }
}

/// What files are made of.
pub struct Parts<'a> {
    pub analysis: &'a PipelineAnalysis,
    pub ranks: Option<&'a Ranks>,
    pub template: TemplateArgument,
    pub timeline: &'a dyn Fn() -> anyhow::Result<Timeline>,
    /// Every trace, and what is added to its times.
    pub traces: &'a [(PathBuf, i64)],
}

/// Writes the files that are wanted, and says which.
pub fn write(
    forms: &[PipelineFile],
    folder: &Path,
    parts: &Parts<'_>,
    printer: &Printer,
) -> anyhow::Result<()> {
    for form in forms {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let name = match form {
            PipelineFile::Html => "pipeline.html",
            PipelineFile::Json => "pipeline.json",
            PipelineFile::Markdown => "pipeline.md",
            PipelineFile::Text => "pipeline.txt",
            PipelineFile::Perfetto => "pipeline.pftrace",
        };
        let path = folder.join(name);
        let writing = || format!("writing {}", path.display());
        let text = |form| printed(form, parts.template, parts.analysis, parts.ranks);
        match form {
            PipelineFile::Html => {
                let page = pipeline::html(parts.analysis, parts.ranks, &(parts.timeline)()?, None);
                fs::write(&path, page).with_context(writing)?;
            }
            PipelineFile::Json => fs::write(&path, text(ReportForm::Json)).with_context(writing)?,
            PipelineFile::Markdown => {
                fs::write(&path, text(ReportForm::Markdown)).with_context(writing)?;
            }
            PipelineFile::Text => fs::write(&path, text(ReportForm::Text)).with_context(writing)?,
            PipelineFile::Perfetto => {
                let file = File::create(&path).with_context(writing)?;
                let mut stream = PerfettoStream::new(BufWriter::with_capacity(1 << 20, file));
                for (trace, offset_ns) in parts.traces {
                    stream
                        .file(&mut open(trace)?, *offset_ns)
                        .with_context(writing)?;
                }
                stream.finish().with_context(writing)?;
            }
        }
        printer.note(&format!("carnot: {}", path.display()));
    }
    Ok(())
}

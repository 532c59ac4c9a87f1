//! `carnot profile`: run, record, analyse, report.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use carnot_analyze::{Analysis, RunInfo, analyze};
use carnot_engine::TextEngine;
use carnot_llm::LlmEngine;
use carnot_probe::{Kind, span};
use carnot_record::{MachineProfile, Trace, TracedRun};
use carnot_report::{Form, json, text};

use crate::capture::trace_of;
use crate::cli::{Format, ProfileArguments};
use crate::generation::{Generation, generate};
use crate::model_source::Loaded;
use crate::printer::Printer;
use crate::workload::Workload;
use crate::{interrupt, machine, model_source, tensors};

/// Tokens that are generated where nobody says how many.
const TOKENS: usize = 256;
/// Ends the report for people.
const NEXT: &str =
    "next      carnot run -p 'def fibonacci(n):' · carnot machine · carnot profile MODEL.gguf\n";

pub fn execute(arguments: &ProfileArguments, printer: &Printer) -> anyhow::Result<()> {
    tensors::refuse_for_text(&arguments.tensors)?;
    let output = Output::of(arguments)?;
    let threads = arguments.model.compute.threads();
    let machine = machine::profile(threads, arguments.refresh, printer);
    interrupt::listen();

    carnot_probe::enable();
    let load = span!("load", Kind::Phase);
    let Loaded {
        mut engine,
        warnings,
    } = model_source::load(&arguments.model, printer)?;
    load.end();
    let mut trace = record(arguments, &mut engine, printer)?;

    let info = engine.model();
    let run = RunInfo {
        model: model_source::summary(info),
        threads: threads as u32,
        instructions: engine.loaded().compute().instruction_set().to_string(),
        files: output.files(),
        warnings,
        ..RunInfo::default()
    };
    let analysis = analyze(&trace, &machine, &run);
    trace.run = Some(TracedRun {
        model: run.model,
        threads: run.threads,
        machine: MachineProfile {
            kernels: None,
            ..machine
        },
    });
    give(&output, (&analysis, &trace), NEXT, printer)
}

/// Where a report goes, and in which forms.
pub struct Output<'a> {
    forms: Vec<Form>,
    folder: &'a Path,
    format: Format,
}

impl<'a> Output<'a> {
    /// What is asked for. The folder is made before the work, so that a wrong one costs none.
    pub fn of(arguments: &'a ProfileArguments) -> anyhow::Result<Self> {
        let output = Self {
            forms: arguments.emit.iter().filter_map(|emit| emit.0).collect(),
            folder: &arguments.output,
            format: arguments.format,
        };
        if !output.forms.is_empty() {
            let folder = output.folder;
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        Ok(output)
    }

    /// The files that will be written.
    pub fn files(&self) -> Vec<String> {
        let path = |form: &Form| self.folder.join(form.file_name());
        let paths = self.forms.iter().map(path);
        paths.map(|path| path.display().to_string()).collect()
    }
}

/// Writes the files and prints the report; `next` ends the one for people.
pub fn give(
    output: &Output<'_>,
    (analysis, trace): (&Analysis, &Trace),
    next: &str,
    printer: &Printer,
) -> anyhow::Result<()> {
    for form in &output.forms {
        let path = output.folder.join(form.file_name());
        fs::write(&path, form.render(analysis, trace))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    printer.result(&match output.format {
        Format::Json => json::render(analysis),
        Format::Text => text::render(analysis, printer.colour()) + next,
    })?;
    Ok(())
}

/// Warms up unrecorded, records the runs, and measures what recording cost.
fn record(
    arguments: &ProfileArguments,
    engine: &mut LlmEngine,
    printer: &Printer,
) -> anyhow::Result<Trace> {
    let workload = Workload::from(arguments);
    let request = workload.request(engine)?;
    let loading = carnot_probe::drain();
    carnot_probe::disable();
    let mut warm = Duration::ZERO;
    let (repeat, warmup) = (arguments.repeat.unwrap_or(1), arguments.warmup.unwrap_or(1));
    for _ in 0..warmup {
        warm = decode_per_token(&generate(engine, request.clone(), |_| Ok(()))?);
        stop_if_asked()?;
    }
    carnot_probe::enable();
    let cost = carnot_probe::measure_cost();
    carnot_probe::reserve(repeat * workload.events(engine, request.prompt.len()));
    for _ in 0..repeat {
        let tokenize = span!("tokenize", Kind::Phase);
        let request = workload.request(engine)?;
        tokenize.end();
        let generation = generate(engine, request, |_| Ok(()))?;
        stop_if_asked()?;
        if warmup > 0 && decode_per_token(&generation) > warm.saturating_mul(2) {
            printer.note("carnot: the recorded run was more than twice as slow as the last warm-up; the machine is busy");
        }
    }
    let mut recording = carnot_probe::drain();
    carnot_probe::disable();
    recording.prepend(loading);
    Ok(trace_of(&recording, &cost))
}

fn decode_per_token(generation: &Generation) -> Duration {
    generation.decode / (generation.usage.generated_tokens.saturating_sub(1).max(1) as u32)
}

fn stop_if_asked() -> anyhow::Result<()> {
    anyhow::ensure!(!interrupt::asked(), "interrupted; nothing was written");
    Ok(())
}

impl<'a> From<&'a ProfileArguments> for Workload<'a> {
    fn from(arguments: &'a ProfileArguments) -> Self {
        Self {
            prompt: arguments.prompt.as_deref(),
            prompt_tokens: arguments.prompt_tokens,
            tokens: arguments.tokens.unwrap_or(TOKENS),
        }
    }
}

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
use carnot_samplers::cores;

use crate::capture::trace_of;
use crate::cli::{Format, ProfileArguments};
use crate::generation::{Generation, generate};
use crate::model_source::Loaded;
use crate::printer::Printer;
use crate::workload::Workload;
use crate::{interrupt, machine, model_source};

/// Ends the report for people.
const NEXT: &str =
    "next      carnot run -p 'def fibonacci(n):' · carnot machine · carnot profile MODEL.gguf\n";

pub fn execute(arguments: &ProfileArguments, printer: &Printer) -> anyhow::Result<()> {
    let forms: Vec<Form> = arguments.emit.iter().filter_map(|emit| emit.0).collect();
    if !forms.is_empty() {
        make_folder(&arguments.output)?;
    }
    let threads = arguments.model.compute.threads;
    let threads = threads.map_or_else(cores::usable, usize::from);
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
        files: forms
            .iter()
            .map(|form| {
                arguments
                    .output
                    .join(form.file_name())
                    .display()
                    .to_string()
            })
            .collect(),
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
    write(&forms, &arguments.output, &analysis, &trace)?;
    printer.result(&match arguments.format {
        Format::Json => json::render(&analysis),
        Format::Text => text::render(&analysis, printer.colour()) + NEXT,
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
    for _ in 0..arguments.warmup {
        warm = decode_per_token(&generate(engine, request.clone(), |_| Ok(()))?);
        stop_if_asked()?;
    }
    carnot_probe::enable();
    let cost = carnot_probe::measure_cost();
    carnot_probe::reserve(arguments.repeat * workload.events(engine, request.prompt.len()));
    for _ in 0..arguments.repeat {
        let tokenize = span!("tokenize", Kind::Phase);
        let request = workload.request(engine)?;
        tokenize.end();
        let generation = generate(engine, request, |_| Ok(()))?;
        stop_if_asked()?;
        if arguments.warmup > 0 && decode_per_token(&generation) > warm.saturating_mul(2) {
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

/// The folder for the files, made before the work so that a wrong one costs none.
fn make_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

fn write(forms: &[Form], folder: &Path, analysis: &Analysis, trace: &Trace) -> anyhow::Result<()> {
    for form in forms {
        let path = folder.join(form.file_name());
        fs::write(&path, form.render(analysis, trace))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

impl<'a> From<&'a ProfileArguments> for Workload<'a> {
    fn from(arguments: &'a ProfileArguments) -> Self {
        Self {
            prompt: arguments.prompt.as_deref(),
            prompt_tokens: arguments.prompt_tokens,
            tokens: arguments.tokens,
        }
    }
}

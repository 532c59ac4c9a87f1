//! Where the model comes from: a path, or the binary itself.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use carnot_formats::ModelFile;
use carnot_kernels::InstructionSet;
use carnot_llm::{CacheSize, EngineOptions, Error, LlmEngine};
use carnot_record::ModelSummary;
use carnot_samplers::{cores, memory};

use crate::cli::{ComputeArguments, ModelArguments};
use crate::printer::{Printer, Unit};
use crate::{machine, oversubscription};

#[cfg(feature = "embedded-model")]
static EMBEDDED: &[u8] = include_bytes!("../../../models/embedded-q8_0.gguf");

/// Opens the model at `path`, or the embedded one.
pub fn open(path: Option<&Path>) -> anyhow::Result<Arc<ModelFile>> {
    let file = match path {
        Some(path) => ModelFile::open(path)?,
        None => embedded()?,
    };
    Ok(Arc::new(file))
}

#[cfg(feature = "embedded-model")]
fn embedded() -> anyhow::Result<ModelFile> {
    ModelFile::from_gguf_bytes("embedded", EMBEDDED).context("the embedded model")
}

#[cfg(not(feature = "embedded-model"))]
fn embedded() -> anyhow::Result<ModelFile> {
    anyhow::bail!(
        "no model given, and this binary was built without the embedded one (feature `embedded-model`)"
    )
}

/// An engine, and what was said about the way it was set up.
pub struct Loaded {
    pub engine: LlmEngine,
    pub warnings: Vec<String>,
}

/// Loads the engine that the arguments describe, with a progress bar.
pub fn load(arguments: &ModelArguments, printer: &Printer) -> anyhow::Result<Loaded> {
    let (mut options, mut warnings) = options(&arguments.compute, arguments.context, printer);
    // A prompt that is run again, as a profile runs it, has to be computed again.
    options.policy.prefix_cache = false;
    let engine = load_with(arguments.model.as_deref(), &options, printer)?;
    warnings.extend(engine.loaded().notes());
    Ok(Loaded { engine, warnings })
}

/// Loads the model at `path`, or the embedded one, with a progress bar.
pub fn load_with(
    path: Option<&Path>,
    options: &EngineOptions,
    printer: &Printer,
) -> anyhow::Result<LlmEngine> {
    let file = open(path)?;
    let bar = printer.progress("loading", Unit::Steps);
    let engine = LlmEngine::load(file, options, |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let flag = match options.cache {
        CacheSize::Context => "--context",
        CacheSize::Tokens(_) | CacheSize::Bytes(_) => "--cache-tokens",
    };
    let engine = engine.map_err(|error| advised(error, flag))?;
    for note in engine.loaded().notes() {
        printer.note(&format!("carnot: {note}"));
    }
    Ok(engine)
}

/// Says what to change where memory does not suffice; `flag` is what says how many tokens there is room for.
pub fn advised(error: Error, flag: &str) -> anyhow::Error {
    let Error::Memory {
        need, available, ..
    } = &error
    else {
        return anyhow::Error::new(error).context("loading the model");
    };
    let advice = match need.context_that_fits(*available) {
        Some(tokens) => format!("{flag} {tokens} fits"),
        None => "no context fits: take a smaller model, or one of fewer bits".to_owned(),
    };
    anyhow::anyhow!("{error}; {advice}")
}

/// The engine's options, and where they cannot be met or will hurt, which is said at once.
pub fn options(
    arguments: &ComputeArguments,
    context: usize,
    printer: &Printer,
) -> (EngineOptions, Vec<String>) {
    let threads = arguments.threads.map_or_else(cores::usable, usize::from);
    let measured = machine::kernel_choice(threads);
    let set = arguments.instruction_set.or(measured.map(|(set, _)| set));
    let set = set.unwrap_or_else(InstructionSet::best);
    let tuning = measured.filter(|(measured, _)| *measured == set);
    let mut warnings = Vec::from_iter(oversubscription::warning(threads, set));
    if !set.is_available() {
        warnings.push(format!(
            "this processor has no {set}; the scalar kernels run"
        ));
    }
    for warning in &warnings {
        printer.note(&format!("carnot: {warning}"));
    }
    let options = EngineOptions {
        threads,
        context,
        kv_type: arguments.kv_type,
        instruction_set: Some(set),
        tuning: tuning.map(|(_, tuning)| tuning).unwrap_or_default(),
        available_bytes: memory::available_bytes(),
        ..EngineOptions::default()
    };
    (options, warnings)
}

/// The model, as records describe it.
pub fn summary(info: &carnot_engine::ModelInfo) -> ModelSummary {
    ModelSummary {
        name: info.name.clone(),
        architecture: info.architecture.clone(),
        parameters: info.parameters,
        file_type: info.file_type.clone(),
        bytes: info.bytes,
    }
}

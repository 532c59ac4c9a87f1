//! `carnot baseline`: what this machine does today, held to targets, in three files that later runs are compared with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use carnot_bench::Targets;
use carnot_bench::baseline::Baseline;
use carnot_record::BenchRecord;

use super::bench::inference::{Effort, measure};
use crate::cli::{Backend, BaselineArguments, ModelArguments, WorkloadArguments};
use crate::printer::Printer;

pub fn execute(arguments: &BaselineArguments, printer: &Printer) -> anyhow::Result<()> {
    let targets = targets(arguments.targets.as_deref())?;
    let embedded = [None];
    let named: Vec<Option<PathBuf>> = arguments.models.iter().cloned().map(Some).collect();
    let models = if named.is_empty() {
        &embedded[..]
    } else {
        &named
    };
    let chosen: Vec<(Option<PathBuf>, Backend)> = models
        .iter()
        .map(|model| (model.clone(), backend(model.as_deref())))
        .filter(|(_, backend)| arguments.backends.contains(backend))
        .collect();
    anyhow::ensure!(
        !chosen.is_empty(),
        "--backends: none of the models is run by {}",
        arguments
            .backends
            .iter()
            .map(|backend| backend.name())
            .collect::<Vec<_>>()
            .join(" or ")
    );
    let mut records = Vec::new();
    for (model, backend) in chosen {
        records.push(record(model, backend, arguments, printer)?);
    }
    let baseline = Baseline { records, targets };
    let paths = baseline.write(&arguments.output);
    let paths = paths.with_context(|| format!("writing to {}", arguments.output.display()))?;
    printer.result(&baseline.report())?;
    for path in paths {
        printer.note(&format!("carnot: wrote {}", path.display()));
    }
    Ok(())
}

fn record(
    model: Option<PathBuf>,
    backend: Backend,
    arguments: &BaselineArguments,
    printer: &Printer,
) -> anyhow::Result<BenchRecord> {
    let workload = WorkloadArguments {
        model: ModelArguments {
            model,
            context: 8192,
            compute: arguments.compute.clone(),
        },
        prompt: None,
        prompt_tokens: arguments.prompt_tokens,
        tokens: arguments.tokens,
    };
    let mut record = measure(&workload, Effort::Time(arguments.duration), None, printer)?;
    record
        .conditions
        .insert("backend".to_owned(), backend.name().to_owned());
    Ok(record)
}

/// What runs the model at `path`; the embedded one is GGUF.
fn backend(path: Option<&Path>) -> Backend {
    let is_gguf = |path: &Path| {
        path.extension()
            .is_some_and(|extension| extension == "gguf")
    };
    match path {
        Some(path) if !is_gguf(path) => Backend::Safetensors,
        _ => Backend::Gguf,
    }
}

fn targets(path: Option<&Path>) -> anyhow::Result<Targets> {
    let Some(path) = path else {
        return Ok(Targets::usual());
    };
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    Targets::from_json(&text).with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_run_by_what_its_file_is() {
        assert_eq!(backend(None), Backend::Gguf);
        assert_eq!(backend(Some(Path::new("a/b.gguf"))), Backend::Gguf);
        assert_eq!(
            backend(Some(Path::new("a/model.safetensors"))),
            Backend::Safetensors
        );
        assert_eq!(backend(Some(Path::new("folder"))), Backend::Safetensors);
    }
}

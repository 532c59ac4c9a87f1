//! `carnot bench inference` of an ONNX model: runs with nobody looking are its latencies, runs that are recorded its losses.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use carnot_analyze::{Analysis, RunInfo, analyze};
use carnot_record::{BenchRecord, Better, Metric};
use carnot_samplers::memory;

use super::super::results::{self, Beginning};
use super::{losses, summary};
use crate::cli::InferenceArguments;
use crate::printer::Printer;
use crate::tensors::nodes::Ceilings;
use crate::tensors::runs::Clock;
use crate::tensors::session::{Measured, Session};
use crate::tensors::{self, Subject};
use crate::{interrupt, machine};

/// Runs before, where nobody says how many.
const WARMUPS: usize = 3;

pub fn execute(
    path: &Path,
    arguments: &InferenceArguments,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let workload = &arguments.workload;
    tensors::refuse(&[
        ("--prompt", workload.prompt.is_some()),
        ("--prompt-tokens", workload.prompt_tokens.is_some()),
        ("--profile", arguments.stacks.profile),
        (
            "--instruction-set",
            workload.model.compute.instruction_set.is_some(),
        ),
    ])?;
    let beginning = Beginning::of("inference");
    let threads = workload.model.compute.threads();
    let clock = Clock::start();
    let (subject, read) = clock.time(|| Subject::open(path, &arguments.tensors));
    let Subject { loaded, inputs } = subject?;
    let machine = machine::profile(threads, false, printer);
    interrupt::listen();
    let session = Session {
        loaded: &loaded,
        inputs: &inputs,
        options: &tensors::options(&arguments.tensors, threads),
        clock,
        read,
        runs: arguments.iterations,
        warmups: arguments.warmup.unwrap_or(WARMUPS),
    };
    let measured = session.measure(Ceilings {
        machine: &machine,
        threads: threads as u32,
    })?;
    let run = RunInfo {
        model: tensors::summary(&loaded, measured.analysis.parameters),
        threads: threads as u32,
        ..RunInfo::default()
    };
    let traces = measured.traces()?;
    let repetitions: Vec<Analysis> = traces
        .iter()
        .map(|trace| analyze(trace, &machine, &run))
        .collect();
    let load_s = measured.load.ns() as f64 / 1e9;
    let requests = requests(&measured, &repetitions);
    let mut record = BenchRecord {
        model: Some(run.model),
        conditions: conditions(&measured, threads),
        losses: losses(repetitions.iter()),
        summary: summary(&requests, load_s),
        ..beginning.record()
    };
    if let Some(first) = repetitions.first() {
        record.machine = first.summary().machine;
    }
    record.metrics = metrics(requests, load_s);
    results::give(&record, &arguments.result, printer)
}

/// How long runs took that nothing was recorded of, beside the floor of those that were recorded.
fn requests(measured: &Measured, repetitions: &[Analysis]) -> Metric {
    let seconds = measured.tensors.plain_ns.iter().map(|ns| *ns as f64 / 1e9);
    let requests = Metric::latencies("request", seconds.collect());
    let floors = repetitions
        .iter()
        .map(|one| one.total.floor_ns as f64 / 1e9);
    match Metric::latencies("", floors.collect()).quantile(0.5) {
        Some(floor) if floor > 0.0 => requests.with_limit(floor),
        _ => requests,
    }
}

fn metrics(requests: Metric, load_s: f64) -> Vec<Metric> {
    let peak = memory::peak_bytes().map(|bytes| bytes as f64);
    let mut metrics = vec![
        requests,
        Metric::repeated("load", "s", Better::Lower, vec![load_s]),
        Metric::repeated("peak_memory", "bytes", Better::Lower, Vec::from_iter(peak)),
    ];
    metrics.retain(|metric| !metric.values.is_empty());
    metrics
}

/// What has to be the same for two records to be compared.
fn conditions(measured: &Measured, threads: usize) -> BTreeMap<String, String> {
    let input = |input: &carnot_record::TensorInputSummary| {
        let sizes: Vec<String> = input.shape.iter().map(ToString::to_string).collect();
        format!("{}:{}", input.name, sizes.join("x"))
    };
    let inputs: Vec<String> = measured.tensors.inputs.iter().map(input).collect();
    BTreeMap::from([
        ("inputs".to_owned(), inputs.join(",")),
        ("engine".to_owned(), measured.tensors.engine.clone()),
        ("threads".to_owned(), threads.to_string()),
    ])
}

//! `carnot bench inference`: one request again and again, each accounted for from the floor up.

mod tensors;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use carnot_analyze::{Analysis, RunInfo, analyze};
use carnot_engine::{TextEngine, TextRequest};
use carnot_llm::LlmEngine;
use carnot_probe::Cost;
use carnot_probe::clock::ticks;
use carnot_record::{BenchRecord, Better, LossSamples, MachineProfile, Metric};
use carnot_report::Form;
use carnot_samplers::{cores, memory};

use super::cpu;
use super::results::{self, Beginning};
use crate::capture::trace_of;
use crate::cli::{InferenceArguments, WorkloadArguments};
use crate::generation::generate;
use crate::model_source::{self, Loaded};
use crate::printer::{Printer, Unit};
use crate::tensors::{is_onnx, refuse_for_text};
use crate::workload::Workload;
use crate::{interrupt, machine, stacks};

/// A model is steady when the times of this many requests in a row lie within [`STEADY`] of each other.
const WINDOW: usize = 3;
const STEADY: f64 = 1.10;
/// It is taken as it is after this many.
const MOST_WARMUPS: usize = 10;
/// For so long stacks are looked at.
const WATCHED: Duration = Duration::from_secs(3);
/// The file of the trace.
const TRACE: &str = "inference.trace.json";

pub fn execute(arguments: &InferenceArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    let InferenceArguments {
        workload,
        iterations,
        warmup,
        tensors,
        stacks,
        result,
    } = arguments;
    if let Some(path) = workload.model.model.as_deref().filter(|path| is_onnx(path)) {
        return tensors::execute(path, arguments, printer);
    }
    refuse_for_text(tensors)?;
    let effort = Effort::Requests(*iterations);
    let (record, mut bench) = measured(workload, effort, *warmup, printer)?;
    if let Some(folder) = result.output.as_deref().filter(|_| stacks.profile) {
        bench.profile(folder)?;
    }
    results::give(&record, result, printer)
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub enum Effort {
    /// So many requests.
    Requests(usize),
    /// As many as begin in this time, and one at least.
    Time(Duration),
}

/// Loads the model, warms it up, and measures.
pub fn measure(
    workload: &WorkloadArguments,
    effort: Effort,
    warmup: Option<usize>,
    printer: &Printer,
) -> anyhow::Result<BenchRecord> {
    Ok(measured(workload, effort, warmup, printer)?.0)
}

fn measured(
    workload: &WorkloadArguments,
    effort: Effort,
    warmup: Option<usize>,
    printer: &Printer,
) -> anyhow::Result<(BenchRecord, Bench)> {
    let beginning = Beginning::of("inference");
    let mut bench = Bench::new(workload, printer)?;
    let is_unsteady = bench.warm_up(warmup)?;
    let repetitions = bench.repeat_all(effort, printer)?;
    let load_s = bench.load_s;
    let requests = Metric::latencies("request", of(&repetitions, |one| one.seconds));
    let mut record = BenchRecord {
        model: Some(model_source::summary(bench.engine.model())),
        conditions: conditions(workload, bench.request.prompt.len()),
        losses: losses(repetitions.iter().map(|one| &one.analysis)),
        summary: summary(&requests, load_s),
        warnings: bench.warnings.clone(),
        ..beginning.record()
    };
    if let Some(first) = repetitions.first() {
        record.machine = first.analysis.summary().machine;
    }
    record.warnings.extend(is_unsteady.then(unsteady));
    record.metrics = metrics(&repetitions, requests, load_s);
    record.allocations = stacks::sites(&stacks::allocations(&mut bench.engine, &bench.request)?);
    Ok((record, bench))
}

/// What is said of a machine that never was steady.
pub fn unsteady() -> String {
    format!(
        "the last {WINDOW} of {MOST_WARMUPS} requests before were not within {:.0} % of each other: the machine is not steady",
        100.0 * (STEADY - 1.0)
    )
}

/// What the losses of each repetition sum to is its wall time.
pub fn losses<'a>(repetitions: impl ExactSizeIterator<Item = &'a Analysis>) -> Vec<LossSamples> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let count = repetitions.len();
    for (index, one) in repetitions.enumerate() {
        let summary = one.summary();
        let floor = ("floor".to_owned(), summary.floor_ns as f64);
        let losses = summary
            .losses
            .into_iter()
            .map(|loss| (loss.name, loss.ns as f64));
        for (name, ns) in std::iter::once(floor).chain(losses) {
            // One that a repetition did not have took it no time.
            all.entry(name).or_insert_with(|| vec![0.0; count])[index] += ns;
        }
    }
    all.into_iter()
        .map(|(name, ns)| LossSamples { name, ns })
        .collect()
}

fn metrics(repetitions: &[Repetition], requests: Metric, load_s: f64) -> Vec<Metric> {
    let floor = Metric::latencies(
        "",
        of(repetitions, |one| one.analysis.total.floor_ns as f64),
    );
    let requests = match floor.quantile(0.5) {
        Some(floor) if floor > 0.0 => requests.with_limit(floor / 1e9),
        _ => requests,
    };
    let first = of(repetitions, |one| {
        one.analysis.latency.first_token.p50_ns as f64 / 1e9
    });
    let gaps = repetitions
        .iter()
        .flat_map(|one| one.gaps.clone())
        .collect();
    let mut metrics = vec![
        requests,
        Metric::latencies("time_to_first_token", first),
        Metric::latencies("inter_token_latency", gaps),
    ];
    for phase in ["prefill", "decode"] {
        let rates = of(repetitions, |one| rate(&one.analysis, phase).0);
        let limits = Metric::latencies("", of(repetitions, |one| rate(&one.analysis, phase).1));
        let metric = Metric::repeated(phase, "tokens/s", Better::Higher, rates);
        metrics.push(match limits.quantile(0.5) {
            Some(limit) if limit > 0.0 => metric.with_limit(limit),
            _ => metric,
        });
    }
    metrics.push(Metric::repeated("load", "s", Better::Lower, vec![load_s]));
    let peak = memory::peak_bytes().map(|bytes| bytes as f64);
    let peak = Metric::repeated("peak_memory", "bytes", Better::Lower, Vec::from_iter(peak));
    metrics.push(peak);
    metrics.retain(|metric| !metric.values.is_empty());
    metrics
}

/// Tokens a second of a phase, and what they could be.
fn rate(analysis: &Analysis, phase: &str) -> (f64, f64) {
    let phase = analysis.phases.iter().find(|known| known.name == phase);
    phase.map_or((0.0, 0.0), |phase| {
        (phase.tokens_per_s(), phase.limit_tokens_per_s())
    })
}

fn of(repetitions: &[Repetition], value: impl Fn(&Repetition) -> f64) -> Vec<f64> {
    repetitions.iter().map(value).collect()
}

fn summary(requests: &Metric, load_s: f64) -> BTreeMap<String, f64> {
    let mut summary = results::latency_summary(requests);
    let total: f64 = requests.values.iter().sum();
    let count = requests.values.len() as f64;
    let memory = memory::peak_bytes().map(|bytes| bytes as f64 / 1e6);
    let figures = [
        ("iterations", Some(count)),
        ("successful_requests", Some(count)),
        ("failed_requests", Some(0.0)),
        ("error_rate", Some(0.0)),
        ("total_duration_sec", Some(total)),
        ("throughput_rps", (total > 0.0).then(|| count / total)),
        ("model_loading_time_ms", Some(1e3 * load_s)),
        ("memory_usage_mb", memory),
    ];
    let figures = figures
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    summary.extend(figures);
    summary
}

/// What has to be the same for two records to be compared.
pub fn conditions(workload: &WorkloadArguments, prompt_tokens: usize) -> BTreeMap<String, String> {
    let compute = &workload.model.compute;
    let mut conditions = BTreeMap::from([
        ("prompt-tokens".to_owned(), prompt_tokens.to_string()),
        ("tokens".to_owned(), workload.tokens.to_string()),
        (
            "kv-type".to_owned(),
            format!("{:?}", compute.kv_type).to_lowercase(),
        ),
    ]);
    if let Some(set) = compute.instruction_set {
        conditions.insert("instruction-set".to_owned(), set.to_string());
    }
    conditions
}

/// A loaded model that is asked the same again and again.
pub struct Bench {
    pub engine: LlmEngine,
    pub request: TextRequest,
    machine: MachineProfile,
    run: RunInfo,
    cost: Cost,
    load_s: f64,
    pub warnings: Vec<String>,
}

/// One request, accounted for.
pub struct Repetition {
    seconds: f64,
    /// Seconds from token to token.
    gaps: Vec<f64>,
    pub analysis: Analysis,
}

impl Bench {
    pub fn new(arguments: &WorkloadArguments, printer: &Printer) -> anyhow::Result<Self> {
        let threads = arguments.model.compute.threads;
        let threads = threads.map_or_else(cores::usable, usize::from);
        let machine = machine::profile(threads, false, printer);
        interrupt::listen();
        let begin = Instant::now();
        let Loaded { engine, warnings } = model_source::load(&arguments.model, printer)?;
        let load_s = begin.elapsed().as_secs_f64();
        let workload = Workload::from(arguments);
        let request = workload.request(&engine)?;
        let run = RunInfo {
            model: model_source::summary(engine.model()),
            threads: threads as u32,
            ..RunInfo::default()
        };
        carnot_probe::enable();
        let cost = carnot_probe::measure_cost();
        carnot_probe::reserve(workload.events(&engine, request.prompt.len()));
        drop(carnot_probe::drain());
        Ok(Self {
            engine,
            request,
            machine,
            run,
            cost,
            load_s,
            warnings,
        })
    }

    /// Runs `wanted` requests, or until they are steady; whether they never were.
    pub fn warm_up(&mut self, wanted: Option<usize>) -> anyhow::Result<bool> {
        let mut times: Vec<f64> = Vec::new();
        for _ in 0..wanted.unwrap_or(MOST_WARMUPS) {
            times.push(self.repeat()?.seconds);
            if wanted.is_none() && is_steady(&times) {
                break;
            }
        }
        Ok(wanted.is_none() && !is_steady(&times))
    }

    fn repeat_all(&mut self, effort: Effort, printer: &Printer) -> anyhow::Result<Vec<Repetition>> {
        let bar = printer.progress("requests", Unit::Steps);
        let begin = Instant::now();
        let mut repetitions = Vec::new();
        let goes_on = |done: usize| match effort {
            Effort::Requests(wanted) => done < wanted,
            Effort::Time(time) => done == 0 || begin.elapsed() < time,
        };
        if let Effort::Requests(wanted) = effort {
            bar.set_length(wanted as u64);
        }
        while goes_on(repetitions.len()) {
            repetitions.push(self.repeat()?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(repetitions)
    }

    /// The trace of a request, and the stacks of others.
    fn profile(&mut self, folder: &Path) -> anyhow::Result<()> {
        drop(carnot_probe::drain());
        generate(&mut self.engine, self.request.clone(), |_| Ok(()))?;
        let trace = trace_of(&carnot_probe::drain(), &self.cost);
        carnot_probe::disable();
        let profile = cpu::watch(&mut self.engine, &self.request, WATCHED, "inference")?;
        stacks::write(&profile, folder, "inference")?;
        let analysis = analyze(&trace, &self.machine, &self.run);
        let path = folder.join(TRACE);
        fs::write(&path, Form::Trace.render(&analysis, &trace))
            .with_context(|| format!("writing {}", path.display()))
    }

    /// Asks once; the request is timed by the clock of its losses, whose sum can then not exceed it.
    pub fn repeat(&mut self) -> anyhow::Result<Repetition> {
        let begin = ticks();
        let mut tokens = Vec::with_capacity(self.request.max_tokens);
        generate(&mut self.engine, self.request.clone(), |_| {
            tokens.push(ticks());
            Ok(())
        })?;
        let end = ticks();
        anyhow::ensure!(!interrupt::asked(), "interrupted; nothing was written");
        let recording = carnot_probe::drain();
        let trace = trace_of(&recording, &self.cost);
        let scale = recording.scale;
        let between = |from, to| (scale.ns(to) - scale.ns(from)) as f64 / 1e9;
        let gap = |pair: &[u64]| between(pair[0], pair[1]);
        // The last piece is what the end adds to the last token: no token of its own.
        tokens.pop();
        Ok(Repetition {
            seconds: between(begin, end),
            gaps: tokens.windows(2).map(gap).collect(),
            analysis: analyze(&trace, &self.machine, &self.run),
        })
    }
}

fn is_steady(times: &[f64]) -> bool {
    times.last_chunk::<WINDOW>().is_some_and(|last| {
        let (least, most) = last
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(least, most), &time| {
                (least.min(time), most.max(time))
            });
        most <= STEADY * least
    })
}

impl<'a> From<&'a WorkloadArguments> for Workload<'a> {
    fn from(arguments: &'a WorkloadArguments) -> Self {
        Self {
            prompt: arguments.prompt.as_deref(),
            prompt_tokens: arguments.prompt_tokens,
            tokens: arguments.tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_alike_in_a_row_are_steady() {
        assert!(!is_steady(&[1.0, 1.0]));
        assert!(is_steady(&[9.0, 1.0, 1.05, 1.1]));
        assert!(!is_steady(&[1.0, 1.0, 1.0, 1.2]));
    }
}

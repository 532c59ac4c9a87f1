//! `carnot bench cpu`: where processor time goes, by function, while a model runs.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use carnot_engine::TextRequest;
use carnot_llm::LlmEngine;
use carnot_record::{BenchRecord, Better, Metric};
use carnot_report::stack_profile::StackProfile;
use carnot_sampling::cpu::{RATE, Sampler, Samples};

use super::inference::{self, Bench, conditions};
use super::results::{self, Beginning};
use crate::cli::CpuArguments;
use crate::generation::generate;
use crate::printer::{Printer, Unit};
use crate::{interrupt, stacks};

/// Stacks that end nowhere make names doubtful above this share of the samples.
const CUT: f64 = 0.05;

pub fn execute(arguments: &CpuArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    let beginning = Beginning::of("cpu");
    let mut bench = Bench::new(&arguments.workload, printer)?;
    let is_unsteady = bench.warm_up(None)?;
    carnot_probe::disable();
    let bar = printer.progress("requests", Unit::Steps);
    let sampler = Sampler::start(arguments.frequency)?;
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.is_empty() || begin.elapsed() < arguments.duration {
        let asked = Instant::now();
        generate(&mut bench.engine, bench.request.clone(), |_| Ok(()))?;
        anyhow::ensure!(!interrupt::asked(), "interrupted; nothing was written");
        times.push(asked.elapsed().as_secs_f64());
        bar.inc(1);
    }
    let samples = sampler.stop();
    bar.finish_and_clear();
    // One more, recorded: where the time went from the floor up, beside the functions.
    carnot_probe::enable();
    drop(carnot_probe::drain());
    let accounted = [bench.repeat()?];
    let [repetition] = &accounted;
    let mut record = BenchRecord {
        model: Some(repetition.analysis.summary().model),
        machine: repetition.analysis.summary().machine,
        conditions: conditions(&arguments.workload, bench.request.prompt.len()),
        losses: inference::losses(accounted.iter().map(|one| &one.analysis)),
        warnings: bench.warnings.clone(),
        ..beginning.record()
    };
    record
        .warnings
        .extend(is_unsteady.then(inference::unsteady));
    let frequency = ("frequency".to_owned(), arguments.frequency.to_string());
    record.conditions.extend([frequency]);
    let floor_s = repetition.analysis.total.floor_ns as f64 / 1e9;
    tell(&mut record, &samples, times, floor_s);
    let profile = profile_of(&samples, "cpu");
    record.functions = stacks::shares(&profile);
    if let Some(folder) = &arguments.result.output {
        stacks::write(&profile, folder, "cpu")?;
    }
    results::give(&record, &arguments.result, printer)
}

/// Stacks of requests for a while, for suites that measured without being watched.
pub fn watch(
    engine: &mut LlmEngine,
    request: &TextRequest,
    time: Duration,
    suite: &str,
) -> anyhow::Result<StackProfile> {
    let sampler = Sampler::start(RATE)?;
    let begin = Instant::now();
    while begin.elapsed() < time && !interrupt::asked() {
        generate(engine, request.clone(), |_| Ok(()))?;
    }
    Ok(profile_of(&sampler.stop(), suite))
}

pub fn profile_of(samples: &Samples, suite: &str) -> StackProfile {
    let title = format!("carnot bench {suite} · processor time by call path");
    stacks::of_processor(samples, title)
}

fn tell(record: &mut BenchRecord, samples: &Samples, times: Vec<f64>, floor_s: f64) {
    let requests = times.len() as f64;
    let used_s = samples.stacks.iter().map(|stack| stack.cpu_ns).sum::<u64>() as f64 / 1e9;
    let wall_s = samples.wall_ns as f64 / 1e9;
    let one =
        |name: &str, unit: &str, better, value| Metric::repeated(name, unit, better, vec![value]);
    let threads = f64::from(record.machine.threads.max(1));
    let request = Metric::latencies("request", times);
    record.metrics = vec![
        if floor_s > 0.0 {
            request.with_limit(floor_s)
        } else {
            request
        },
        one("cpu_of_a_request", "s", Better::Lower, used_s / requests)
            .with_limit(floor_s * threads),
        one("cpu_utilization", "cores", Better::Higher, used_s / wall_s).with_limit(threads),
        one("samples", "", Better::Higher, samples.count as f64),
        one(
            "sampler_cpu",
            "share",
            Better::Lower,
            samples.sampler_ns as f64 / samples.wall_ns as f64,
        ),
    ];
    let share = |count: u64| count as f64 / samples.count.max(1) as f64;
    if share(samples.cut) > CUT {
        record.warnings.push(format!(
            "{:.0} % of the stacks could not be followed to their beginning",
            100.0 * share(samples.cut)
        ));
    }
    if samples.missed + samples.unanswered > 0 {
        record.warnings.push(format!(
            "{} moments passed without a sample and {} threads did not answer: their time is in the samples after them",
            samples.missed, samples.unanswered
        ));
    }
}

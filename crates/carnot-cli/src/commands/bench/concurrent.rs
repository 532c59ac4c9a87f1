//! `carnot bench concurrent`: the same request of one client, of two, of four…, and the law that their throughput follows.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use carnot_analyze::{Analysis, LossKind, RunInfo, WallScope, analyze};
use carnot_bench::Scalability;
use carnot_engine::{Event, RequestId, TextEngine, TextRequest};
use carnot_llm::scheduler::Policy;
use carnot_llm::{CacheSize, EngineOptions, LlmEngine};
use carnot_probe::{Cost, Kind, span};
use carnot_record::{BenchRecord, Better, MachineProfile, Metric, Series};
use carnot_samplers::cores;
use carnot_sampling::cpu::{RATE, Sampler};

use super::cpu;
use super::inference::conditions;
use super::results::{self, Beginning};
use crate::capture::trace_of;
use crate::cli::{ConcurrentArguments, WorkloadArguments};
use crate::printer::{Printer, Unit};
use crate::workload::Workload;
use crate::{interrupt, machine, model_source, stacks};

/// Points of the curve of the law.
const CURVE: usize = 60;

pub fn execute(arguments: &ConcurrentArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    let record = measure(arguments, printer)?;
    results::give(&record, &arguments.result, printer)
}

fn measure(arguments: &ConcurrentArguments, printer: &Printer) -> anyhow::Result<BenchRecord> {
    let beginning = Beginning::of("concurrent");
    let mut bench = Bench::new(arguments, printer)?;
    // One that does not count, for page faults and clocks.
    bench.level(1, 1)?;
    let bar = printer.progress("requests", Unit::Steps);
    bar.set_length((arguments.clients.iter().sum::<usize>() * arguments.requests) as u64);
    let mut levels = Vec::new();
    for &clients in &arguments.clients {
        levels.push(bench.level(clients, arguments.requests)?);
        bar.inc((clients * arguments.requests) as u64);
    }
    bar.finish_and_clear();
    if let Some(folder) = arguments
        .result
        .output
        .as_deref()
        .filter(|_| arguments.stacks.profile)
    {
        bench.profile(arguments, folder)?;
    }
    let mut record = BenchRecord {
        model: Some(bench.run.model.clone()),
        conditions: conditions(&arguments.workload, bench.request.prompt.len()),
        ..beginning.record()
    };
    if let Some(level) = levels.first() {
        record.machine = level.analysis.summary().machine;
    }
    let requests = ("requests".to_owned(), arguments.requests.to_string());
    record.conditions.extend([requests]);
    tell(&levels, &mut record);
    Ok(record)
}

/// A loaded model, and what its losses are told by.
struct Bench {
    engine: LlmEngine,
    request: TextRequest,
    /// Events of one request alone.
    events: usize,
    machine: MachineProfile,
    run: RunInfo,
    cost: Cost,
}

/// A number of clients, measured.
struct Level {
    clients: usize,
    wall_s: f64,
    tokens: usize,
    latencies: Metric,
    first: Metric,
    analysis: Analysis,
}

/// A request that is under way.
struct Asked {
    since: Instant,
    is_answering: bool,
}

impl Bench {
    fn new(arguments: &ConcurrentArguments, printer: &Printer) -> anyhow::Result<Self> {
        let compute = &arguments.workload.model.compute;
        let threads = compute.threads.map_or_else(cores::usable, usize::from);
        let machine = machine::profile(threads, false, printer);
        interrupt::listen();
        let engine = load(arguments, printer)?;
        let workload = Workload::from(&arguments.workload);
        let request = workload.request(&engine)?;
        carnot_probe::enable();
        let cost = carnot_probe::measure_cost();
        drop(carnot_probe::drain());
        Ok(Self {
            events: workload.events(&engine, request.prompt.len()),
            run: RunInfo {
                model: model_source::summary(engine.model()),
                threads: threads as u32,
                wall: WallScope::Everything,
                ..RunInfo::default()
            },
            engine,
            request,
            machine,
            cost,
        })
    }

    /// The most clients once more, with their stacks.
    fn profile(&mut self, arguments: &ConcurrentArguments, folder: &Path) -> anyhow::Result<()> {
        let clients = arguments.clients.iter().max().copied().unwrap_or(1);
        carnot_probe::disable();
        let sampler = Sampler::start(RATE)?;
        self.level(clients, arguments.requests)?;
        let profile = cpu::profile_of(&sampler.stop(), "concurrent");
        stacks::write(&profile, folder, "concurrent")
    }

    /// So many clients, each of which asks again when it is answered, `each` times.
    fn level(&mut self, clients: usize, each: usize) -> anyhow::Result<Level> {
        // Steps are shared; only prompts are each computed alone.
        carnot_probe::reserve(2 * each * self.events);
        let begin = Instant::now();
        let phase = span!("concurrent", Kind::Phase);
        let mut asked: HashMap<RequestId, Asked> = HashMap::new();
        let (mut latencies, mut first, mut tokens) = (Vec::new(), Vec::new(), 0);
        let mut left = clients * each;
        let mut events = Vec::new();
        while left > 0 || !asked.is_empty() {
            while left > 0 && asked.len() < clients {
                let since = Instant::now();
                let id = self.engine.submit(self.request.clone(), begin.elapsed())?;
                let is_answering = false;
                asked.insert(
                    id,
                    Asked {
                        since,
                        is_answering,
                    },
                );
                left -= 1;
            }
            self.engine.step(begin.elapsed(), &mut events)?;
            for event in events.drain(..) {
                match event {
                    Event::Token { request, .. } => {
                        let known = asked.get_mut(&request);
                        if let Some(known) = known.filter(|known| !known.is_answering) {
                            known.is_answering = true;
                            first.push(known.since.elapsed().as_secs_f64());
                        }
                    }
                    Event::Finished { request, usage, .. } => {
                        tokens += usage.generated_tokens;
                        let known = asked.remove(&request);
                        latencies.extend(known.map(|known| known.since.elapsed().as_secs_f64()));
                    }
                    _ => {}
                }
            }
            anyhow::ensure!(!interrupt::asked(), "interrupted; nothing was written");
        }
        phase.tokens(tokens as u32).end();
        let wall_s = begin.elapsed().as_secs_f64();
        let trace = trace_of(&carnot_probe::drain(), &self.cost);
        Ok(Level {
            clients,
            wall_s,
            tokens,
            latencies: Metric::latencies("", latencies),
            first: Metric::latencies("", first),
            analysis: analyze(&trace, &self.machine, &self.run),
        })
    }
}

/// An engine with room for all clients at once.
fn load(arguments: &ConcurrentArguments, printer: &Printer) -> anyhow::Result<LlmEngine> {
    let WorkloadArguments {
        model,
        prompt,
        prompt_tokens,
        tokens,
    } = &arguments.workload;
    let most = arguments.clients.iter().max().copied().unwrap_or(1);
    let (options, _) = model_source::options(&model.compute, model.context, printer);
    // A token is at least a byte; 128 is the length of the built-in prompt, and what is left of a block.
    let prompt = prompt
        .as_ref()
        .map_or(prompt_tokens.unwrap_or(128), String::len);
    let options = EngineOptions {
        cache: CacheSize::Tokens(most * (prompt + tokens + 128)),
        policy: Policy {
            max_running: most,
            // What is asked again has to be computed again.
            prefix_cache: false,
            ..Policy::default()
        },
        ..options
    };
    model_source::load_with(model.model.as_deref(), &options, printer)
}

/// Puts what the levels were into metrics, curves, and the names that other tools have for them.
fn tell(levels: &[Level], record: &mut BenchRecord) {
    let rate = |level: &Level| level.tokens as f64 / level.wall_s;
    let points: Vec<(f64, f64)> = levels
        .iter()
        .map(|level| (level.clients as f64, rate(level)))
        .collect();
    for level in levels {
        let name = format!("throughput_of_{}", level.clients);
        let metric = Metric::repeated(&name, "tokens/s", Better::Higher, vec![rate(level)]);
        let total = &level.analysis.total;
        let limit = rate(level) * total.wall_ns as f64 / total.floor_ns.max(1) as f64;
        let metrics = [
            if total.floor_ns > 0 {
                metric.with_limit(limit)
            } else {
                metric
            },
            named(&level.latencies, format!("request_of_{}", level.clients)),
            named(&level.first, format!("first_token_of_{}", level.clients)),
        ];
        record.metrics.extend(metrics);
        let requests = level.latencies.values.len() as f64;
        let sum: f64 = level.latencies.values.iter().sum();
        let figures = [
            ("successful", requests),
            ("failed", 0.0),
            ("duration_sec", level.wall_s),
            ("throughput_rps", requests / level.wall_s),
            ("avg_latency_ms", 1e3 * sum / requests.max(1.0)),
        ];
        let names = figures.map(|(name, value)| (format!("{name}_{}", level.clients), value));
        record.summary.extend(names);
    }
    record
        .series
        .push(line("Throughput", "measured", points.clone()));
    if let Some(law) = Scalability::fit(&points) {
        let most = points.iter().map(|(n, _)| *n).fold(1.0, f64::max);
        let at = |index: usize| 1.0 + (most - 1.0) * index as f64 / CURVE as f64;
        let curve = (0..=CURVE).map(|index| (at(index), law.at(at(index))));
        record.series.push(line(
            "Throughput",
            "fit of the scalability law",
            curve.collect(),
        ));
        let figures = [("contention", law.contention), ("coherency", law.coherency)];
        for (name, value) in figures {
            record
                .metrics
                .push(Metric::repeated(name, "share", Better::Lower, vec![value]));
        }
        let bests = [
            ("scalability_limit", "tokens/s", law.limit()),
            ("best_clients", "clients", law.best()),
        ];
        for (name, unit, value) in bests.into_iter().filter(|(_, _, value)| value.is_finite()) {
            record
                .metrics
                .push(Metric::repeated(name, unit, Better::Higher, vec![value]));
        }
        if law.explained < 0.9 {
            record.warnings.push(format!(
                "the scalability law explains {:.0} % of the variance of throughput: its limit is a guess",
                100.0 * law.explained
            ));
        }
    }
    for kind in [
        LossKind::Kernel,
        LossKind::Wait,
        LossKind::Engine,
        LossKind::Probe,
    ] {
        let share = |level: &Level| {
            let losses = level.analysis.total.losses.iter();
            let share = losses
                .filter(|loss| loss.kind == kind)
                .map(|loss| loss.share);
            (level.clients as f64, share.sum())
        };
        let points = levels.iter().map(share).collect();
        record.series.push(Series {
            y: "share of the wall, share".to_owned(),
            ..line("Losses", kind.name(), points)
        });
    }
}

fn named(metric: &Metric, name: String) -> Metric {
    Metric {
        name,
        ..metric.clone()
    }
}

fn line(plot: &str, name: &str, points: Vec<(f64, f64)>) -> Series {
    Series {
        plot: plot.to_owned(),
        name: name.to_owned(),
        x: "clients, ".to_owned(),
        y: "tokens a second, tokens/s".to_owned(),
        points: points.into_iter().map(|(x, y)| [x, y]).collect(),
    }
}

//! `carnot bench memory-profile`: a model is loaded, runs and is unloaded, again and again in this process; does memory come back?

mod eager;
mod verdict;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use carnot_engine::{TextEngine, TextRequest};
use carnot_llm::{CacheSize, EngineOptions, LlmEngine};
use carnot_record::{AllocationSite, BenchRecord, Better, Metric, Record, Series};
use carnot_report::units;
use carnot_sampling::heap::{self, Heap};

use super::resident::{Kinds, kinds, resident_bytes};
use super::stamp;
use crate::cli::{Format, MemoryProfileArguments};
use crate::generation::generate;
use crate::printer::{Printer, Unit};
use crate::{interrupt, model_source, stacks};
use verdict::Verdict;

/// Nobody knows whether memory goes on rising.
const INCONCLUSIVE: u8 = 3;
const PROMPT: &str = "def read_lines(path):\n";
/// What is shown beside the trend: growth of each cycle, and of one, that a simpler rule would mind.
const EACH_BYTES: f64 = 1e6;
const ONE_BYTES: f64 = 10e6;
/// Places of allocations that are printed.
const SITES: usize = 5;
/// Peaks that are worth a word.
const BANDS: [(f64, &str); 2] = [
    (500e6, "large: above 500 MB"),
    (100e6, "moderate: above 100 MB"),
];

/// Resident memory at the four moments of a cycle, in bytes, and what its parts took.
#[derive(Clone, Debug)]
struct Cycle {
    before: f64,
    loaded: f64,
    ran: f64,
    unloaded: f64,
    load: Duration,
    run: Duration,
    kinds: Option<Kinds>,
}

/// What is read off a cycle.
type Moment = fn(&Cycle) -> f64;

impl Cycle {
    fn delta(&self) -> f64 {
        self.unloaded - self.before
    }
}

pub fn execute(arguments: &MemoryProfileArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    interrupt::listen();
    if !eager::is_set() {
        return eager::again();
    }
    let mut record = stamp::begin("memory-profile");
    let begin = Instant::now();
    let compute = &arguments.model.compute;
    let (options, mut warnings) = model_source::options(compute, arguments.model.context, printer);
    let bar = printer.progress("cycles", Unit::Steps);
    bar.set_length(arguments.cycles as u64);
    let mut cycles = Vec::with_capacity(arguments.cycles);
    while cycles.len() < arguments.cycles && !interrupt::asked() {
        cycles.push(cycle(arguments, &options, &mut record)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if arguments.track && !interrupt::asked() {
        // After the others: what is made once and kept is there by now.
        heap::track();
        let tracked = cycle(arguments, &options, &mut record);
        let heap = heap::stop();
        tracked?;
        record.allocations = kept(&heap);
    }
    record.took_s = begin.elapsed().as_secs_f64();
    let unloaded: Vec<f64> = cycles.iter().map(|cycle| cycle.unloaded).collect();
    let verdict = Verdict::of(&unloaded);
    warnings.extend(doubts(&cycles, verdict));
    record.warnings = warnings;
    fill(&mut record, arguments, &cycles, verdict);
    if let Some(path) = &arguments.output {
        stamp::write(&record, path)?;
    }
    printer.result(&match arguments.format {
        Format::Text => text(&record, &cycles, verdict),
        Format::Json => record.to_json() + "\n",
    })?;
    Ok(match verdict {
        Verdict::Level(_) => ExitCode::SUCCESS,
        Verdict::Leak(_) => ExitCode::FAILURE,
        Verdict::Settling(_) | Verdict::TooFew => ExitCode::from(INCONCLUSIVE),
    })
}

/// Places whose allocations outlived a cycle, the one that kept the most first.
fn kept(heap: &Heap) -> Vec<AllocationSite> {
    let mut sites = stacks::sites(heap);
    sites.retain(|site| site.kept_bytes > 0.0);
    sites.sort_by(|a, b| b.kept_bytes.total_cmp(&a.kept_bytes));
    sites
}

/// Loads the model, lets it generate, and unloads it.
fn cycle(
    arguments: &MemoryProfileArguments,
    options: &EngineOptions,
    record: &mut BenchRecord,
) -> anyhow::Result<Cycle> {
    let before = resident_bytes()?;
    let begin = Instant::now();
    let file = model_source::open(arguments.model.model.as_deref())?;
    let flag = match options.cache {
        CacheSize::Context => "--context",
        CacheSize::Tokens(_) | CacheSize::Bytes(_) => "--cache-tokens",
    };
    let engine = LlmEngine::load(file, options, |_, _| ());
    let mut engine = engine.map_err(|error| model_source::advised(error, flag))?;
    let (load, loaded) = (begin.elapsed(), resident_bytes()?);
    let begin = Instant::now();
    let request = TextRequest {
        prompt: engine.codec().encode(PROMPT, true)?,
        max_tokens: arguments.tokens,
        ignore_eos: true,
        ..TextRequest::default()
    };
    generate(&mut engine, request, |_| Ok(()))?;
    let (run, ran) = (begin.elapsed(), resident_bytes()?);
    record.model = Some(model_source::summary(engine.model()));
    drop(engine);
    let unloaded = resident_bytes()?;
    Ok(Cycle {
        before,
        loaded,
        ran,
        unloaded,
        load,
        run,
        kinds: arguments.track.then(kinds).transpose()?,
    })
}

/// What should be known beside the verdict.
fn doubts(cycles: &[Cycle], verdict: Verdict) -> Vec<String> {
    let mut told = Vec::new();
    match verdict {
        Verdict::Level(_) => (),
        Verdict::Leak(trend) => told.push(format!(
            "memory rises from cycle to cycle, by {} (certain to 99 %: between {} and {})",
            units::bytes(trend.slope),
            units::bytes(trend.low),
            units::bytes(trend.high)
        )),
        Verdict::Settling(_) => told.push(format!(
            "memory rises, but more slowly than before: {} cycles would tell whether it ends",
            4 * cycles.len()
        )),
        Verdict::TooFew => told.push(format!(
            "{} cycles say nothing of whether memory rises; {} do",
            cycles.len(),
            verdict::LEAST_CYCLES
        )),
    }
    let most = cycles.iter().skip(1).map(Cycle::delta).fold(0.0, f64::max);
    if most > ONE_BYTES {
        told.push(format!("a cycle kept {}", units::bytes(most)));
    }
    told
}

fn fill(
    record: &mut BenchRecord,
    arguments: &MemoryProfileArguments,
    cycles: &[Cycle],
    verdict: Verdict,
) {
    record.conditions = [
        (
            "model",
            arguments
                .model
                .model
                .as_ref()
                .map_or_else(|| "embedded".to_owned(), |path| path.display().to_string()),
        ),
        ("context", arguments.model.context.to_string()),
        ("tokens", arguments.tokens.to_string()),
        ("cycles", cycles.len().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let bytes = |name: &str, of: Moment| {
        let values = cycles.iter().map(of).collect();
        Metric::repeated(name, "bytes", Better::Lower, values)
    };
    let seconds = |name: &str, of: Moment| {
        let values = cycles.iter().map(of).collect();
        Metric::repeated(name, "s", Better::Lower, values)
    };
    if let Some(trend) = verdict.trend() {
        let values = vec![trend.slope];
        record.metrics.push(Metric::repeated(
            "growth_per_cycle",
            "bytes",
            Better::Lower,
            values,
        ));
    }
    record.metrics.extend([
        bytes("after_unload", |cycle| cycle.unloaded),
        bytes("memory_delta", Cycle::delta),
        bytes("before_load", |cycle| cycle.before),
        bytes("loaded", |cycle| cycle.loaded),
        bytes("after_inference", |cycle| cycle.ran),
        seconds("load", |cycle| cycle.load.as_secs_f64()),
        seconds("inference", |cycle| cycle.run.as_secs_f64()),
    ]);
    let series = |name: &str, of: Moment| Series {
        plot: "memory".to_owned(),
        name: name.to_owned(),
        x: "cycle".to_owned(),
        y: "memory (bytes)".to_owned(),
        points: cycles
            .iter()
            .enumerate()
            .map(|(index, cycle)| [(index + 1) as f64, of(cycle)])
            .collect(),
    };
    record.series.extend([
        series("loaded", |cycle| cycle.loaded),
        series("after inference", |cycle| cycle.ran),
        series("after unloading", |cycle| cycle.unloaded),
    ]);
    for (name, values) in tracked(cycles) {
        record.metrics.push(Metric::repeated(
            &format!("kept/{name}"),
            Kinds::unit(name),
            Better::Lower,
            values,
        ));
    }
}

/// Each kind of memory after unloading, of every cycle; nothing where it was not tracked.
fn tracked(cycles: &[Cycle]) -> Vec<(&'static str, Vec<f64>)> {
    let all: Option<Vec<&Kinds>> = cycles.iter().map(|cycle| cycle.kinds.as_ref()).collect();
    let Some(all) = all.filter(|all| !all.is_empty()) else {
        return Vec::new();
    };
    Kinds::NAMES
        .iter()
        .enumerate()
        .map(|(index, name)| (*name, all.iter().map(|kinds| kinds.values[index]).collect()))
        .collect()
}

fn text(record: &BenchRecord, cycles: &[Cycle], verdict: Verdict) -> String {
    let model = record
        .model
        .as_ref()
        .map_or("–", |model| model.name.as_str());
    let mut out = format!(
        "carnot bench memory-profile   {model} · {} cycles of load, inference, unload · {:.1} s\n\n",
        cycles.len(),
        record.took_s
    );
    let _ = writeln!(
        out,
        "{:<20}{:>12}{:>12}{:>12}{:>12}",
        "resident memory", "first", "median", "last", "most"
    );
    let rows: [(&str, Moment); 5] = [
        ("before", |cycle| cycle.before),
        ("loaded", |cycle| cycle.loaded),
        ("after inference", |cycle| cycle.ran),
        ("after unloading", |cycle| cycle.unloaded),
        ("kept by a cycle", Cycle::delta),
    ];
    for (name, of) in rows {
        let _ = writeln!(
            out,
            "{name:<20}{}",
            row(cycles.iter().map(of).collect(), units::bytes)
        );
    }
    for (name, values) in tracked(cycles) {
        let written = match Kinds::unit(name) {
            "bytes" => units::bytes,
            _ => |count: f64| units::count(count as u64),
        };
        let rises = match Verdict::of(&values) {
            Verdict::Leak(trend) => format!("   rises by {} a cycle", written(trend.slope)),
            _ => String::new(),
        };
        let _ = writeln!(out, "  {name:<18}{}{rises}", row(values, written));
    }
    let peak = cycles
        .iter()
        .map(|cycle| cycle.ran.max(cycle.loaded))
        .fold(0.0, f64::max);
    let band = BANDS.iter().find(|(least, _)| peak > *least);
    let _ = writeln!(
        out,
        "\npeak               {} ({})",
        units::bytes(peak),
        band.map_or("small: at most 100 MB", |(_, words)| words)
    );
    if let Some(trend) = verdict.trend() {
        let _ = writeln!(
            out,
            "trend              {} a cycle, between {} and {} (certain to 99 %, over the last {} cycles)",
            units::bytes(trend.slope),
            units::bytes(trend.low),
            units::bytes(trend.high),
            cycles.len() - cycles.len() / 2
        );
        let above = if trend.slope > EACH_BYTES {
            "more"
        } else {
            "not more"
        };
        let _ = writeln!(
            out,
            "                   {above} than {} a cycle",
            units::bytes(EACH_BYTES)
        );
    }
    for site in record.allocations.iter().take(SITES) {
        let _ = writeln!(
            out,
            "kept by one more   {:>10}   {} {}",
            units::bytes(site.kept_bytes),
            site.function,
            site.place
        );
    }
    let words = match verdict {
        Verdict::Level(_) => "no leak: memory after unloading does not go on rising",
        Verdict::Leak(_) => "leak: memory after unloading rises from cycle to cycle",
        Verdict::Settling(_) | Verdict::TooFew => "inconclusive",
    };
    let _ = writeln!(out, "\n{words}");
    for warning in &record.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    out
}

fn row(values: Vec<f64>, written: impl Fn(f64) -> String) -> String {
    let (first, last) = (values.first().copied(), values.last().copied());
    let mut sorted = values;
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied();
    let cells = [first, median, last, sorted.last().copied()];
    let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), &written);
    cells.map(|value| format!("{:>12}", cell(value))).concat()
}

//! `carnot bench serve`: load on a server, ours or not, and what its clients saw.

mod plan;
mod record;
mod server;
mod text;

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use carnot_bench::load::{
    Arrivals, Endpoint, Figures, HdrRun, Load, MetricsPage, MetricsWatch, Objectives, Raw,
    Saturation, Search, ServerMetrics, View, put, read_raw, saturation, view, write_hdr, write_raw,
};
use carnot_record::BenchRecord;

use super::results::{self, Beginning};
use crate::cli::{Format, ServeLoadArguments, ViewArgument};
use crate::printer::{Printer, Unit};

/// A rate is tried so often before the client is taken to be the limit.
const TRIES: usize = 3;
/// What holds and what does not are this close together when a search ends.
const PRECISION: f64 = 0.05;

/// How often a server's own metrics are scraped.
const SCRAPE: Duration = Duration::from_secs(1);

/// A load that was put on the server, and what came of it.
struct Level {
    load: Load,
    /// 1970 where it is not known.
    begun: SystemTime,
    requests: Vec<Raw>,
    figures: Figures,
    saturation: Option<Saturation>,
    /// What one-token requests beside it took to their ends, in seconds.
    probes: Vec<f64>,
    /// What the server said of itself, where it was asked.
    server: Option<ServerMetrics>,
}

impl Level {
    /// Whether as many were good as have to be, and waiting did not grow.
    fn holds(&self, arguments: &ServeLoadArguments) -> bool {
        let share = self.figures.good as f64 / self.figures.asked.max(1) as f64;
        share >= arguments.objectives.share / 100.0 && !self.is_saturated()
    }

    /// Of the longest conversation.
    fn turns(&self) -> u32 {
        let turns = self.requests.iter().map(|request| request.turn);
        turns.max().unwrap_or(1)
    }

    /// What was answered of that turn.
    fn of_turn(&self, turn: u32) -> impl Iterator<Item = &Raw> {
        let is_wanted = move |of: &&Raw| of.turn == turn && of.failure.is_none();
        self.requests.iter().filter(is_wanted)
    }

    /// Whether tensors are asked for, which come at once.
    fn is_of_tensors(&self) -> bool {
        self.load.target.endpoint == Endpoint::Infer
    }

    fn is_saturated(&self) -> bool {
        self.saturation.is_some_and(|of| of.is_saturated)
    }
}

pub fn execute(arguments: &ServeLoadArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    plan::check(arguments)?;
    let beginning = Beginning::of("serve");
    let mut repeated = 0;
    let (levels, search) = if arguments.arrivals.search {
        let found = search(arguments, printer)?;
        repeated = found.repeated;
        (found.levels, Some(found.search))
    } else if let Some(path) = &arguments.from {
        (vec![from(path, arguments)?], None)
    } else {
        let loads = plan::loads(arguments)?;
        let run = |load| run(load, arguments, printer);
        (
            loads.into_iter().map(run).collect::<anyhow::Result<_>>()?,
            None,
        )
    };
    if let Some(path) = &arguments.raw {
        let requests: Vec<Raw> = levels
            .iter()
            .flat_map(|level| level.requests.clone())
            .collect();
        write(path, |to| write_raw(&requests, to))?;
    }
    if let Some(path) = &arguments.hdr {
        let runs = levels.iter().map(|level| HdrRun {
            begun: level.begun,
            requests: &level.requests,
        });
        let runs: Vec<HdrRun> = runs.collect();
        write(path, |to| write_hdr(&runs, to))?;
    }
    if let Some(whose) = arguments.view {
        return viewed(&levels, whose, printer);
    }
    let mut record = record::of(&levels, search.as_ref(), arguments, &beginning);
    if repeated > 0 {
        let warning = format!(
            "{repeated} times a rate was tried once more, since the client had been the limit"
        );
        record.warnings.push(warning);
    }
    print(&record, &levels, search.as_ref(), arguments, printer)
}

/// Puts one load on the server.
fn run(load: Load, arguments: &ServeLoadArguments, printer: &Printer) -> anyhow::Result<Level> {
    let bar = printer.progress("answers", Unit::Steps);
    if let Some(expected) = plan::expected(&load) {
        bar.set_length(expected);
    }
    let beside = arguments.probe_stream.then(|| plan::probe(&load));
    let probing = beside.map(|load| thread::spawn(move || put(&load, |_| ())));
    let watch = match &arguments.server_metrics {
        None => None,
        Some(page) => {
            let own = || MetricsPage::of(&load.target);
            let page = page.clone().unwrap_or_else(own);
            Some(MetricsWatch::start(&page, SCRAPE)?)
        }
    };
    let run = put(&load, |done| bar.set_position(done as u64))?;
    let server = watch.map(|watch| watch.end(run.begin));
    bar.finish_and_clear();
    let begun = SystemTime::now() - run.begin.elapsed();
    let probes = match probing.map(thread::JoinHandle::join) {
        None => Vec::new(),
        Some(Ok(probes)) => Raw::of(&probes?)
            .iter()
            .filter(|probe| probe.failure.is_none())
            .map(carnot_bench::load::whole)
            .collect(),
        Some(Err(panic)) => std::panic::resume_unwind(panic),
    };
    let requests = Raw::of(&run);
    let is_open = !matches!(load.arrivals, Arrivals::Closed { .. });
    Ok(Level {
        figures: Figures::of(&requests, run.cores, objectives(arguments)),
        saturation: is_open.then(|| saturation(&requests)).flatten(),
        requests,
        begun,
        load,
        probes,
        server,
    })
}

/// The level of an earlier run, as its file has it.
fn from(path: &Path, arguments: &ServeLoadArguments) -> anyhow::Result<Level> {
    let shown = || format!("{}", path.display());
    let file = File::open(path).with_context(shown)?;
    let requests = read_raw(BufReader::new(file));
    let requests = requests
        .map_err(|error| anyhow::anyhow!("{}, {error}; expected what --raw wrote", shown()))?;
    anyhow::ensure!(
        !requests.is_empty(),
        "{}: expected a request a line, got none",
        shown()
    );
    let began = requests.iter().filter(|request| request.turn == 1);
    let dues = began.map(|request| request.due_ns);
    let dues = dues.map(std::time::Duration::from_nanos).collect();
    let mut load = plan::load(arguments, Arrivals::Recorded(dues), 0)?;
    load.duration = std::time::Duration::from_nanos(
        requests
            .iter()
            .map(|request| request.due_ns)
            .max()
            .unwrap_or(0),
    );
    Ok(Level {
        figures: Figures::of(&requests, None, objectives(arguments)),
        saturation: saturation(&requests),
        requests,
        begun: SystemTime::UNIX_EPOCH,
        load,
        probes: Vec::new(),
        server: None,
    })
}

/// What a search found.
struct Searched {
    levels: Vec<Level>,
    search: Search,
    /// Rates that were tried once more, since the client had been the limit.
    repeated: usize,
}

/// Rate after rate until the highest that holds is known.
fn search(arguments: &ServeLoadArguments, printer: &Printer) -> anyhow::Result<Searched> {
    anyhow::ensure!(
        has_objectives(arguments),
        "--search: expected an objective to hold, such as --slo-first-ms 500, or of tensors --slo-whole-ms 500"
    );
    let mut search = Search::new(
        arguments.arrivals.rate.first().copied().unwrap_or(1.0),
        PRECISION,
    );
    let (mut levels, mut repeated, mut voids) = (Vec::new(), 0, 0);
    while let Some(rate) = search.next() {
        let seed = (levels.len() + repeated) as u64;
        let load = plan::load(arguments, plan::at(rate, arguments), seed)?;
        let level = run(load, arguments, printer)?;
        let holds = level.holds(arguments);
        if arguments.result.format == Format::Text {
            printer.note(&text::tried(rate, &level, holds));
        }
        let is_void = level.figures.void.is_some();
        voids = if is_void { voids + 1 } else { 0 };
        if is_void && voids < TRIES {
            // A machine that stood still for a moment may not do so again; a client that is too slow will be.
            repeated += 1;
            continue;
        }
        levels.push(level);
        if is_void {
            break;
        }
        search.observe(rate, holds);
    }
    Ok(Searched {
        levels,
        search,
        repeated,
    })
}

fn has_objectives(arguments: &ServeLoadArguments) -> bool {
    let Objectives { first, each, whole } = objectives(arguments);
    first.is_some() || each.is_some() || whole.is_some()
}

fn objectives(arguments: &ServeLoadArguments) -> Objectives {
    let of = &arguments.objectives;
    let milliseconds = |ms: f64| std::time::Duration::from_secs_f64(ms / 1e3);
    Objectives {
        first: of.first_ms.map(milliseconds),
        each: of.token_ms.map(milliseconds),
        whole: of.whole_ms.map(milliseconds),
    }
}

fn write(
    path: &Path,
    content: impl FnOnce(BufWriter<File>) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    content(BufWriter::new(file)).with_context(|| format!("writing {}", path.display()))
}

/// The figures of another tool, of each level.
fn viewed(levels: &[Level], whose: ViewArgument, printer: &Printer) -> anyhow::Result<ExitCode> {
    let whose = match whose {
        ViewArgument::Vllm => View::Vllm,
        ViewArgument::Aiperf => View::AiPerf,
        ViewArgument::Guidellm => View::GuideLlm,
        ViewArgument::Llmperf => View::LlmPerf,
    };
    for level in levels {
        let figures = view(&level.requests, whose).into_iter();
        let object: serde_json::Map<_, _> =
            figures.map(|(name, value)| (name, value.into())).collect();
        printer.result(&format!("{:#}\n", serde_json::Value::Object(object)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(
    record: &BenchRecord,
    levels: &[Level],
    search: Option<&Search>,
    arguments: &ServeLoadArguments,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &arguments.result.output {
        results::keep(record, folder)?;
    }
    printer.result(&match (arguments.result.format, levels, search) {
        (Format::Json, ..) => carnot_record::Record::to_json(record),
        (Format::Text, [level], None) => text::one(level, arguments),
        (Format::Text, levels, search) => text::several(levels, search, arguments),
    })?;
    let is_answered = levels.iter().any(|level| level.figures.answered > 0);
    Ok(if record.void.is_some() {
        ExitCode::from(results::VOID)
    } else if is_answered {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

//! `carnot bench stress`: a server under clients that leave, do not read, and send what is no request; and what is left of it afterwards.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use carnot_bench::load::Latencies;
use carnot_bench::stress::{Invariant, Plan, Run, invariants, put};
use carnot_bench::{Fetcher, Trend, trend};
use carnot_record::{BenchRecord, Better, Metric, Record, Series};
use carnot_report::units;
use carnot_samplers::process::ProcessReading;
use serde_json::Value;

use super::child::ChildServer;
use super::stamp;
use crate::cli::{Format, StressArguments};
use crate::interrupt;
use crate::printer::{Printer, Unit};

/// Of the well-formed requests, so many have to be answered.
const LEAST_SUCCESS: f64 = 0.95;
/// Slower than this for 1 in 100, and it is said.
const SLOW: f64 = 5.0;
/// How long a page of the server may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A context that is larger than most, where the server does not tell its own.
const CONTEXT: usize = 1 << 17;
/// How often its memory is looked at.
const MEMORY_INTERVAL: Duration = Duration::from_secs(1);
/// Values of memory that a trend is made of, at most.
const MEMORY_VALUES: usize = 200;
/// Memory that rises by less in the second half of the run is not worth a word.
const GROWTH_BYTES: f64 = 1e6;

/// What was found, apart from the visits.
struct After {
    invariants: Vec<Invariant>,
    /// Seconds since the beginning, and bytes.
    memory: Vec<[f64; 2]>,
    /// How our own server ended; nothing where it is not ours.
    ending: Option<Result<(), String>>,
}

pub fn execute(arguments: &StressArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    interrupt::listen();
    let mut record = stamp::begin("stress");
    let begin = Instant::now();
    let (plan, run, after) = measure(arguments, printer)?;
    record.took_s = begin.elapsed().as_secs_f64();
    fill(&mut record, arguments, &run, &after);
    if let Some(path) = &arguments.output {
        stamp::write(&record, path)?;
    }
    printer.result(&match arguments.format {
        Format::Text => text(&plan, &run, &after),
        Format::Json => record.to_json() + "\n",
    })?;
    Ok(if failures(&run, &after).is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Lets the clients come, and looks at what is left of the server.
fn measure(arguments: &StressArguments, printer: &Printer) -> anyhow::Result<(Plan, Run, After)> {
    let child = match &arguments.url {
        Some(_) => None,
        None => Some(ChildServer::start(arguments.path.as_deref())?),
    };
    let plan = plan(arguments, child.as_ref())?;
    let mut memory = Memory::of(child.as_ref().map(ChildServer::pid));
    let bar = printer.progress("requests", Unit::Steps);
    bar.set_length(plan.requests() as u64);
    let run = put(&plan, |visits| {
        bar.set_position(visits as u64);
        memory.look();
        !interrupt::asked()
    })?;
    bar.finish_and_clear();
    // An interrupt at a terminal reaches our own server too: what it is like then says nothing.
    let is_cut = interrupt::asked() && child.is_some();
    let invariants = if is_cut {
        Vec::new()
    } else {
        invariants(&Fetcher::new(plan.target.clone(), PATIENCE)?)
    };
    memory.look_now();
    let ending = child
        .filter(|_| !is_cut)
        .map(|child| child.end().map_err(|error| error.to_string()));
    let after = After {
        invariants,
        memory: memory.values,
        ending,
    };
    Ok((plan, run, after))
}

fn plan(arguments: &StressArguments, child: Option<&ChildServer>) -> anyhow::Result<Plan> {
    let mut target = match (child, &arguments.url) {
        (Some(child), _) => child.target().clone(),
        (None, Some(url)) => {
            let mut target = url.clone();
            target.key.clone_from(&arguments.api_key);
            target
        }
        (None, None) => anyhow::bail!("there is no server to be visited"),
    };
    target.model.clone_from(&arguments.model);
    let props = Fetcher::new(target.clone(), PATIENCE)?.text("/props");
    let props: Option<Value> = props.ok().and_then(|text| serde_json::from_str(&text).ok());
    let models = props.as_ref().and_then(|props| props["models"].as_array());
    let contexts = models
        .into_iter()
        .flatten()
        .filter_map(|model| model["n_ctx"].as_u64());
    Ok(Plan {
        target,
        clients: arguments.clients,
        rate: arguments.rate,
        duration: arguments.duration,
        tokens: arguments.tokens,
        context: contexts.max().map_or(CONTEXT, |context| context as usize),
        seed: arguments.seed,
    })
}

/// Resident memory of a process over time.
struct Memory {
    pid: Option<u32>,
    begin: Instant,
    looked: Option<Instant>,
    values: Vec<[f64; 2]>,
}

impl Memory {
    fn of(pid: Option<u32>) -> Self {
        Self {
            pid,
            begin: Instant::now(),
            looked: None,
            values: Vec::new(),
        }
    }

    /// Looks, if it is time.
    fn look(&mut self) {
        if self
            .looked
            .is_none_or(|looked| looked.elapsed() >= MEMORY_INTERVAL)
        {
            self.look_now();
        }
    }

    fn look_now(&mut self) {
        self.looked = Some(Instant::now());
        let process = self
            .pid
            .and_then(|pid| ProcessReading::read(Path::new("/"), pid));
        if let Some(bytes) = process.and_then(|of| of.rss_bytes()) {
            self.values
                .push([self.begin.elapsed().as_secs_f64(), bytes as f64]);
        }
    }
}

/// Bytes by which memory certainly rose in the second half of the run.
fn growth(memory: &[[f64; 2]]) -> Option<f64> {
    let half = &memory[memory.len() / 2..];
    let step = half.len().div_ceil(MEMORY_VALUES).max(1);
    let values: Vec<f64> = half.iter().step_by(step).map(|[_, bytes]| *bytes).collect();
    let rises = trend(&values).filter(Trend::rises)?;
    Some(rises.low * (values.len() - 1) as f64)
}

/// Why the run failed, in sentences.
fn failures(run: &Run, after: &After) -> Vec<String> {
    let mut told = Vec::new();
    match run.success() {
        None => told.push("no well-formed request came to its time: let it take longer".to_owned()),
        Some(share) if share < LEAST_SUCCESS => told.push(format!(
            "{} of the well-formed requests were answered, expected at least {}",
            units::percent(share),
            units::whole_percent(LEAST_SUCCESS)
        )),
        Some(_) => (),
    }
    for of in after.invariants.iter().filter(|of| of.holds == Some(false)) {
        told.push(format!("afterwards: {}: {}", of.name, of.found));
    }
    if let Some(Err(error)) = &after.ending {
        told.push(error.clone());
    }
    told
}

fn warnings(run: &Run, after: &After) -> Vec<String> {
    let mut told = Vec::new();
    if after.invariants.is_empty() {
        told.push("interrupted: what is left of the server was not looked at".to_owned());
    }
    for row in run.rows().iter().filter(|row| !row.kind.is_well_formed()) {
        let others: usize = row.others.iter().map(|(_, count)| count).sum();
        if let Some((first, _)) = row.others.first() {
            told.push(format!(
                "{}: {others} of {} did not get what they are owed, such as: {first}",
                row.kind.name(),
                row.sent
            ));
        }
    }
    let [_, whole] = run.latencies();
    if let Some(slow) = whole.filter(|whole| whole.p99 > SLOW) {
        told.push(format!(
            "1 in 100 well-formed requests took {} or more, expected at most {SLOW} s",
            units::duration(1e9 * slow.p99)
        ));
    }
    if let Some(bytes) = growth(&after.memory).filter(|bytes| *bytes > GROWTH_BYTES) {
        told.push(format!(
            "memory of the server rose in the second half of the run, by {} at least; the prefix cache fills until it is full, longer runs tell",
            units::bytes(bytes)
        ));
    }
    told
}

/// The file, or the name that was asked for, or what is there where nothing is said.
fn model(arguments: &StressArguments) -> String {
    match (&arguments.path, &arguments.model, &arguments.url) {
        (Some(path), ..) => path.display().to_string(),
        (None, Some(name), _) => name.clone(),
        (None, None, Some(_)) => "the server's".to_owned(),
        (None, None, None) => "embedded".to_owned(),
    }
}

fn fill(record: &mut BenchRecord, arguments: &StressArguments, run: &Run, after: &After) {
    record.url = arguments.url.as_ref().map(ToString::to_string);
    record.conditions = [
        ("clients", arguments.clients.to_string()),
        ("rate", arguments.rate.to_string()),
        ("duration", arguments.duration.as_secs_f64().to_string()),
        ("tokens", arguments.tokens.to_string()),
        ("seed", arguments.seed.to_string()),
        ("model", model(arguments)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let [first, whole] = run.times();
    let rows = run.rows();
    let answered = whole.len() as f64 / run.wall.as_secs_f64().max(1e-9);
    let share = |of: f64| Metric::repeated("success", "share", Better::Higher, vec![of]);
    record.metrics.extend(run.success().map(share));
    record.metrics.push(Metric::latencies("end_to_end", whole));
    record
        .metrics
        .push(Metric::latencies("time_to_first_token", first));
    record.metrics.push(Metric::repeated(
        "answered",
        "requests/s",
        Better::Higher,
        vec![answered],
    ));
    for row in rows.iter().filter(|row| row.sent > 0) {
        let share = row.as_expected as f64 / row.sent as f64;
        let name = format!("as_expected/{}", row.kind.name());
        record.metrics.push(Metric::repeated(
            &name,
            "share",
            Better::Higher,
            vec![share],
        ));
    }
    if let (Some([_, before]), Some([_, end])) = (after.memory.first(), after.memory.last()) {
        let grown = vec![end - before];
        record.metrics.push(Metric::repeated(
            "memory_growth",
            "bytes",
            Better::Lower,
            grown,
        ));
        record.series.push(Series {
            plot: "memory".to_owned(),
            name: "resident".to_owned(),
            x: "time (s)".to_owned(),
            y: "memory (bytes)".to_owned(),
            points: after.memory.clone(),
        });
    }
    record.warnings = [failures(run, after), warnings(run, after)].concat();
}

fn text(plan: &Plan, run: &Run, after: &After) -> String {
    let mut out = format!(
        "carnot bench stress   {} · {} clients, {} visits/s each · {:.0} s\n\n",
        plan.target,
        plan.clients,
        plan.rate,
        run.wall.as_secs_f64()
    );
    let _ = writeln!(
        out,
        "{:<18}{:>8}{:>14}{:>8}   {:<32}what came instead",
        "clients", "sent", "as expected", "not", "expected"
    );
    for row in run.rows() {
        let others: Vec<String> = row
            .others
            .iter()
            .take(3)
            .map(|(what, count)| format!("{count} × {what}"))
            .collect();
        let line = format!(
            "{:<18}{:>8}{:>14}{:>8}   {:<32}{}",
            row.kind.name(),
            row.sent,
            row.as_expected,
            row.sent - row.as_expected,
            row.kind.expected(),
            others.join(", ")
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let _ = writeln!(
        out,
        "\nwell-formed       {} answered, at least {} wanted",
        run.success().map_or("–".to_owned(), units::percent),
        units::whole_percent(LEAST_SUCCESS)
    );
    let _ = writeln!(
        out,
        "\n{:<24}{:>10}{:>10}{:>10}{:>10}",
        "from when it was due", "p50", "p90", "p99", "longest"
    );
    let [first, whole] = run.latencies();
    for (name, of) in [("to the first text", first), ("to the end", whole)] {
        let _ = writeln!(out, "{name:<24}{}", quantiles(of));
    }
    let _ = writeln!(out, "\nafterwards");
    for of in &after.invariants {
        let mark = match of.holds {
            Some(true) => "holds",
            Some(false) => "DOES NOT HOLD",
            None => "–",
        };
        let _ = writeln!(out, "  {:<38}{:<16}{}", of.name, of.found, mark);
    }
    let _ = writeln!(
        out,
        "  resident memory                       {}",
        memory(&after.memory)
    );
    if let Some(Ok(())) = after.ending {
        let _ = writeln!(
            out,
            "  ends when it is asked to              status 0        holds"
        );
    }
    for failure in failures(run, after) {
        let _ = writeln!(out, "\nfailed: {failure}");
    }
    for warning in warnings(run, after) {
        let _ = writeln!(out, "\nwarning: {warning}");
    }
    out
}

fn quantiles(of: Option<Latencies>) -> String {
    let cells = of.map(|of| [of.p50, of.p90, of.p99, of.max]);
    cells.map_or_else(
        || format!("{:>10}", "–"),
        |cells| {
            let cells = cells.map(|s| format!("{:>10}", units::duration(1e9 * s)));
            cells.concat()
        },
    )
}

fn memory(values: &[[f64; 2]]) -> String {
    let (Some([_, first]), Some([_, last])) = (values.first(), values.last()) else {
        return "–: the server is not ours".to_owned();
    };
    let most = values.iter().map(|[_, bytes]| *bytes).fold(0.0, f64::max);
    format!(
        "{} before, {} at most, {} afterwards",
        units::bytes(*first),
        units::bytes(most),
        units::bytes(*last)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_settles_is_no_growth() {
        let at = |value: fn(f64) -> f64| -> Vec<[f64; 2]> {
            (0..120)
                .map(|second| [f64::from(second), value(f64::from(second))])
                .collect()
        };
        assert_eq!(growth(&at(|second| 1e8 + 1e6 * second.min(40.0))), None);
        let grown = growth(&at(|second| 1e8 + 1e6 * second)).unwrap();
        assert!((grown - 59e6).abs() < 1e3, "{grown}");
        assert_eq!(growth(&[]), None);
    }
}

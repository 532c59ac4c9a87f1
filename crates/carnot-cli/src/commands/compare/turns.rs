//! Two commands in turns, until it is certain which is better; by their time, or by the records that they write.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use carnot_bench::{
    Comparison, LOOKS, MeasuredPairs, MovedSite, PairedLoss, Run, Verdict, certain_growth,
    losses_in_pairs, median, metrics_in_pairs, moved_sites, run, run_with_output,
};
use carnot_record::{BenchRecord, Better};
use carnot_report::columns::{Columns, escaped, plain};
use carnot_report::units;
use serde_json::{Value, json};

use super::told::{self, signed, word};
use super::{INCONCLUSIVE, WORSE, WRONG_USAGE};
use crate::cli::Format;
use crate::printer::{Printer, Unit};
use crate::record_file::{self, Content};

/// Losses that moved less are not told.
const MOST_LOSSES: usize = 8;

/// What to run, and when it is enough.
pub struct Commands<'a> {
    pub a: &'a str,
    pub b: &'a str,
    /// In percent.
    pub threshold: f64,
    pub warmup: usize,
    pub format: Format,
    /// Where what was found is also written, as Markdown.
    pub report: Option<&'a Path>,
}

/// A run, and the record that it wrote, if it wrote one.
struct Measured {
    run: Run,
    record: Option<BenchRecord>,
}

/// What is known after a look.
struct Look {
    measured: Vec<MeasuredPairs>,
    compared: Vec<Option<Comparison>>,
    losses: Vec<PairedLoss>,
    /// The one that certainly grew, whatever the whole says.
    certain: Option<PairedLoss>,
    /// Who allocates more or less, of the first pair.
    sites: Vec<MovedSite>,
}

/// A name, a unit, and the value.
type OfRun = (&'static str, &'static str, fn(&Run) -> f64);

/// What is read off every run.
const OF_RUNS: [OfRun; 3] = [
    ("wall time", "s", |run| run.wall.as_secs_f64()),
    ("processor time", "s", |run| run.processor.as_secs_f64()),
    ("peak memory", "bytes", |run| run.peak_bytes as f64),
];

pub fn execute(commands: &Commands, printer: &Printer) -> anyhow::Result<ExitCode> {
    for _ in 0..commands.warmup {
        run(commands.a)?;
        run(commands.b)?;
    }
    let begin = Instant::now();
    let relevant = commands.threshold / 100.0;
    let most = LOOKS.last().map_or(0, |(pairs, _)| *pairs);
    let bar = printer.progress("pairs of runs", Unit::Steps);
    bar.set_length(most as u64);
    let (mut pairs, mut look) = (Vec::new(), None);
    for (count, error) in LOOKS {
        while pairs.len() < count {
            pairs.push(pair(commands, &pairs)?);
            bar.inc(1);
        }
        let found = Look::at(&pairs, relevant, error);
        let is_certain = found
            .verdict()
            .is_some_and(|verdict| !matches!(verdict, Verdict::Inconclusive { .. }));
        look = Some(found);
        if is_certain {
            break;
        }
    }
    bar.finish_and_clear();
    let look = look.expect("there is a look");
    let took = begin.elapsed().as_secs_f64();
    printer.result(&match commands.format {
        Format::Text => text(commands, &look, took),
        Format::Json => document(commands, &look).to_string() + "\n",
    })?;
    if let Some(path) = commands.report {
        let written = fs::write(path, markdown(commands, &look, took))
            .with_context(|| format!("writing {}", path.display()));
        if let Err(error) = written {
            printer.error(&error);
            return Ok(ExitCode::from(WRONG_USAGE));
        }
    }
    Ok(match look.verdict() {
        Some(Verdict::Better | Verdict::Same) => ExitCode::SUCCESS,
        Some(Verdict::Worse) => ExitCode::from(WORSE),
        Some(Verdict::Inconclusive { .. }) | None => ExitCode::from(INCONCLUSIVE),
    })
}

/// One run of each, the second first in every other pair. The output of later pairs is kept only if that of the first was two records.
fn pair(
    commands: &Commands,
    before: &[(Measured, Measured)],
) -> anyhow::Result<(Measured, Measured)> {
    let is_kept = before
        .first()
        .is_none_or(|(a, b)| a.record.is_some() && b.record.is_some());
    let (a, b) = if before.len() % 2 == 1 {
        let b = measure(commands.b, is_kept)?;
        (measure(commands.a, is_kept)?, b)
    } else {
        (measure(commands.a, is_kept)?, measure(commands.b, is_kept)?)
    };
    if let (Some(one), Some(other)) = (&a.record, &b.record)
        && one.suite != other.suite
    {
        bail!(
            "expected records of the same suite, got {} of a and {} of b",
            one.suite,
            other.suite
        );
    }
    Ok((a, b))
}

fn measure(command: &str, is_kept: bool) -> anyhow::Result<Measured> {
    if !is_kept {
        return Ok(Measured {
            run: run(command)?,
            record: None,
        });
    }
    let (run, output) = run_with_output(command)?;
    let record = record_of(&output);
    if let Some(why) = record.as_ref().and_then(|record| record.void.as_ref()) {
        bail!("the record of `{command}` is void: {why}");
    }
    Ok(Measured { run, record })
}

/// The record that an output is, if it is one.
fn record_of(output: &[u8]) -> Option<BenchRecord> {
    let content = record_file::parse(str::from_utf8(output).ok()?).ok()?;
    match content {
        Content::Bench(mut records) if records.len() == 1 => records.pop(),
        _ => None,
    }
}

impl Look {
    fn at(pairs: &[(Measured, Measured)], relevant: f64, error: f64) -> Self {
        let records: Option<Vec<(&BenchRecord, &BenchRecord)>> = pairs
            .iter()
            .map(|(a, b)| Some((a.record.as_ref()?, b.record.as_ref()?)))
            .collect();
        let records = records.unwrap_or_default();
        let mut measured = metrics_in_pairs(&records);
        measured.extend(OF_RUNS.map(|(name, unit, of)| {
            MeasuredPairs {
                name: name.to_owned(),
                unit: unit.to_owned(),
                better: Better::Lower,
                values: pairs
                    .iter()
                    .map(|(a, b)| (of(&a.run), of(&b.run)))
                    .collect(),
            }
        }));
        let losses = losses_in_pairs(&records, error);
        // Both may say that it is worse: each gets half of what may go wrong.
        let error = if losses.is_empty() {
            error
        } else {
            error / 2.0
        };
        let sites = records
            .first()
            .map(|(a, b)| moved_sites(&a.allocations, &b.allocations));
        Self {
            sites: sites.unwrap_or_default(),
            compared: MeasuredPairs::compared_beside(&measured, relevant, error),
            certain: certain_growth(&records, relevant, error),
            losses,
            measured,
        }
    }

    fn is_whole_worse(&self) -> bool {
        let first = self.compared.first().and_then(Option::as_ref);
        first.is_some_and(|first| first.verdict == Verdict::Worse)
    }

    /// Of the first, which decides; where it is too noisy, a loss that certainly grew does. The others are told.
    fn verdict(&self) -> Option<Verdict> {
        let verdict = self.compared.first()?.as_ref()?.verdict;
        let is_unknown = matches!(verdict, Verdict::Inconclusive { .. });
        Some(if is_unknown && self.certain.is_some() {
            Verdict::Worse
        } else {
            verdict
        })
    }
}

fn text(commands: &Commands, look: &Look, seconds: f64) -> String {
    let count = look.measured[0].values.len();
    let mut out = format!("carnot compare   {count} pairs of runs in turns, {seconds:.1} s\n");
    let _ = writeln!(
        out,
        "a                {}\nb                {}",
        commands.a, commands.b
    );
    for table in tables(look) {
        let _ = write!(out, "\n{}", table.text());
    }
    let _ = writeln!(out, "\n{}", plain(&told_conclusion(commands, look)));
    out
}

/// The same for a merge request.
fn markdown(commands: &Commands, look: &Look, seconds: f64) -> String {
    let count = look.measured[0].values.len();
    let mut out = format!(
        "# carnot compare\n\n{count} pairs of runs in turns, {seconds:.1} s\n\n- a: {}\n- b: {}\n\n**{}**\n",
        escaped(commands.a),
        escaped(commands.b),
        escaped(&told_conclusion(commands, look))
    );
    for table in tables(look) {
        let _ = write!(out, "\n{}", table.markdown());
    }
    out
}

/// What was measured, and which losses moved most where there are some.
fn tables(look: &Look) -> Vec<Columns> {
    let mut rows = Columns::new(&["median", "a:", "b:", "b over a:", "interval", "verdict"]);
    for (measured, comparison) in look.measured.iter().zip(&look.compared) {
        let (a, b) = middles(measured);
        let [change, interval, verdict] = match comparison {
            None => ["–".to_owned(), String::new(), String::new()],
            Some(Comparison { change, verdict }) => [
                signed(change.estimate),
                format!("{} to {}", signed(change.low), signed(change.high)),
                word(*verdict).to_owned(),
            ],
        };
        let value = |value| told::value(value, &measured.unit);
        rows.push([
            measured.name.clone(),
            value(a),
            value(b),
            change,
            interval,
            verdict,
        ]);
    }
    let mut tables = vec![rows];
    if !look.losses.is_empty() {
        let mut rows = Columns::new(&["what moved most", "a:", "b:", "of a's time:", "interval"]);
        for loss in look.losses.iter().take(MOST_LOSSES) {
            rows.push([
                loss.name.clone(),
                units::duration(loss.a_ns),
                units::duration(loss.b_ns),
                signed(loss.shift.estimate),
                format!("{} to {}", signed(loss.shift.low), signed(loss.shift.high)),
            ]);
        }
        tables.push(rows);
    }
    if !look.sites.is_empty() {
        tables.push(told::sites(&look.sites, ["a:", "b:"]));
    }
    tables
}

/// The verdict, and the loss that grew most.
fn told_conclusion(commands: &Commands, look: &Look) -> String {
    let grown = match look.verdict() {
        // Where the loss itself is the verdict, it has been named.
        Some(Verdict::Worse) if look.is_whole_worse() => grown(look),
        _ => String::new(),
    };
    conclusion(commands, look) + &grown
}

/// The medians of the first and of the second.
fn middles(measured: &MeasuredPairs) -> (f64, f64) {
    let middle = |of: fn(&(f64, f64)) -> f64| {
        let values: Vec<f64> = measured.values.iter().map(of).collect();
        median(&values).unwrap_or(f64::NAN)
    };
    (middle(|pair| pair.0), middle(|pair| pair.1))
}

fn conclusion(commands: &Commands, look: &Look) -> String {
    let name = &look.measured[0].name;
    let Some(Comparison { change, verdict }) = look.compared[0] else {
        return format!("inconclusive: there is nothing of {name} that can be measured");
    };
    let by = format!(
        "{:.2} % (between {} and {}, certain to {:.1} %)",
        100.0 * change.estimate.abs(),
        signed(change.low),
        signed(change.high),
        100.0 * change.confidence
    );
    let is_time = name == OF_RUNS[0].0;
    let how = match (is_time, change.estimate > 0.0) {
        (true, true) => "b takes longer".to_owned(),
        (true, false) => "b takes less".to_owned(),
        (false, true) => format!("{name} of b is more"),
        (false, false) => format!("{name} of b is less"),
    };
    match verdict {
        Verdict::Worse => format!("worse: {how} by {by}"),
        Verdict::Better => format!("better: {how} by {by}"),
        Verdict::Same => format!(
            "no difference that matters: less than {} %, {by}",
            commands.threshold
        ),
        Verdict::Inconclusive { wanted } => match &look.certain {
            Some(loss) => format!(
                "worse: {} takes more by {:.2} % of a's time (between {} and {}, certain to {:.2} %), though {name} is too noisy to tell",
                loss.name,
                100.0 * loss.shift.estimate,
                signed(loss.shift.low),
                signed(loss.shift.high),
                100.0 * loss.shift.confidence
            ),
            None => {
                format!("inconclusive: {by}; about {wanted} pairs would tell, or a quieter machine")
            }
        },
    }
}

/// The loss that took most more, if any certainly did.
fn grown(look: &Look) -> String {
    let grew = look.losses.iter().filter(|loss| loss.shift.low > 0.0);
    match grew.max_by(|one, other| one.shift.estimate.total_cmp(&other.shift.estimate)) {
        None => String::new(),
        Some(loss) => format!(
            "; {} grew most, by {} of a's time",
            loss.name,
            units::percent(loss.shift.estimate)
        ),
    }
}

fn document(commands: &Commands, look: &Look) -> Value {
    let measures = look
        .measured
        .iter()
        .zip(&look.compared)
        .map(|(measured, comparison)| {
            let values: Vec<[f64; 2]> = measured.values.iter().map(|&(a, b)| [a, b]).collect();
            json!({
                "name": measured.name,
                "unit": measured.unit,
                "pairs": values,
                "change": comparison.map(|comparison| told::shift(comparison.change)),
                "verdict": comparison.map(|comparison| word(comparison.verdict)),
            })
        });
    let losses = look.losses.iter().map(|loss| {
        json!({ "name": loss.name, "a_ns": loss.a_ns, "b_ns": loss.b_ns, "share_of_a": told::shift(loss.shift) })
    });
    json!({
        "a": commands.a,
        "b": commands.b,
        "threshold_percent": commands.threshold,
        "measures": measures.collect::<Vec<_>>(),
        "losses": losses.collect::<Vec<_>>(),
        "allocations": look.sites.iter().map(told::site).collect::<Vec<_>>(),
        "verdict": look.verdict().map(word),
        "certain_loss": look.certain.as_ref().map(|loss| &loss.name),
    })
}

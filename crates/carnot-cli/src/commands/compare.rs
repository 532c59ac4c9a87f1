//! `carnot compare`: two commands in turns, and a verdict that a script can act on.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use carnot_bench::{Comparison, LOOKS, Run, Verdict, compare, run};
use carnot_report::units;
use serde_json::{Value, json};

use crate::cli::{CompareArguments, Format};
use crate::printer::{Printer, Unit};

/// The second is worse.
const WORSE: u8 = 1;
/// Nobody knows.
const INCONCLUSIVE: u8 = 3;

/// What is read off a run, and how it is written.
type Measure = (&'static str, fn(&Run) -> f64, fn(f64) -> String);

/// The first decides; the others are told.
const MEASURES: [Measure; 3] = [
    (
        "wall time",
        |run| run.wall.as_secs_f64(),
        |s| units::duration(1e9 * s),
    ),
    (
        "processor time",
        |run| run.processor.as_secs_f64(),
        |s| units::duration(1e9 * s),
    ),
    ("peak memory", |run| run.peak_bytes as f64, units::bytes),
];

pub fn execute(arguments: &CompareArguments, printer: &Printer) -> anyhow::Result<ExitCode> {
    for _ in 0..arguments.warmup {
        run(&arguments.a)?;
        run(&arguments.b)?;
    }
    let begin = Instant::now();
    let relevant = arguments.threshold / 100.0;
    let most = LOOKS.last().map_or(0, |(pairs, _)| *pairs);
    let bar = printer.progress("pairs of runs", Unit::Steps);
    bar.set_length(most as u64);
    let (mut pairs, mut error) = (Vec::new(), 0.0);
    for (count, of_look) in LOOKS {
        error = of_look;
        while pairs.len() < count {
            pairs.push(pair(arguments, pairs.len() % 2 == 1)?);
            bar.inc(1);
        }
        let wall = judge(&pairs, MEASURES[0].1, relevant, error);
        if wall.is_some_and(|wall| !matches!(wall.verdict, Verdict::Inconclusive { .. })) {
            break;
        }
    }
    bar.finish_and_clear();
    let told: Vec<(Measure, Option<Comparison>)> = MEASURES
        .into_iter()
        .map(|measure| (measure, judge(&pairs, measure.1, relevant, error)))
        .collect();
    let verdict = told[0].1.map(|comparison| comparison.verdict);
    printer.result(&match arguments.format {
        Format::Text => text(arguments, &pairs, &told, begin.elapsed().as_secs_f64()),
        Format::Json => document(arguments, &pairs, &told).to_string() + "\n",
    })?;
    Ok(match verdict {
        Some(Verdict::Better | Verdict::Same) => ExitCode::SUCCESS,
        Some(Verdict::Worse) => ExitCode::from(WORSE),
        Some(Verdict::Inconclusive { .. }) | None => ExitCode::from(INCONCLUSIVE),
    })
}

/// One run of each, the second first where that is asked.
fn pair(arguments: &CompareArguments, is_reversed: bool) -> anyhow::Result<(Run, Run)> {
    if is_reversed {
        let b = run(&arguments.b)?;
        return Ok((run(&arguments.a)?, b));
    }
    Ok((run(&arguments.a)?, run(&arguments.b)?))
}

/// `None` where something takes nothing, which has no ratio.
fn judge(
    pairs: &[(Run, Run)],
    of: fn(&Run) -> f64,
    relevant: f64,
    error: f64,
) -> Option<Comparison> {
    let values: Vec<(f64, f64)> = pairs.iter().map(|(a, b)| (of(a), of(b))).collect();
    let has_ratios = values.iter().all(|&(a, b)| a > 0.0 && b > 0.0);
    has_ratios
        .then(|| compare(&values, relevant, error))
        .flatten()
}

fn middle(pairs: &[(Run, Run)], of: impl Fn(&(Run, Run)) -> f64) -> f64 {
    let mut values: Vec<f64> = pairs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}

fn text(
    arguments: &CompareArguments,
    pairs: &[(Run, Run)],
    told: &[(Measure, Option<Comparison>)],
    seconds: f64,
) -> String {
    let mut out = format!(
        "carnot compare   {} pairs of runs in turns, {seconds:.1} s\n",
        pairs.len()
    );
    let _ = writeln!(
        out,
        "a                {}\nb                {}\n",
        arguments.a, arguments.b
    );
    let _ = writeln!(
        out,
        "{:<16}{:>12}{:>12}{:>12}   {:<24}",
        "median", "a", "b", "b over a", "interval"
    );
    for ((name, of, written), comparison) in told {
        let (a, b) = (
            middle(pairs, |pair| of(&pair.0)),
            middle(pairs, |pair| of(&pair.1)),
        );
        let _ = write!(out, "{name:<16}{:>12}{:>12}", written(a), written(b));
        let _ = match comparison {
            None => writeln!(out, "{:>12}", "–"),
            Some(Comparison { change, verdict }) => {
                let interval = format!("{} to {}", signed(change.low), signed(change.high));
                writeln!(
                    out,
                    "{:>12}   {interval:<24}{}",
                    signed(change.estimate),
                    word(*verdict)
                )
            }
        };
    }
    out.push('\n');
    out + &conclusion(arguments, told)
}

fn conclusion(arguments: &CompareArguments, told: &[(Measure, Option<Comparison>)]) -> String {
    let threshold = arguments.threshold;
    let Some(Comparison { change, verdict }) = told[0].1 else {
        return "inconclusive: the runs take no time that can be measured\n".to_owned();
    };
    let by = format!(
        "{:.2} % (between {} and {}, certain to {:.1} %)",
        100.0 * change.estimate.abs(),
        signed(change.low),
        signed(change.high),
        100.0 * change.confidence
    );
    match verdict {
        Verdict::Worse => format!("worse: b takes longer by {by}\n"),
        Verdict::Better => format!("better: b takes less by {by}\n"),
        Verdict::Same => format!("no difference that matters: less than {threshold} %, {by}\n"),
        Verdict::Inconclusive { wanted } => {
            format!("inconclusive: {by}; about {wanted} pairs would tell, or a quieter machine\n")
        }
    }
}

fn signed(change: f64) -> String {
    format!("{:+.2} %", 100.0 * change)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Same => "no difference",
        Verdict::Inconclusive { .. } => "inconclusive",
    }
}

fn document(
    arguments: &CompareArguments,
    pairs: &[(Run, Run)],
    told: &[(Measure, Option<Comparison>)],
) -> Value {
    let measures = told.iter().map(|((name, of, _), comparison)| {
        let values: Vec<[f64; 2]> = pairs.iter().map(|(a, b)| [of(a), of(b)]).collect();
        json!({
            "name": name,
            "pairs": values,
            "change": comparison.map(|Comparison { change, .. }| json!({
                "estimate": change.estimate,
                "low": change.low,
                "high": change.high,
                "confidence": change.confidence,
            })),
            "verdict": comparison.map(|comparison| word(comparison.verdict)),
        })
    });
    json!({
        "a": arguments.a,
        "b": arguments.b,
        "threshold_percent": arguments.threshold,
        "measures": measures.collect::<Vec<Value>>(),
    })
}

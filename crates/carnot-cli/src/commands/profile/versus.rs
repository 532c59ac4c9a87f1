//! `carnot profile versus`: two traces of one pipeline, with a component and without: what it costs, with an interval.

use anyhow::ensure;
use carnot_analyze::pipeline::{Iterations, PipelineAnalysis};
use carnot_report::columns::Columns;
use carnot_report::units;
use carnot_statistics::{median, shift_between};

use super::files::{analyse, open};
use crate::cli::{VersusArguments, ViewArguments};
use crate::printer::Printer;

/// The error of intervals.
const ERROR: f64 = 0.05;

pub fn execute(arguments: &VersusArguments, printer: &Printer) -> anyhow::Result<()> {
    let view = ViewArguments {
        fps: None,
        points: 10_000,
    };
    let with = analyse(&mut open(&arguments.with)?, &view)?;
    let without = analyse(&mut open(&arguments.without)?, &view)?;
    let common: Vec<(&Iterations, &Iterations)> = with
        .iterations
        .iter()
        .filter_map(|of| {
            Some((
                of,
                without
                    .iterations
                    .iter()
                    .find(|other| other.name == of.name && other.kind == of.kind)?,
            ))
        })
        .collect();
    ensure!(
        !common.is_empty(),
        "nothing to compare: expected prompts, chunks, blocks or steps of one name in both traces, found {} and {}",
        names(&with),
        names(&without)
    );
    let mut text = format!(
        "with     {} · {} wall\nwithout  {} · {} wall\n\n",
        with.session.id,
        units::duration(with.wall_ns as f64),
        without.session.id,
        units::duration(without.wall_ns as f64)
    );
    let mut table = Columns::new(&[
        "iteration",
        "with:",
        "without:",
        "overhead:",
        "95 % interval:",
        "",
    ]);
    for (with, without) in common {
        table.push(overhead(with, without));
    }
    text += &table.text();
    text += "\n";
    let mut table = Columns::new(&[
        "stage",
        "with:",
        "without:",
        "a call with:",
        "a call without:",
    ]);
    for row in stages(&with, &without) {
        table.push(row);
    }
    text += &table.text();
    printer.result(&text)?;
    Ok(())
}

fn names(of: &PipelineAnalysis) -> String {
    let names: Vec<&str> = of.iterations.iter().map(|of| of.name.as_str()).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn overhead(with: &Iterations, without: &Iterations) -> [String; 6] {
    let times = |of: &Iterations| {
        of.rows
            .iter()
            .map(|row| row.ns as f64)
            .collect::<Vec<f64>>()
    };
    let (first, second) = (times(without), times(with));
    let base = median(&first).unwrap_or(0.0);
    let percent = |ns: f64| format!("{:+.2} %", 100.0 * ns / base.max(1.0));
    let (shift, interval, verdict) = match shift_between(&first, &second, ERROR) {
        Some(shift) => {
            let verdict = if shift.low > 0.0 {
                "slower"
            } else if shift.high < 0.0 {
                "faster"
            } else {
                "no difference seen"
            };
            (
                percent(shift.estimate),
                format!("{} to {}", percent(shift.low), percent(shift.high)),
                verdict,
            )
        }
        None => ("–".to_owned(), "too few".to_owned(), "inconclusive"),
    };
    let time = |of: &Iterations| {
        format!(
            "{} × {}",
            units::count(of.time.count),
            units::duration(of.time.p50_ns as f64)
        )
    };
    [
        with.name.clone(),
        time(with),
        time(without),
        shift,
        interval,
        verdict.to_owned(),
    ]
}

/// The twelve stages of either, by how much their totals differ.
fn stages(with: &PipelineAnalysis, without: &PipelineAnalysis) -> Vec<[String; 5]> {
    let find = |of: &PipelineAnalysis, name: &str| {
        of.stages
            .iter()
            .find(|stage| stage.name == name)
            .map(|stage| stage.time)
    };
    let mut names: Vec<&str> = with
        .stages
        .iter()
        .chain(&without.stages)
        .map(|stage| stage.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let total = |of: &PipelineAnalysis, name: &str| find(of, name).map_or(0, |time| time.total_ns);
    names.sort_by_key(|name| std::cmp::Reverse(total(with, name).abs_diff(total(without, name))));
    let told = |name: &str| {
        let [a, b] = [with, without].map(|of| find(of, name));
        let time = |time: Option<u64>| {
            time.map_or_else(|| "–".to_owned(), |ns| units::duration(ns as f64))
        };
        [
            name.to_owned(),
            time(a.map(|of| of.total_ns)),
            time(b.map(|of| of.total_ns)),
            time(a.map(|of| of.p50_ns)),
            time(b.map(|of| of.p50_ns)),
        ]
    };
    names.into_iter().take(12).map(told).collect()
}

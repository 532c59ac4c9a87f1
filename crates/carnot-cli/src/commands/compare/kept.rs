//! Runs of a history compared: those that one name stands for with those of another, the values of all runs that were measured alike together.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use carnot_bench::{History, Selection, mismatches, pooled};
use carnot_record::BenchRecord;

use super::files::{Paired, compared_pairs, pairs, tell};
use crate::cli::CompareArguments;
use crate::commands::history;
use crate::printer::Printer;

/// `file` is the history, if another than the user's own is meant; `threshold` is in percent.
pub fn execute(
    file: Option<&Path>,
    arguments: &CompareArguments,
    threshold: f64,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let (Some(baseline), Some(current)) = (&arguments.baseline, &arguments.current) else {
        bail!("expected the runs to compare, --baseline and --current");
    };
    let path = history::location(file)?;
    ensure!(
        path.is_file(),
        "expected a history at {}, found none; `carnot history add FILE` keeps records in one",
        path.display()
    );
    let runs = History::open(&path)?.records(arguments.suite.as_deref())?;
    let chosen = |flag: &str, name: &Path| {
        let told = || {
            format!(
                "{flag} {} of the history {}",
                name.display(),
                path.display()
            )
        };
        choose(&runs, name).with_context(told)
    };
    let (mut was, is) = (
        chosen("--baseline", baseline)?,
        chosen("--current", current)?,
    );
    // A run that both name is what is asked about, and not what it is compared with.
    was.retain(|run| !is.contains(run));
    ensure!(
        !was.is_empty(),
        "--baseline {} of the history {}: all its runs are of --current too; name earlier ones",
        baseline.display(),
        path.display()
    );
    let heading = format!(
        "{} against {} of the history {}",
        current.display(),
        baseline.display(),
        path.display()
    );
    let of = |places: &[usize]| -> Vec<&BenchRecord> {
        places.iter().map(|place| &runs[*place]).collect()
    };
    let (was, is) = (of(&was), of(&is));
    let (was_pools, is_pools) = (pooled(&was), pooled(&is));
    let (pairs, warnings) = alike(&was_pools, &is_pools)?;
    let mut comparisons = compared_pairs(&pairs, warnings, threshold / 100.0, arguments.force)
        .with_context(|| format!("comparing {heading}"))?;
    for (comparison, (was_pool, is_pool)) in comparisons.iter_mut().zip(&pairs) {
        let _ = write!(
            comparison.title,
            "; {}; runs: {} against {}",
            circumstances(is_pool),
            count(&is, is_pool),
            count(&was, was_pool)
        );
    }
    tell(&comparisons, &heading, arguments, threshold, printer)
}

/// The places of the runs that a name stands for; there are some.
fn choose(runs: &[BenchRecord], name: &Path) -> anyhow::Result<Vec<usize>> {
    let selection: Selection = name.to_string_lossy().parse()?;
    let found = selection.of(runs)?;
    ensure!(
        !found.is_empty(),
        "no run is of that time; `carnot history list` shows those that are kept"
    );
    Ok(found)
}

/// Those that were measured alike. Where there are none, those of the same suite and model, for who insists.
fn alike<'a>(was: &'a [BenchRecord], is: &'a [BenchRecord]) -> anyhow::Result<Paired<'a>> {
    let partner = |one: &BenchRecord, others: &'a [BenchRecord]| {
        others
            .iter()
            .find(|other| mismatches(one, other).is_empty())
    };
    let found: Vec<(&BenchRecord, &BenchRecord)> = was
        .iter()
        .filter_map(|one| Some((one, partner(one, is)?)))
        .collect();
    if found.is_empty() {
        return pairs(was, is);
    }
    let alone = |ones: &[BenchRecord], others: &'a [BenchRecord], which: &str| -> Vec<String> {
        let ones = ones.iter().filter(|one| partner(one, others).is_none());
        ones.map(|one| {
            format!(
                "{} with {} is only in the {which}",
                one.suite,
                circumstances(one)
            )
        })
        .collect()
    };
    let warnings = [alone(was, is, "baseline"), alone(is, was, "current runs")];
    Ok((found, warnings.concat()))
}

/// Where and how it was measured: `4 threads, tokens=64`.
fn circumstances(record: &BenchRecord) -> String {
    let conditions = record.conditions.iter();
    let conditions = conditions.map(|(name, value)| format!("{name}={value}"));
    let threads = format!("{} threads", record.machine.threads);
    let all: Vec<String> = std::iter::once(threads).chain(conditions).collect();
    all.join(", ")
}

/// How many runs a pool is of.
fn count(runs: &[&BenchRecord], pool: &BenchRecord) -> usize {
    let of_pool = runs.iter().filter(|run| mismatches(run, pool).is_empty());
    of_pool.count()
}

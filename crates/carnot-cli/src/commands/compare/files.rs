//! Two files of records compared.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, bail};
use carnot_bench::{
    Mismatch, RecordComparison, Verdict, compare_profiles, compare_records, mismatches,
    profile_mismatches,
};
use carnot_record::BenchRecord;

use super::{INCONCLUSIVE, WORSE, pipelines, told, traces};
use crate::cli::{CompareArguments, Format};
use crate::printer::Printer;
use crate::record_file::{self, Content};

/// `threshold` is in percent.
pub fn execute(
    arguments: &CompareArguments,
    threshold: f64,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let (Some(baseline), Some(current)) = (&arguments.baseline, &arguments.current) else {
        bail!("expected two commands, --a and --b, or two files, --baseline and --current");
    };
    let (was, is) = (record_file::read(baseline)?, record_file::read(current)?);
    let heading = format!("{} against {}", current.display(), baseline.display());
    let comparisons = compared(&was, &is, threshold / 100.0, arguments.force)
        .with_context(|| format!("comparing {heading}"))?;
    tell(&comparisons, &heading, arguments, threshold, printer)
}

/// Prints what was found, writes the report if one is wanted, and gives the exit code.
pub fn tell(
    comparisons: &[RecordComparison],
    heading: &str,
    arguments: &CompareArguments,
    threshold: f64,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    if let Some(path) = &arguments.report {
        let report = told::markdown(comparisons, heading, threshold);
        fs::write(path, report).with_context(|| format!("writing {}", path.display()))?;
    }
    printer.result(&match arguments.format {
        Format::Text => told::text(comparisons, heading, threshold),
        Format::Json => told::document(comparisons, threshold).to_string() + "\n",
    })?;
    Ok(code(comparisons))
}

/// Worse if anything is; else inconclusive if the most important metric is.
fn code(comparisons: &[RecordComparison]) -> ExitCode {
    let verdicts: Vec<Verdict> = comparisons
        .iter()
        .flat_map(|one| &one.rows)
        .map(|row| row.verdict)
        .collect();
    if verdicts.contains(&Verdict::Worse) {
        ExitCode::from(WORSE)
    } else if matches!(verdicts.first(), Some(Verdict::Inconclusive { .. })) {
        ExitCode::from(INCONCLUSIVE)
    } else {
        ExitCode::SUCCESS
    }
}

fn compared(
    was: &Content,
    is: &Content,
    relevant: f64,
    is_forced: bool,
) -> anyhow::Result<Vec<RecordComparison>> {
    let (comparisons, warnings) = match (was, is) {
        (Content::Profile(was), Content::Profile(is)) => {
            let warnings = permitted(&profile_mismatches(was, is), is_forced)?;
            (vec![compare_profiles(was, is, relevant)], warnings)
        }
        (Content::Bench(was), Content::Bench(is)) => {
            let (pairs, warnings) = pairs(was, is)?;
            return compared_pairs(&pairs, warnings, relevant, is_forced);
        }
        (Content::Trace(was), Content::Trace(is)) => {
            let (was, is) = traces::told(was, is);
            for (which, one) in [("baseline", &was), ("current file", &is)] {
                if one.record.metrics.is_empty() {
                    bail!(
                        "the {which} has no step or operation of prefill, decode or another phase that counts; record one with `carnot profile --emit trace`"
                    );
                }
            }
            let warnings = permitted(&mismatches(&was.record, &is.record), is_forced)?;
            (vec![traces::compared(&was, &is, relevant)], warnings)
        }
        (Content::Pipeline(was), Content::Pipeline(is)) => {
            let (was, is) = pipelines::told(was, is)?;
            let warnings = permitted(&mismatches(&was.record, &is.record), is_forced)?;
            (vec![traces::compared(&was, &is, relevant)], warnings)
        }
        (was, is) => bail!(
            "expected two records of `carnot bench`, two profiles, two traces of models or two of pipelines, got one of each: the baseline is {}, the current file {}; `carnot profile --emit trace,json` writes a run in both forms",
            was.kind(),
            is.kind()
        ),
    };
    with_warnings(comparisons, warnings)
}

/// Compares records pair by pair, the baseline first.
pub fn compared_pairs(
    pairs: &[(&BenchRecord, &BenchRecord)],
    mut warnings: Vec<String>,
    relevant: f64,
    is_forced: bool,
) -> anyhow::Result<Vec<RecordComparison>> {
    for (was, is) in pairs {
        valid("baseline", was)?;
        valid("current record", is)?;
        warnings.extend(permitted(&mismatches(was, is), is_forced)?);
    }
    with_warnings(compare_records(pairs, relevant), warnings)
}

fn with_warnings(
    mut comparisons: Vec<RecordComparison>,
    warnings: Vec<String>,
) -> anyhow::Result<Vec<RecordComparison>> {
    if comparisons
        .iter()
        .all(|comparison| comparison.rows.is_empty())
    {
        bail!("expected a metric that both have, with values, got none");
    }
    comparisons[0].warnings.extend(warnings);
    Ok(comparisons)
}

fn valid(which: &str, record: &BenchRecord) -> anyhow::Result<()> {
    if let Some(why) = &record.void {
        bail!("the {which} is void: {why}; measure again");
    }
    Ok(())
}

/// What differs besides, as warnings if the user insists.
fn permitted(mismatches: &[Mismatch], is_forced: bool) -> anyhow::Result<Vec<String>> {
    let told = mismatches.iter().map(
        |Mismatch {
             what,
             baseline,
             current,
         }| format!("{what} differs: {baseline} in the baseline, {current} now"),
    );
    let told: Vec<String> = told.collect();
    if !told.is_empty() && !is_forced {
        bail!(
            "{}; measure both alike, or insist with --force",
            told.join("; ")
        );
    }
    Ok(told)
}

/// Pairs, and what found no partner.
pub type Paired<'a> = (Vec<(&'a BenchRecord, &'a BenchRecord)>, Vec<String>);

/// Records of the same suite and model; where there is one each, these.
pub fn pairs<'a>(was: &'a [BenchRecord], is: &'a [BenchRecord]) -> anyhow::Result<Paired<'a>> {
    if let ([was], [is]) = (was, is) {
        return Ok((vec![(was, is)], Vec::new()));
    }
    let (mut pairs, mut alone) = (Vec::new(), Vec::new());
    for record in was {
        let subject = subject(record);
        let named = |records: &'a [BenchRecord]| -> Vec<&'a BenchRecord> {
            records
                .iter()
                .filter(|other| self::subject(other) == subject)
                .collect()
        };
        match (&named(was)[..], &named(is)[..]) {
            ([_], [partner]) => pairs.push((record, *partner)),
            ([_], []) => alone.push(format!("{subject} is only in the baseline")),
            _ => bail!("expected one record of {subject} on each side, got more"),
        }
    }
    if pairs.is_empty() {
        bail!("expected records of the same suite and model, got none");
    }
    Ok((pairs, alone))
}

fn subject(record: &BenchRecord) -> String {
    let model = record.model.as_ref();
    model.map_or_else(
        || record.suite.clone(),
        |model| format!("{} of {} {}", record.suite, model.name, model.file_type),
    )
}

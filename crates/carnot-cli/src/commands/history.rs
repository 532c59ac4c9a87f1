//! `carnot history`: records kept, and metrics over time with the places where they changed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use carnot_bench::{ChangePoint, Entry, History, MetricSeries, Settings, change_points};
use carnot_record::{BenchRecord, Utc};
use carnot_report::columns::{Columns, plain};
use serde_json::{Value, json};

use super::compare::{signed, value};
use crate::cli::{Format, HistoryAction, HistoryArguments};
use crate::printer::Printer;
use crate::record_file::{self, Content};

/// Runs that a table shows of a series, and the line above it; the latest.
const MOST_ROWS: usize = 40;
const MOST_COLUMNS: usize = 100;
/// Digits of a commit that people read.
const DIGITS: usize = 10;

pub fn execute(arguments: &HistoryArguments, printer: &Printer) -> anyhow::Result<()> {
    let path = path(arguments.file.as_deref())?;
    let text = match &arguments.action {
        HistoryAction::Add { files } => add(&path, files, arguments.format)?,
        HistoryAction::List { suite, metric } => {
            let entries = History::open(&path)?.list(suite.as_deref(), metric.as_deref())?;
            match arguments.format {
                Format::Text => list(&entries),
                Format::Json => entries.iter().map(entry).collect::<Value>().to_string() + "\n",
            }
        }
        HistoryAction::Show {
            metric,
            suite,
            quantile,
        } => {
            let history = History::open(&path)?;
            let series = history.series(metric, suite.as_deref(), *quantile)?;
            if series.is_empty() {
                let known = history.metrics()?.join(", ");
                let known = if known.is_empty() {
                    "nothing yet"
                } else {
                    &known
                };
                bail!(
                    "{} has no runs with quantile {quantile} of {metric}; it has {known}",
                    path.display()
                );
            }
            match arguments.format {
                Format::Text => series
                    .iter()
                    .map(|one| show(metric, one))
                    .collect::<Vec<_>>()
                    .join("\n"),
                Format::Json => series.iter().map(document).collect::<Value>().to_string() + "\n",
            }
        }
    };
    Ok(printer.result(&text)?)
}

/// Where the history is that `--file` or `--history` names, else the environment, else that of the user.
pub fn location(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let named = named.map(Path::to_owned);
    let told = named.or_else(|| std::env::var_os("CARNOT_HISTORY").map(PathBuf::from));
    let own = || Some(data_directory()?.join("history.db"));
    told.or_else(own)
        .context("expected a home directory for the history, got none; name a file with --file")
}

/// The same; its directory is made.
fn path(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = location(named)?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    Ok(path)
}

fn data_directory() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    Some(data?.join("carnot"))
}

fn add(path: &Path, files: &[PathBuf], format: Format) -> anyhow::Result<String> {
    // All are read before any is kept: a file that is wrong leaves no half of the others.
    let files = files
        .iter()
        .map(|file| benchmarks(file))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut history = History::open(path)?;
    let (mut added, mut known) = (0, 0);
    for (file, records) in &files {
        for record in records {
            let is_new = history
                .add(record)
                .with_context(|| file.display().to_string())?;
            if is_new { added += 1 } else { known += 1 }
        }
    }
    Ok(match format {
        Format::Text => format!("{added} added, {known} already there: {}\n", path.display()),
        Format::Json => {
            json!({ "added": added, "already_there": known, "file": path }).to_string() + "\n"
        }
    })
}

/// A file, and the records in it.
fn benchmarks(file: &Path) -> anyhow::Result<(&Path, Vec<BenchRecord>)> {
    match record_file::read(file)? {
        Content::Bench(records) => Ok((file, records)),
        other => bail!(
            "{} is {}, expected a record of `carnot bench`",
            file.display(),
            other.kind()
        ),
    }
}

fn list(entries: &[Entry]) -> String {
    let mut rows = Columns::new(&[
        "begun (UTC)",
        "suite",
        "model",
        "commit",
        "metric",
        "median:",
    ]);
    for entry in entries {
        rows.push([
            date(entry.begun_unix_s),
            entry.suite.clone(),
            entry.model.clone(),
            commit(entry.commit.as_ref()),
            entry.metric.clone(),
            value(entry.value, &entry.unit),
        ]);
    }
    rows.text()
}

fn entry(entry: &Entry) -> Value {
    json!({
        "begun_unix_s": entry.begun_unix_s,
        "suite": entry.suite,
        "model": entry.model,
        "commit": entry.commit,
        "metric": entry.metric,
        "unit": entry.unit,
        "median": entry.value,
    })
}

fn changes(series: &MetricSeries) -> Vec<ChangePoint> {
    let values: Vec<f64> = series.points.iter().map(|point| point.value).collect();
    change_points(&values, Settings::default())
}

fn show(metric: &str, series: &MetricSeries) -> String {
    let changes = changes(series);
    let values: Vec<f64> = series.points.iter().map(|point| point.value).collect();
    let alike = series
        .alike
        .iter()
        .map(String::as_str)
        .filter(|text| !text.is_empty());
    let alike: Vec<&str> = alike.collect();
    let drawn = values.len().saturating_sub(MOST_COLUMNS)..values.len();
    let mark = |index| {
        if changes.iter().any(|change| change.index == index) {
            '▲'
        } else {
            ' '
        }
    };
    let marks: String = drawn.clone().map(mark).collect();
    let mut out = format!(
        "{}   {}\n{}\n{}\n",
        plain(metric),
        plain(&alike.join(", ")),
        sparkline(&values[drawn]),
        marks.trim_end()
    );
    let mut rows = Columns::new(&["begun (UTC)", "commit", "value:", "change of the level"]);
    let first = series.points.len().saturating_sub(MOST_ROWS);
    for (index, point) in series.points.iter().enumerate().skip(first) {
        let change = changes.iter().find(|change| change.index == index);
        let told = change.map_or_else(String::new, |change| {
            format!(
                "▲ {} from {} to {}",
                signed(change.after / change.before - 1.0),
                value(change.before, &series.unit),
                value(change.after, &series.unit)
            )
        });
        rows.push([
            date(point.begun_unix_s),
            commit(point.commit.as_ref()),
            value(point.value, &series.unit),
            told,
        ]);
    }
    out += &rows.text();
    out
}

fn document(series: &MetricSeries) -> Value {
    let [suite, model, cpu, threads, conditions] = &series.alike;
    let points = series.points.iter().map(|point| json!({ "begun_unix_s": point.begun_unix_s, "commit": point.commit, "value": point.value }));
    let changes = changes(series);
    let changes = changes.iter().map(|change| json!({ "index": change.index, "before": change.before, "after": change.after, "p": change.p }));
    json!({
        "suite": suite,
        "model": model,
        "cpu": cpu,
        "threads": threads,
        "conditions": conditions,
        "unit": series.unit,
        "points": points.collect::<Vec<_>>(),
        "changes": changes.collect::<Vec<_>>(),
    })
}

fn commit(commit: Option<&String>) -> String {
    commit.map_or_else(
        || "–".to_owned(),
        |commit| commit.chars().take(DIGITS).collect(),
    )
}

/// A character for each value, from the least to the largest.
fn sparkline(values: &[f64]) -> String {
    const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let height = |value: &f64| {
        let share = if largest > least {
            (value - least) / (largest - least)
        } else {
            0.5
        };
        EIGHTHS[(share * 7.0).round() as usize]
    };
    values.iter().map(height).collect()
}

/// Such as `2026-11-22 19:34`.
fn date(unix_s: u64) -> String {
    let Utc {
        year,
        month,
        day,
        hour,
        minute,
        ..
    } = Utc::of(unix_s);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_goes_from_the_least_to_the_largest() {
        assert_eq!(sparkline(&[1.0, 2.0, 1.5]), "▁█▅");
        assert_eq!(sparkline(&[3.0, 3.0]), "▅▅");
        assert_eq!(sparkline(&[]), "");
    }
}

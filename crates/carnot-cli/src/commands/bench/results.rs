//! What all suites do with what they measured: say how long it took, print it, and keep it in files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use carnot_record::{BenchRecord, Metric, Record};
use carnot_report::bench;

use super::stamp;
use crate::cli::{Format, ResultArguments};
use crate::printer::Printer;

/// The figures say nothing of what was to be measured.
pub const VOID: u8 = 3;

/// A record that is being made.
pub struct Beginning {
    record: BenchRecord,
    at: Instant,
}

impl Beginning {
    pub fn of(suite: &str) -> Self {
        Self {
            record: stamp::begin(suite),
            at: Instant::now(),
        }
    }

    /// The record so far: when, where, for how long, by which version, of which commit.
    pub fn record(&self) -> BenchRecord {
        BenchRecord {
            took_s: self.at.elapsed().as_secs_f64(),
            ..self.record.clone()
        }
    }
}

/// Figures by the names of the checklist of another tool, which scripts know: of latencies, in milliseconds.
pub fn latency_summary(latencies: &Metric) -> BTreeMap<String, f64> {
    let ms = |share| latencies.quantile(share).map(|value| 1e3 * value);
    let count = latencies.values.len() as f64;
    let sum: f64 = latencies.values.iter().sum();
    let average = (count > 0.0).then(|| 1e3 * sum / count);
    [
        ("avg_latency_ms", average),
        ("p50_latency_ms", ms(0.5)),
        ("p90_latency_ms", ms(0.9)),
        ("p99_latency_ms", ms(0.99)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// Prints the record and keeps it where that is asked.
pub fn give(
    record: &BenchRecord,
    arguments: &ResultArguments,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &arguments.output {
        keep(record, folder)?;
    }
    printer.result(&match arguments.format {
        Format::Text => bench::text::render(record, printer.colour()),
        Format::Json => record.to_json(),
    })?;
    Ok(if record.void.is_some() {
        ExitCode::from(VOID)
    } else {
        ExitCode::SUCCESS
    })
}

/// Writes the record in all forms, and the page of all records that are in the folder.
pub fn keep(record: &BenchRecord, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let write = |name: String, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    let stem = format!("{}_benchmark", record.suite.replace('-', "_"));
    write(format!("{stem}.json"), record.to_json())?;
    write(format!("{stem}.csv"), bench::csv::render(record))?;
    write(format!("{stem}.md"), bench::markdown::render(record))?;
    write(
        "benchmark_report.html".to_owned(),
        bench::html::render(&kept(folder)?),
    )
}

/// All records in the folder, by the names of their files.
fn kept(folder: &Path) -> anyhow::Result<Vec<BenchRecord>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with("_benchmark.json"))
        .collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        BenchRecord::from_json(&text)
            .with_context(|| format!("{}: delete it, or choose another --output", path.display()))
    };
    paths.iter().map(read).collect()
}

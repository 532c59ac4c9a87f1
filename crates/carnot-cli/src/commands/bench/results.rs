//! What all suites do with what they measured: say where and when it was, print it, and keep it in files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use carnot_record::{BenchRecord, MachineSummary, Metric, Record};
use carnot_report::bench;

use crate::cli::{Format, ResultArguments};
use crate::cpu_info;
use crate::printer::Printer;

/// The figures say nothing of what was to be measured.
pub const VOID: u8 = 3;

/// A record that is being made.
pub struct Beginning {
    suite: &'static str,
    at: Instant,
    unix_s: u64,
}

impl Beginning {
    pub fn of(suite: &'static str) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            suite,
            at: Instant::now(),
            unix_s: since.map_or(0, |since| since.as_secs()),
        }
    }

    /// The record so far: when, for how long, by which version, of which commit.
    pub fn record(&self) -> BenchRecord {
        BenchRecord {
            suite: self.suite.to_owned(),
            begun_unix_s: self.unix_s,
            took_s: self.at.elapsed().as_secs_f64(),
            carnot: env!("CARGO_PKG_VERSION").to_owned(),
            commit: commit(),
            machine: MachineSummary {
                cpu: cpu_info::read().model,
                ..MachineSummary::default()
            },
            ..BenchRecord::default()
        }
    }
}

/// The commit of the working directory, if it is under version control.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    let git = git.args(["rev-parse", "HEAD"]).stderr(Stdio::null());
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
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

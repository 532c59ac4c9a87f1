//! What every record of a benchmark says beside what was measured: when, where, by what.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use carnot_record::{BenchRecord, MachineSummary, Record};
use carnot_samplers::cores;

use crate::{cpu_info, machine};

/// A record of a suite that begins now, with nothing measured in it.
pub fn begin(suite: &str) -> BenchRecord {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    BenchRecord {
        suite: suite.to_owned(),
        begun_unix_s: now.map_or(0, |since| since.as_secs()),
        carnot: env!("CARGO_PKG_VERSION").to_owned(),
        commit: commit(),
        machine: here(cores::usable()),
        ..BenchRecord::default()
    }
}

/// Writes a record to a file.
pub fn write(record: &BenchRecord, path: &Path) -> anyhow::Result<()> {
    fs::write(path, record.to_json() + "\n").with_context(|| path.display().to_string())
}

/// This machine with so many threads, and its ceilings where they are known.
pub fn here(threads: usize) -> MachineSummary {
    let summary = MachineSummary {
        cpu: cpu_info::read().model,
        threads: threads as u32,
        ..MachineSummary::default()
    };
    let Some(known) = machine::known(threads) else {
        return summary;
    };
    let curve = known
        .bandwidth
        .iter()
        .find(|of| of.threads == threads as u32);
    let peaks = known.peaks.iter().find(|of| of.threads == threads as u32);
    let curve = curve.map(|of| of.points.clone()).unwrap_or_default();
    MachineSummary {
        read_bandwidth_bytes_per_s: curve.last().map_or(0.0, |point| point.bytes_per_s),
        bandwidth_curve: curve,
        peak_int8_ops_per_s: peaks.map_or(0.0, |of| of.int8_ops_per_s),
        peak_f32_flops: peaks.map_or(0.0, |of| of.f32_flops),
        ..summary
    }
}

fn commit() -> Option<String> {
    let told = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let hash = String::from_utf8(told.stdout).ok()?;
    told.status.success().then(|| hash.trim().to_owned())
}

//! A baseline: records of what a machine does today, the targets that it is held to, and a report of both.
//!
//! ```text
//! baseline_results.json      a list of records, as `carnot compare --baseline` reads it
//! performance_targets.json   the targets, as `carnot baseline --targets` reads them
//! baseline_report.md         both, for people
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use carnot_record::{BenchRecord, Record};

use crate::targets::{Compliance, Targets, share_met};
use carnot_statistics::{median, quantile};

/// The file of the records.
pub const RESULTS: &str = "baseline_results.json";
/// The file of the targets.
pub const TARGETS: &str = "performance_targets.json";
/// The file of the report.
pub const REPORT: &str = "baseline_report.md";

/// Records of the suite `inference`, one for each backend and model, and the targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// What was measured.
    pub records: Vec<BenchRecord>,
    /// What it is held to.
    pub targets: Targets,
}

impl Baseline {
    /// Writes the three files into `directory`, which is made if it is not there; says where they are.
    pub fn write(&self, directory: &Path) -> io::Result<[PathBuf; 3]> {
        fs::create_dir_all(directory)?;
        let files = [
            (RESULTS, self.results()),
            (TARGETS, self.targets.to_json()),
            (REPORT, self.report()),
        ];
        for (name, text) in &files {
            fs::write(directory.join(name), text)?;
        }
        Ok(files.map(|(name, _)| directory.join(name)))
    }

    /// The records as a JSON list, each on a line.
    pub fn results(&self) -> String {
        let records: Vec<String> = self
            .records
            .iter()
            .map(|record| record.to_json().trim_end().to_owned())
            .collect();
        format!("[\n{}\n]\n", records.join(",\n"))
    }

    /// The report as Markdown: targets, a table for each backend, and which targets are met.
    pub fn report(&self) -> String {
        let mut text =
            "# Baseline\n\n## Targets\n\n| target | value |\n| --- | ---: |\n".to_owned();
        for Compliance { name, target, .. } in self.targets.compliance(&Targets::default()) {
            let _ = writeln!(text, "| {name} | {target} |");
        }
        let mut backends: BTreeMap<&str, Vec<&BenchRecord>> = BTreeMap::new();
        for record in &self.records {
            backends.entry(backend(record)).or_default().push(record);
        }
        for (backend, records) in backends {
            let _ = write!(text, "\n## Backend {}\n\n{COLUMNS}", cell(backend));
            records
                .iter()
                .for_each(|record| text.push_str(&row(record)));
        }
        text.push_str("\n## Compliance\n");
        for record in &self.records {
            let _ = write!(
                text,
                "\n### {} on {}\n\n{}",
                cell(&model(record)),
                cell(backend(record)),
                self.compliance(record)
            );
        }
        text
    }

    fn compliance(&self, record: &BenchRecord) -> String {
        let rows = self.targets.compliance(&measured(record));
        let mut text = "| target | wanted | measured | |\n| --- | ---: | ---: | --- |\n".to_owned();
        for row in &rows {
            let verdict = match row.is_met {
                None => "not measured",
                Some(true) => "met",
                Some(false) => "missed",
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {verdict} |",
                row.name,
                row.target,
                number(row.measured)
            );
        }
        let unknown = rows.iter().filter(|row| row.is_met.is_none()).count();
        let _ = match share_met(&rows) {
            None => writeln!(text, "\nNo target was measured."),
            Some(share) => writeln!(
                text,
                "\n**{:.0} % met** of {} that were measured; {unknown} were not.",
                100.0 * share,
                rows.len() - unknown
            ),
        };
        text
    }
}

const COLUMNS: &str =
    "| model | size, MB | mean, ms | p99, ms | requests/s | peak memory, MB | load, ms |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
";

fn row(record: &BenchRecord) -> String {
    let measured = measured(record);
    let size = record.model.as_ref().map(|model| model.bytes as f64 / 1e6);
    let tail = values(record, "request")
        .and_then(|values| quantile(values, 0.99))
        .map(|s| 1e3 * s);
    format!(
        "| {} | {} | {} | {} | {} | {} | {} |\n",
        cell(&model(record)),
        number(size),
        number(measured.inference_latency_ms),
        number(tail),
        number(measured.throughput_rps),
        number(measured.memory_efficiency_mb),
        number(measured.model_loading_time_ms),
    )
}

/// What a record says of each target, in the target's unit.
pub fn measured(record: &BenchRecord) -> Targets {
    let middle = |name: &str| values(record, name).and_then(median);
    let latency = values(record, "request").map(mean);
    let told = record
        .metrics
        .iter()
        .find(|metric| metric.unit == "requests/s")
        .and_then(|metric| median(&metric.values));
    // The suite asks again when it is answered: as many in a second as fit into one.
    let one_by_one = latency
        .filter(|_| record.suite == "inference")
        .map(|latency| 1.0 / latency);
    Targets {
        inference_latency_ms: latency.map(|s| 1e3 * s),
        memory_efficiency_mb: values(record, "peak_memory")
            .map(|values| values.iter().copied().fold(0.0, f64::max) / 1e6),
        throughput_rps: told.or(one_by_one),
        model_loading_time_ms: middle("load").map(|s| 1e3 * s),
        cache_hit_ratio: middle("cache_hit_ratio"),
        cpu_utilization: middle("cpu_utilization"),
        memory_utilization: middle("memory_utilization"),
    }
}

/// The values of a metric, if there are any.
fn values<'a>(record: &'a BenchRecord, name: &str) -> Option<&'a [f64]> {
    let values = &record.metric(name)?.values;
    (!values.is_empty()).then_some(values)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn backend(record: &BenchRecord) -> &str {
    record
        .conditions
        .get("backend")
        .map_or("gguf", String::as_str)
}

fn model(record: &BenchRecord) -> String {
    let model = record.model.as_ref();
    model.map_or_else(
        || "–".to_owned(),
        |model| format!("{} {}", model.name, model.file_type),
    )
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(
        || "–".to_owned(),
        |value| {
            if value < 10.0 {
                format!("{value:.3}")
            } else {
                format!("{value:.1}")
            }
        },
    )
}

/// Text in which nothing ends a cell or begins markup.
fn cell(text: &str) -> String {
    let plain = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    let escaped = |character: char| {
        let is_markup = matches!(character, '|' | '<' | '*' | '_' | '`' | '[' | '\\' | '#');
        is_markup.then_some('\\').into_iter().chain([character])
    };
    text.chars().map(plain).flat_map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_record::{Better, Metric, ModelSummary};

    fn record() -> BenchRecord {
        BenchRecord {
            suite: "inference".to_owned(),
            model: Some(ModelSummary {
                name: "small|one".to_owned(),
                file_type: "Q8_0".to_owned(),
                bytes: 6_000_000,
                ..ModelSummary::default()
            }),
            metrics: vec![
                Metric::latencies("request", vec![0.05, 0.07, 0.15]),
                Metric::repeated("load", "s", Better::Lower, vec![0.02]),
                Metric::repeated("peak_memory", "bytes", Better::Lower, vec![3e8, 6e8]),
            ],
            ..BenchRecord::default()
        }
    }

    #[test]
    fn a_record_is_measured_in_the_units_of_the_targets() {
        let found = measured(&record());
        let expected = Targets {
            inference_latency_ms: found.inference_latency_ms,
            memory_efficiency_mb: Some(600.0),
            throughput_rps: found.throughput_rps,
            model_loading_time_ms: Some(20.0),
            ..Targets::default()
        };
        assert_eq!(found, expected);
        assert!(
            (found.inference_latency_ms.unwrap() - 90.0).abs() < 1e-9,
            "{found:?}"
        );
        assert!(
            (found.throughput_rps.unwrap() - 1.0 / 0.09).abs() < 1e-9,
            "{found:?}"
        );
        let served = BenchRecord {
            suite: "serve".to_owned(),
            ..record()
        };
        assert_eq!(
            measured(&served).throughput_rps,
            None,
            "of requests that overlap nobody knows it from latencies"
        );
        let mut counted = record();
        counted.metrics.push(Metric::repeated(
            "rate",
            "requests/s",
            Better::Higher,
            vec![7.0],
        ));
        assert_eq!(measured(&counted).throughput_rps, Some(7.0));
    }

    #[test]
    fn three_files_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let baseline = Baseline {
            records: vec![record(), record()],
            targets: Targets::usual(),
        };
        let files = baseline.write(&folder.path().join("new")).unwrap();
        let [results, targets, report] = files.map(|file| fs::read_to_string(file).unwrap());
        let list: Vec<BenchRecord> = serde_json::from_str(&results).unwrap();
        assert_eq!(list, baseline.records);
        assert_eq!(Targets::from_json(&targets).unwrap(), baseline.targets);
        for line in [
            "| inference_latency_ms | 100 |",
            "## Backend gguf",
            "| small\\|one Q8\\_0 | 6.000 | 90.0 | 150.0 | 11.1 | 600.0 | 20.0 |",
            "| memory_efficiency_mb | 512 | 600.0 | missed |",
            "| inference_latency_ms | 100 | 90.0 | met |",
            "| cache_hit_ratio | 0.8 | – | not measured |",
            "**50 % met** of 4 that were measured; 3 were not.",
        ] {
            assert!(report.contains(line), "`{line}` in:\n{report}");
        }
    }
}

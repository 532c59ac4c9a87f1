//! What a benchmark measured: the form that comparisons, histories and reports read. `docs/bench-json.md` defines each field.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{AllocationSite, Error, FunctionShare, MachineSummary, ModelSummary, Record};

/// What a benchmark measured. Everything that a comparison needs is in it: the values themselves, not what they were boiled down to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchRecord {
    /// `carnot.bench`.
    pub schema: String,
    /// The version of the schema.
    pub version: u32,
    /// What was measured: `inference`, `memory`, `concurrent`, `cache`, `cpu`, `serve`, `stress`, `memory-profile` or `peers`.
    pub suite: String,
    /// When it began, in seconds since 1970.
    pub begun_unix_s: u64,
    /// How long it took, in seconds.
    pub took_s: f64,
    /// The version of Carnot that measured.
    pub carnot: String,
    /// The commit of the working directory, where it is under version control.
    #[serde(default)]
    pub commit: Option<String>,
    /// Where it ran.
    pub machine: MachineSummary,
    /// The model that ran here; `null` where a server ran it.
    #[serde(default)]
    pub model: Option<ModelSummary>,
    /// The server that was asked; `null` where nobody was.
    #[serde(default)]
    pub url: Option<String>,
    /// What has to be the same for two records to be compared: the name of a flag, and its value.
    pub conditions: BTreeMap<String, String>,
    /// What was measured, the most important first.
    pub metrics: Vec<Metric>,
    /// Where the time went; the values of one index sum to the wall time of that repetition.
    #[serde(default)]
    pub losses: Vec<LossSamples>,
    /// Where processor time went, the function with the most of its own first; empty where it was not sampled.
    #[serde(default)]
    pub functions: Vec<FunctionShare>,
    /// Where memory came from, the place with the most bytes first; empty where allocations were not tracked.
    #[serde(default)]
    pub allocations: Vec<AllocationSite>,
    /// Figures by the names that other tools read, such as `p99_latency_ms`.
    #[serde(default)]
    pub summary: BTreeMap<String, f64>,
    /// What a report draws.
    #[serde(default)]
    pub series: Vec<Series>,
    /// What makes the figures doubtful; empty when nothing does.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Why the figures say nothing of what was to be measured; `null` when they do.
    #[serde(default)]
    pub void: Option<String>,
}

/// Something that was measured several times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Such as `decode` or `time_to_first_token`.
    pub name: String,
    /// Of the values: `s`, `bytes`, `tokens/s`, `requests/s`, `inferences/s`, `rows/s`, `share`, `count`, `×`.
    pub unit: String,
    /// Which direction is good.
    pub better: Better,
    /// The values, in the order in which they were measured.
    pub values: Vec<f64>,
    /// The quantiles that matter: 0.5 for repetitions of one thing, also 0.95 and 0.99 for latencies of many requests.
    pub quantiles: Vec<f64>,
    /// What the machine allows, in the same unit; `null` where no limit is known.
    #[serde(default)]
    pub limit: Option<f64>,
}

/// Which direction of a metric is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// A latency.
    Lower,
    /// A throughput.
    Higher,
}

/// One row of the loss table, of each repetition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossSamples {
    /// `floor`, or the loss and its cause: `kernel/matmul q8_0`, `wait`, `engine/sampling`, `probe`.
    pub name: String,
    /// Nanoseconds in each repetition.
    pub ns: Vec<f64>,
}

/// A line of a plot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The plot that it is on; lines of the same name share their axes.
    pub plot: String,
    /// What tells it from the others there.
    pub name: String,
    /// What runs to the right, with its unit.
    pub x: String,
    /// What runs up, with its unit.
    pub y: String,
    /// Its points, by rising x.
    pub points: Vec<[f64; 2]>,
}

impl Metric {
    /// Values of which the median matters.
    pub fn repeated(name: &str, unit: &str, better: Better, values: Vec<f64>) -> Self {
        Self {
            name: name.to_owned(),
            unit: unit.to_owned(),
            better,
            values,
            quantiles: vec![0.5],
            limit: None,
        }
    }

    /// Latencies in seconds, of which the tail matters too.
    pub fn latencies(name: &str, values: Vec<f64>) -> Self {
        Self {
            quantiles: vec![0.5, 0.95, 0.99],
            ..Self::repeated(name, "s", Better::Lower, values)
        }
    }

    /// The least value that a share of them does not exceed: one that was measured. `None` of none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied()
    }

    /// The same, beside what the machine allows.
    #[must_use]
    pub fn with_limit(self, limit: f64) -> Self {
        Self {
            limit: Some(limit),
            ..self
        }
    }
}

impl BenchRecord {
    /// The metric of that name.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }
}

impl Default for BenchRecord {
    fn default() -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            version: Self::VERSION,
            suite: String::new(),
            begun_unix_s: 0,
            took_s: 0.0,
            carnot: String::new(),
            commit: None,
            machine: MachineSummary::default(),
            model: None,
            url: None,
            conditions: BTreeMap::new(),
            metrics: Vec::new(),
            losses: Vec::new(),
            functions: Vec::new(),
            allocations: Vec::new(),
            summary: BTreeMap::new(),
            series: Vec::new(),
            warnings: Vec::new(),
            void: None,
        }
    }
}

impl Record for BenchRecord {
    const SCHEMA: &'static str = "carnot.bench";
    const VERSION: u32 = 1;
    const INDENTED: bool = false;

    fn validate(&self) -> Result<(), Error> {
        let invalid = |field: String, expected: &str, found: String| Error::Invalid {
            schema: Self::SCHEMA,
            field,
            expected: expected.to_owned(),
            found,
        };
        for (index, metric) in self.metrics.iter().enumerate() {
            let wrong = |share: &&f64| !(0.0..=1.0).contains(*share);
            if let Some(share) = metric.quantiles.iter().find(wrong) {
                let field = format!("metrics[{index}].quantiles");
                return Err(invalid(field, "shares from 0 to 1", share.to_string()));
            }
        }
        let repetitions = self.losses.first().map_or(0, |loss| loss.ns.len());
        for (index, loss) in self.losses.iter().enumerate() {
            if loss.ns.len() != repetitions {
                let (field, found) = (format!("losses[{index}].ns"), loss.ns.len().to_string());
                let expected = format!("{repetitions} values, as the first has");
                return Err(invalid(field, &expected, found));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> BenchRecord {
        BenchRecord {
            suite: "inference".to_owned(),
            metrics: vec![
                Metric::latencies("end_to_end", vec![0.1, 0.2]).with_limit(0.05),
                Metric::repeated("decode", "tokens/s", Better::Higher, vec![30.0]),
            ],
            losses: vec![LossSamples {
                name: "floor".to_owned(),
                ns: vec![1.0, 2.0],
            }],
            ..BenchRecord::default()
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = record();
        let again = BenchRecord::from_json(&record.to_json()).unwrap();
        assert_eq!(again, record);
        assert_eq!(again.metric("decode").unwrap().unit, "tokens/s");
        assert_eq!(again.metric("load"), None);
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values = (1..=100).rev().map(f64::from).collect();
        let metric = Metric::latencies("end_to_end", values);
        let of = [0.0, 0.5, 0.95, 0.99, 1.0].map(|share| metric.quantile(share).unwrap());
        assert_eq!(of, [1.0, 50.0, 95.0, 99.0, 100.0]);
        assert_eq!(Metric::latencies("none", Vec::new()).quantile(0.5), None);
    }

    #[test]
    fn what_is_impossible_is_named() {
        let mut wrong = record();
        wrong.losses.push(LossSamples {
            name: "wait".to_owned(),
            ns: vec![1.0],
        });
        let told = BenchRecord::from_json(&wrong.to_json()).unwrap_err();
        let expected = "carnot.bench: losses[1].ns: expected 2 values, as the first has, found 1";
        assert_eq!(told.to_string(), expected);
        let mut wrong = record();
        wrong.metrics[0].quantiles.push(99.0);
        let told = BenchRecord::from_json(&wrong.to_json()).unwrap_err();
        assert!(told.to_string().contains("metrics[0].quantiles"), "{told}");
    }
}

//! What a deployment has to reach, and whether it does.

use serde::{Deserialize, Serialize};

/// Targets, in the form of a targets file: a JSON object in which any may be left out. The units are in the names; shares are from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Targets {
    /// Mean time of a request, at most.
    pub inference_latency_ms: Option<f64>,
    /// Peak memory, at most.
    pub memory_efficiency_mb: Option<f64>,
    /// Requests a second, at least.
    pub throughput_rps: Option<f64>,
    /// Time to load the model, at most.
    pub model_loading_time_ms: Option<f64>,
    /// Share of the prompt that was found in the cache, at least.
    pub cache_hit_ratio: Option<f64>,
    /// Share of the processors that is busy, at most.
    pub cpu_utilization: Option<f64>,
    /// Share of the memory that is taken, at most.
    pub memory_utilization: Option<f64>,
}

/// Why a text is no targets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetsError {
    /// It is not JSON, or has other fields.
    #[error("expected an object with numbers such as \"inference_latency_ms\": {0}")]
    Json(#[from] serde_json::Error),
    /// A number that nothing can be held to.
    #[error("{name}: expected a number above 0{}, got {found}", if *.is_share { " and at most 1" } else { "" })]
    Impossible {
        /// The target.
        name: &'static str,
        /// Whether it is a share.
        is_share: bool,
        /// What is there.
        found: f64,
    },
}

/// Which side of a target is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    AtMost,
    AtLeast,
}

/// One target, and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Compliance {
    /// As in the file.
    pub name: &'static str,
    /// What has to be reached.
    pub target: f64,
    /// What was, in the same unit; `None` where nobody measured it.
    pub measured: Option<f64>,
    /// Whether the target is met; `None` where nobody knows.
    pub is_met: Option<bool>,
}

impl Targets {
    /// What a deployment is held to where nobody says otherwise.
    pub fn usual() -> Self {
        Self {
            inference_latency_ms: Some(100.0),
            memory_efficiency_mb: Some(512.0),
            throughput_rps: Some(1000.0),
            model_loading_time_ms: Some(5000.0),
            cache_hit_ratio: Some(0.8),
            cpu_utilization: Some(0.8),
            memory_utilization: Some(0.7),
        }
    }

    /// Reads a targets file. Refuses fields that it does not know, since a target that is misspelt would be met by everyone.
    pub fn from_json(text: &str) -> Result<Self, TargetsError> {
        let targets: Self = serde_json::from_str(text)?;
        for (name, target, _) in targets.rows() {
            let is_share = name.ends_with("ratio") || name.ends_with("utilization");
            let most = if is_share { 1.0 } else { f64::MAX };
            if let Some(found) = target.filter(|target| !(*target > 0.0 && *target <= most)) {
                return Err(TargetsError::Impossible {
                    name,
                    is_share,
                    found,
                });
            }
        }
        Ok(targets)
    }

    /// The JSON text, ending in a line feed.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("numbers and their names can be written") + "\n"
    }

    /// Holds `measured`, which has the same names and units, to the targets: a row for each target that is set.
    pub fn compliance(&self, measured: &Self) -> Vec<Compliance> {
        let rows = self.rows().into_iter().zip(measured.rows());
        let row = |((name, target, side), (_, measured, _)): (Row, Row)| {
            let target = target?;
            let is_met = measured.map(|measured| match side {
                Side::AtMost => measured <= target,
                Side::AtLeast => measured >= target,
            });
            Some(Compliance {
                name,
                target,
                measured,
                is_met,
            })
        };
        rows.filter_map(row).collect()
    }

    fn rows(&self) -> [Row; 7] {
        use Side::{AtLeast, AtMost};
        [
            ("inference_latency_ms", self.inference_latency_ms, AtMost),
            ("memory_efficiency_mb", self.memory_efficiency_mb, AtMost),
            ("throughput_rps", self.throughput_rps, AtLeast),
            ("model_loading_time_ms", self.model_loading_time_ms, AtMost),
            ("cache_hit_ratio", self.cache_hit_ratio, AtLeast),
            ("cpu_utilization", self.cpu_utilization, AtMost),
            ("memory_utilization", self.memory_utilization, AtMost),
        ]
    }
}

type Row = (&'static str, Option<f64>, Side);

/// The share of the targets that are met, of those of which something was measured. `None` where nothing was.
pub fn share_met(compliance: &[Compliance]) -> Option<f64> {
    let known: Vec<bool> = compliance.iter().filter_map(|row| row.is_met).collect();
    let met = known.iter().filter(|is_met| **is_met).count();
    (!known.is_empty()).then(|| met as f64 / known.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{
        "inference_latency_ms": 80.0, "memory_efficiency_mb": 400.0, "throughput_rps": 1500.0, "model_loading_time_ms": 3000.0,
        "cache_hit_ratio": 0.85, "cpu_utilization": 0.75, "memory_utilization": 0.65
    }"#;

    #[test]
    fn a_targets_file_is_read_as_it_was_written() {
        let targets = Targets::from_json(SAMPLE).unwrap();
        assert_eq!(
            (targets.throughput_rps, targets.cache_hit_ratio),
            (Some(1500.0), Some(0.85))
        );
        assert_eq!(Targets::from_json(&targets.to_json()).unwrap(), targets);
        assert_eq!(Targets::from_json("{}").unwrap(), Targets::default());
    }

    #[test]
    fn each_target_is_held_on_its_side() {
        let measured = Targets {
            inference_latency_ms: Some(80.0),
            memory_efficiency_mb: Some(400.1),
            throughput_rps: Some(1500.0),
            cache_hit_ratio: Some(0.84),
            ..Targets::default()
        };
        let found = Targets::from_json(SAMPLE).unwrap().compliance(&measured);
        let met: Vec<Option<bool>> = found.iter().map(|row| row.is_met).collect();
        assert_eq!(
            met,
            [
                Some(true),
                Some(false),
                Some(true),
                None,
                Some(false),
                None,
                None
            ]
        );
        assert_eq!(share_met(&found), Some(0.5), "of those that were measured");
        assert_eq!(
            share_met(&Targets::usual().compliance(&Targets::default())),
            None
        );
        assert_eq!(Targets::default().compliance(&measured), []);
    }

    #[test]
    fn what_nothing_can_be_held_to_is_named() {
        let told = |text: &str| Targets::from_json(text).unwrap_err().to_string();
        assert!(told("{\"inference_latency\": 1}").contains("unknown field `inference_latency`"));
        assert_eq!(
            told("{\"cpu_utilization\": 75}"),
            "cpu_utilization: expected a number above 0 and at most 1, got 75"
        );
        assert_eq!(
            told("{\"throughput_rps\": 0}"),
            "throughput_rps: expected a number above 0, got 0"
        );
    }
}

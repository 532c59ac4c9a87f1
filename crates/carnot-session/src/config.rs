//! What is recorded and reported: the keys of a configuration file, their defaults, presets, and what is wrong with them.
//!
//! ```yaml
//! profiling:
//!   enabled: true
//!   gpu_monitor_interval: 0.5      # seconds
//!   report_format: both            # html, json, both or none
//!   session_tags: {model: tiny}
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;

/// What is recorded and reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the file"
)]
pub struct Config {
    /// Whether anything is recorded at all. Off, everything costs a load and a branch.
    pub enabled: bool,
    /// Seconds between two looks at the graphics processors.
    pub gpu_monitor_interval: f64,
    /// Seconds between two looks at the host and this process.
    pub cpu_monitor_interval: f64,
    /// Memory of graphics processors.
    pub monitor_gpu_memory: bool,
    /// Use of graphics processors.
    pub monitor_gpu_utilization: bool,
    /// Their temperature.
    pub monitor_gpu_temperature: bool,
    /// Their power, from which energy is computed.
    pub monitor_gpu_power: bool,
    /// The graphics processors that are watched, by number; all where none is named.
    pub gpu_devices: Vec<u32>,
    /// Use of the host's processors and of those that this process may use.
    pub monitor_cpu_usage: bool,
    /// Memory of the host and of this process.
    pub monitor_system_memory: bool,
    /// Whether a line tells every now and then how it goes.
    pub real_time_display: bool,
    /// Seconds between two such lines.
    pub display_interval: f64,
    /// Whether a report is written at the end.
    pub generate_final_report: bool,
    /// Whether the trace is kept beside the report. It is by default: `carnot profile open` reads it.
    pub save_raw_data: bool,
    /// Where files go.
    pub output_dir: PathBuf,
    /// What is written at the end.
    pub report_format: ReportFormat,
    /// Points of each curve in the report, at most.
    pub max_data_points: usize,
    /// Memory that events may take until they are written, in bytes; past it they are counted and lost.
    pub buffer_bytes: usize,
    /// Bytes between two allocations that are looked at, in the mean; 0 looks at none. The program's allocator must be
    /// `carnot_sampling::heap::Counting`.
    pub sample_allocations: u64,
    /// Whether a session of Python's traces its interpreter's memory by lines, which makes allocating there several times slower.
    pub trace_python_memory: bool,
    /// Steps of an iteration.
    pub profile_diffusion_steps: bool,
    /// Steps of inference, named as other tools name them: the same as `profile_diffusion_steps`, and both must be on.
    pub profile_inference_steps: bool,
    /// Spans whose name contains `vae` or `decode`.
    pub profile_vae_decode: bool,
    /// Spans whose name contains `text_enc`.
    pub profile_text_encoding: bool,
    /// Blocks.
    pub profile_block_computation: bool,
    /// Models and their parameters.
    pub profile_model_parameters: bool,
    /// Whatever the author wants to find the session by.
    pub session_tags: BTreeMap<String, String>,
}

/// What is written at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportFormat {
    /// A page.
    Html,
    /// The same for programs.
    Json,
    /// A page and JSON.
    #[default]
    Both,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            gpu_monitor_interval: 0.5,
            cpu_monitor_interval: 1.0,
            monitor_gpu_memory: true,
            monitor_gpu_utilization: true,
            monitor_gpu_temperature: true,
            monitor_gpu_power: true,
            gpu_devices: Vec::new(),
            monitor_cpu_usage: true,
            monitor_system_memory: true,
            real_time_display: true,
            display_interval: 5.0,
            generate_final_report: true,
            save_raw_data: true,
            output_dir: PathBuf::from("profiling_reports"),
            report_format: ReportFormat::Both,
            max_data_points: 10_000,
            buffer_bytes: 256 * 1024 * 1024,
            sample_allocations: 0,
            trace_python_memory: false,
            profile_diffusion_steps: true,
            profile_inference_steps: true,
            profile_vae_decode: true,
            profile_text_encoding: true,
            profile_block_computation: true,
            profile_model_parameters: true,
            session_tags: BTreeMap::new(),
        }
    }
}

/// Below it a sample would cost what looking at every allocation does.
const LEAST_SAMPLED: u64 = 1024;

/// The names of the presets.
pub const PRESETS: [&str; 3] = ["development", "production", "debugging"];

impl Config {
    /// A preset: `development` looks often and keeps all, `production` costs least, `debugging` keeps all and looks as often as it can.
    pub fn preset(name: &str) -> Result<Self, Error> {
        let default = Self::default();
        Ok(match name {
            "development" => Self {
                display_interval: 1.0,
                gpu_monitor_interval: 0.1,
                cpu_monitor_interval: 0.5,
                ..default
            },
            "production" => Self {
                real_time_display: false,
                gpu_monitor_interval: 1.0,
                cpu_monitor_interval: 2.0,
                monitor_gpu_temperature: false,
                monitor_gpu_power: false,
                monitor_cpu_usage: false,
                report_format: ReportFormat::Json,
                max_data_points: 5000,
                profile_text_encoding: false,
                ..default
            },
            "debugging" => Self {
                display_interval: 0.5,
                gpu_monitor_interval: 0.05,
                cpu_monitor_interval: 0.1,
                max_data_points: 100_000,
                buffer_bytes: 1024 * 1024 * 1024,
                ..default
            },
            _ => return Err(unknown("configuration", "preset", name, &PRESETS)),
        })
    }

    /// A file in YAML (`.yaml`, `.yml`) or TOML (`.toml`), its keys under `profiling` or at the top.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::File {
            what: "reading",
            path: path.to_owned(),
            source,
        })?;
        let is_toml = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        Self::parse(&text, is_toml, &path.display().to_string())
    }

    /// The same from text; `file` is who is named where it is wrong.
    pub fn parse(text: &str, is_toml: bool, file: &str) -> Result<Self, Error> {
        let wrong = |what: String| Error::Config {
            file: file.to_owned(),
            what: what.trim_end().to_owned(),
        };
        let value: serde_json::Value = if is_toml {
            toml::from_str(text).map_err(|error| wrong(error.to_string()))?
        } else {
            serde_norway::from_str(text).map_err(|error| wrong(error.to_string()))?
        };
        let keys = match value {
            serde_json::Value::Object(mut map) => map
                .remove("profiling")
                .unwrap_or(serde_json::Value::Object(map)),
            serde_json::Value::Null => serde_json::Value::Object(serde_json::Map::new()),
            other => return Err(wrong(format!("expected keys and values, found {other}"))),
        };
        let known = Self::keys();
        if let serde_json::Value::Object(map) = &keys
            && let Some(key) = map.keys().find(|key| !known.contains(*key))
        {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Err(unknown(file, "key", key, &known));
        }
        let config: Self = serde_json::from_value(keys.clone())
            .map_err(|error| wrong(first_wrong(&keys, &error)))?;
        config.check(file)?;
        Ok(config)
    }

    /// Says what is out of range, naming `file`.
    pub fn check(&self, file: &str) -> Result<(), Error> {
        let wrong = |what: String| {
            Err(Error::Config {
                file: file.to_owned(),
                what,
            })
        };
        let intervals = [
            ("gpu_monitor_interval", self.gpu_monitor_interval),
            ("cpu_monitor_interval", self.cpu_monitor_interval),
            ("display_interval", self.display_interval),
        ];
        for (key, seconds) in intervals {
            if !(seconds.is_finite() && seconds > 0.0) {
                return wrong(format!("{key}: expected seconds above 0, found {seconds}"));
            }
        }
        if self.max_data_points == 0 {
            return wrong("max_data_points: expected a number above 0, found 0".to_owned());
        }
        if (1..LEAST_SAMPLED).contains(&self.sample_allocations) {
            return wrong(format!(
                "sample_allocations: expected 0 for none, or at least {LEAST_SAMPLED} bytes, found {}",
                self.sample_allocations
            ));
        }
        Ok(())
    }

    /// Sets one key from text, as an environment variable or a flag gives it.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), Error> {
        let mut value = serde_json::to_value(&*self).expect("a configuration is plain data");
        let known = Self::keys();
        if !known.contains(&key.to_owned()) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Err(unknown("configuration", "key", key, &known));
        }
        let given = serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(text));
        let given = if value[key].is_string() {
            serde_json::Value::from(text)
        } else {
            given
        };
        value[key] = given;
        let changed: Self =
            serde_json::from_value(value.clone()).map_err(|error| Error::Config {
                file: "configuration".to_owned(),
                what: first_wrong(&value, &error),
            })?;
        changed.check("configuration")?;
        *self = changed;
        Ok(())
    }

    fn keys() -> Vec<String> {
        match serde_json::to_value(Self::default()) {
            Ok(serde_json::Value::Object(map)) => map.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether spans of this name and kind are wanted.
    pub(crate) fn wants(&self, name: &str, kind: carnot_probe::Kind) -> bool {
        use carnot_probe::Kind;
        let is = |part: &str| name.contains(part);
        match kind {
            // The names of these are those of functions.
            Kind::Allocation => true,
            Kind::Step => self.profile_diffusion_steps && self.profile_inference_steps,
            Kind::Block => self.profile_block_computation,
            _ if is("vae") || is("decode") => self.profile_vae_decode,
            _ if is("text_enc") => self.profile_text_encoding,
            _ => true,
        }
    }
}

/// The key whose value does not fit, found by trying each alone.
fn first_wrong(keys: &serde_json::Value, error: &serde_json::Error) -> String {
    let serde_json::Value::Object(map) = keys else {
        return error.to_string();
    };
    for (key, value) in map {
        let alone = serde_json::json!({ key: value });
        if let Err(error) = serde_json::from_value::<Config>(alone) {
            return format!("{key}: {error}");
        }
    }
    error.to_string()
}

/// An unknown word, and the known one that it looks like.
fn unknown(file: &str, what: &str, found: &str, known: &[&str]) -> Error {
    let near = known
        .iter()
        .map(|&word| (strsim::damerau_levenshtein(found, word), word))
        .min()
        .filter(|(distance, word)| *distance <= word.len().div_ceil(3));
    let hint = match near {
        Some((_, word)) => format!("did you mean {word}?"),
        None => format!("expected one of {}", known.join(", ")),
    };
    Error::Config {
        file: file.to_owned(),
        what: format!("unknown {what} {found}; {hint}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_both_forms_nested_or_not() {
        let yaml = "profiling:\n  gpu_monitor_interval: 0.25\n  report_format: json\n  session_tags: {model: tiny}\n";
        let config = Config::parse(yaml, false, "a.yaml").unwrap();
        assert_eq!(
            (config.gpu_monitor_interval, config.report_format),
            (0.25, ReportFormat::Json)
        );
        assert_eq!(config.session_tags["model"], "tiny");
        let toml =
            "gpu_monitor_interval = 0.25\nreport_format = 'json'\n[session_tags]\nmodel = 'tiny'\n";
        assert_eq!(Config::parse(toml, true, "a.toml").unwrap(), config);
        assert_eq!(
            Config::parse("", false, "empty.yaml").unwrap(),
            Config::default()
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| {
            Config::parse(text, false, "a.yaml")
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error("gpu_monitor_intervall: 1"),
            "a.yaml: unknown key gpu_monitor_intervall; did you mean gpu_monitor_interval?"
        );
        assert!(
            error("colour: red")
                .starts_with("a.yaml: unknown key colour; expected one of enabled, "),
            "{}",
            error("colour: red")
        );
        assert_eq!(
            error("cpu_monitor_interval: 0"),
            "a.yaml: cpu_monitor_interval: expected seconds above 0, found 0"
        );
        assert_eq!(
            error("max_data_points: 0"),
            "a.yaml: max_data_points: expected a number above 0, found 0"
        );
        assert_eq!(
            error("sample_allocations: 100"),
            "a.yaml: sample_allocations: expected 0 for none, or at least 1024 bytes, found 100"
        );
        assert!(error("sample_allocations: -1").starts_with("a.yaml: sample_allocations: "));
        assert_eq!(
            error("report_format: pdf"),
            "a.yaml: report_format: unknown variant `pdf`, expected one of `html`, `json`, `both`"
        );
        assert!(error("enabled: [").starts_with("a.yaml: "));
        assert_eq!(error("- 1"), "a.yaml: expected keys and values, found [1]");
    }

    #[test]
    fn presets_and_single_keys() {
        for name in PRESETS {
            Config::preset(name).unwrap().check(name).unwrap();
        }
        let error = Config::preset("prodution").unwrap_err().to_string();
        assert_eq!(
            error,
            "configuration: unknown preset prodution; did you mean production?"
        );
        let mut config = Config::default();
        config.set("enabled", "false").unwrap();
        config.set("output_dir", "12").unwrap();
        config.set("display_interval", "2.5").unwrap();
        assert_eq!(
            (
                config.enabled,
                config.output_dir.as_path(),
                config.display_interval
            ),
            (false, Path::new("12"), 2.5)
        );
        assert!(config.set("display_interval", "-1").is_err());
        assert_eq!(config.display_interval, 2.5);
    }
}

//! The binary as a user and a script see it: what it prints where, what it writes, how it ends.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod benching;
mod comparing;
mod comparing_runs;
mod comparing_traces;
mod help;
mod inferring;
mod limits;
mod measuring;
mod pipelines;
mod profiling;
mod refusals;
mod running;
mod serving;
mod serving_tensors;
mod soak;
mod stressing;
mod tensors;
mod watching;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How a run of the binary ended.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// The standard output of a run that succeeded.
    #[track_caller]
    fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// The one line in which a run that failed with `code` says why, every word of `mentions` in it.
    #[track_caller]
    fn failure(self, code: i32, mentions: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "nothing goes to standard output");
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for word in mentions {
            assert!(self.stderr.contains(word), "`{word}` in: {}", self.stderr);
        }
        // Wrong usage is answered by the parser, with hints on lines of their own.
        if code == 1 {
            assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
            assert!(self.stderr.starts_with("carnot: "), "{}", self.stderr);
        }
    }
}

/// The binary, untouched by the environment of whoever runs the tests.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carnot"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARNOT_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_CACHE_HOME", cache());
    command
}

fn carnot(arguments: &[&str]) -> Outcome {
    outcome(command(arguments).output().unwrap())
}

/// Runs with `input` as standard input.
fn carnot_reading(arguments: &[&str], input: &[u8]) -> Outcome {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    outcome(child.wait_with_output().unwrap())
}

fn outcome(output: std::process::Output) -> Outcome {
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// One cache directory for all tests, in whichever process they run.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

/// Measures the machine unless it is known: once for all tests, which wait for one another.
fn measure_machine() {
    fs::create_dir_all(cache()).unwrap();
    let lock = File::create(cache().join("lock")).unwrap();
    lock.lock().unwrap();
    carnot(&["machine"]).success();
}

fn models() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

/// A path as an argument.
fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Every path of a JSON value with the types found there: records of an array are taken together.
fn schema(value: &serde_json::Value) -> String {
    let mut rows = std::collections::BTreeMap::new();
    describe("", value, &mut rows);
    rows.into_iter()
        .map(
            |(path, types): (String, std::collections::BTreeSet<&str>)| {
                let types: Vec<&str> = types.into_iter().collect();
                format!("{path}: {}\n", types.join(" or "))
            },
        )
        .collect()
}

fn describe(
    path: &str,
    value: &serde_json::Value,
    rows: &mut std::collections::BTreeMap<String, std::collections::BTreeSet<&'static str>>,
) {
    use serde_json::Value;
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "fraction",
        Value::Number(_) => "integer",
        Value::String(_) => "text",
        Value::Array(items) => {
            for item in items {
                describe(&format!("{path}[]"), item, rows);
            }
            return;
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                describe(&format!("{path}.{name}"), field, rows);
            }
            return;
        }
    };
    rows.entry(path.to_owned()).or_default().insert(kind);
}

//! The table of steps: the quick ones first, so that what is wrong is soon known; the tests last, so that their summary is.

use std::fmt;

use anyhow::Context;

use super::{Skip, setup};
use crate::instructions::{self, Comparison};
use crate::process::{cargo, run, succeeds};
use crate::tidy;
use crate::workspace::Metadata;

/// One thing to check.
pub struct Step {
    pub name: &'static str,
    pub work: Work,
}

pub enum Work {
    /// Cargo with these arguments, each line a call of its own.
    Cargo(&'static [&'static [&'static str]]),
    /// Anything else, in words.
    Other(&'static str, fn() -> anyhow::Result<Outcome>),
}

/// A step that did not fail.
#[derive(Default)]
pub struct Outcome {
    /// What it left out because something is not installed.
    pub skipped: Vec<Skip>,
}

pub const STEPS: [Step; 14] = [
    other("setup", "packages and a Python environment", setup::prepare),
    steps("format", &[&["fmt", "--all", "--check"]]),
    other("tidy", "the house rules", tidy),
    other(
        "deny",
        "licences, advisories and bans of dependencies",
        deny,
    ),
    other("models", "the embedded model against its source", models),
    steps(
        "clippy",
        &[&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]],
    ),
    // What nobody builds every day: a probe that is nothing, one that talks to NVIDIA's tools, a binary without its model.
    steps(
        "features",
        &[
            &[
                "check",
                "--quiet",
                "--package",
                "carnot-probe",
                "--no-default-features",
                "--all-targets",
            ],
            &[
                "check",
                "--quiet",
                "--package",
                "carnot-cli",
                "--no-default-features",
                "--features",
                "nvtx",
            ],
            &[
                "test",
                "--quiet",
                "--package",
                "carnot-probe",
                "--features",
                "nvtx",
                "--lib",
                "--test",
                "nvtx",
            ],
        ],
    ),
    other(
        "documentation",
        "cargo doc --workspace --no-deps, warnings denied",
        documentation,
    ),
    // `*` finds benchmarks alone, where `--benches` would run all unit tests too.
    steps(
        "benchmarks",
        &[&[
            "test",
            "--quiet",
            "--workspace",
            "--bench",
            "*",
            "--",
            "--test",
        ]],
    ),
    other(
        "instructions",
        "the instructions of small work, by valgrind",
        instructions,
    ),
    steps("examples", &[&["test", "--quiet", "--workspace", "--doc"]]),
    other(
        "clients",
        "the server, used by OpenAI's own client, Triton's, curl, a browser, Prometheus and a fuzzer",
        clients,
    ),
    other(
        "python",
        "the Python package: its wheel, its tests, its types",
        python,
    ),
    other("tests", "cargo nextest run --workspace", tests),
];

const fn steps(name: &'static str, calls: &'static [&'static [&'static str]]) -> Step {
    let work = Work::Cargo(calls);
    Step { name, work }
}

const fn other(
    name: &'static str,
    what: &'static str,
    work: fn() -> anyhow::Result<Outcome>,
) -> Step {
    let work = Work::Other(what, work);
    Step { name, work }
}

impl Work {
    pub fn run(&self) -> anyhow::Result<Outcome> {
        match self {
            Self::Other(_, work) => work(),
            Self::Cargo(calls) => {
                for call in *calls {
                    run(&mut cargo(call))?;
                }
                Ok(Outcome::default())
            }
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(what, _) => f.write_str(what),
            Self::Cargo(calls) => {
                let calls: Vec<String> = calls
                    .iter()
                    .map(|call| format!("cargo {}", call.join(" ")))
                    .collect();
                f.write_str(&calls.join("; "))
            }
        }
    }
}

fn tidy() -> anyhow::Result<Outcome> {
    tidy::execute().map(|()| Outcome::default())
}

fn documentation() -> anyhow::Result<Outcome> {
    let mut command = cargo(&["doc", "--quiet", "--workspace", "--no-deps"]);
    run(command.env("RUSTDOCFLAGS", "-D warnings")).map(|()| Outcome::default())
}

fn deny() -> anyhow::Result<Outcome> {
    if !succeeds(&mut cargo(&["deny", "--version"])) {
        return Ok(missing(
            "licences and advisories",
            "cargo install cargo-deny --locked",
        ));
    }
    if succeeds(&mut cargo(&["deny", "fetch", "db"])) {
        return run(&mut cargo(&["deny", "check"])).map(|()| Outcome::default());
    }
    run(&mut cargo(&[
        "deny", "check", "licenses", "bans", "sources",
    ]))?;
    Ok(missing(
        "advisories",
        "their database could not be fetched; try again with a connection",
    ))
}

fn models() -> anyhow::Result<Outcome> {
    let Some(mut python) = setup::python() else {
        return Ok(missing(
            "the check of the embedded model",
            "it needs the Python environment of step setup",
        ));
    };
    run(python.arg("tools/embedded-model/check.py")).map(|()| Outcome::default())
}

/// Scripts under `tools/clients`.
const CLIENTS: [&str; 6] = [
    "openai_client",
    "triton_client",
    "with_curl",
    "live_page",
    "scrape",
    "fuzz_http",
];

fn clients() -> anyhow::Result<Outcome> {
    if setup::python().is_none() {
        return Ok(missing(
            "the conversations with the server's clients",
            "they need the Python environment of step setup",
        ));
    }
    // The whole workspace, so that the tests, which come next, find everything built with the same features.
    run(&mut cargo(&["build", "--quiet", "--workspace"]))?;
    let binary = Metadata::read()?.target.join("debug/carnot");
    for client in CLIENTS {
        let mut python = setup::python().context("the Python environment is gone")?;
        run(python
            .arg(format!("tools/clients/{client}.py"))
            .arg(&binary))?;
    }
    Ok(Outcome::default())
}

/// Where the Python package lies.
const PACKAGE: &str = "crates/carnot-python";

/// Builds the wheel as a user's `pip install` does, but unoptimised, and tests what is in it.
fn python() -> anyhow::Result<Outcome> {
    if setup::python().is_none() {
        return Ok(missing(
            "the Python package",
            "it needs the Python environment of step setup",
        ));
    }
    let wheels = Metadata::read()?.target.join("wheels");
    // One wheel, this one: a folder of an earlier version would have two.
    if wheels.exists() {
        std::fs::remove_dir_all(&wheels)
            .with_context(|| format!("removing {}", wheels.display()))?;
    }
    let wheels = wheels.to_string_lossy();
    let manifest = format!("{PACKAGE}/Cargo.toml");
    let calls: [&[&str]; 5] = [
        &[
            "-m",
            "maturin",
            "build",
            "--quiet",
            "--manifest-path",
            &manifest,
            "--out",
            &wheels,
        ],
        &[
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            "--force-reinstall",
            "--find-links",
            &wheels,
            "carnot",
        ],
        &[
            "-m",
            "pytest",
            "--quiet",
            "-rs",
            "-p",
            "no:cacheprovider",
            PACKAGE,
        ],
        &[
            "-m",
            "mypy",
            "--strict",
            "--cache-dir",
            "/dev/null",
            "-p",
            "carnot",
        ],
        &[
            "crates/carnot-python/benches/span_cost.py",
            "--rounds",
            "2",
            "--batch",
            "10",
        ],
    ];
    for call in calls {
        let mut python = setup::python().context("the Python environment is gone")?;
        run(python.args(call))?;
    }
    Ok(Outcome::default())
}

fn instructions() -> anyhow::Result<Outcome> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(missing("instruction counts", "they are of x86-64"));
    }
    Ok(match instructions::execute(false)? {
        Comparison::Held => Outcome::default(),
        Comparison::OtherCompiler(known) => missing(
            "instruction counts",
            &format!(
                "they are of {known}; cargo xtask instructions --bless with the compiler at hand"
            ),
        ),
    })
}

fn tests() -> anyhow::Result<Outcome> {
    if succeeds(&mut cargo(&["nextest", "--version"])) {
        return run(&mut cargo(&[
            "nextest",
            "run",
            "--workspace",
            "--no-fail-fast",
        ]))
        .map(|()| Outcome::default());
    }
    let arguments = [
        "test",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        "--no-fail-fast",
    ];
    run(&mut cargo(&arguments))?;
    Ok(missing(
        "cargo-nextest, so `cargo test` ran",
        "cargo install cargo-nextest --locked",
    ))
}

fn missing(what: &'static str, how: &str) -> Outcome {
    let how = how.to_owned();
    Outcome {
        skipped: vec![Skip { what, how }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_says_what_it_runs() {
        let step = STEPS.iter().find(|step| step.name == "format").unwrap();
        assert_eq!(step.work.to_string(), "cargo fmt --all --check");
    }

    #[test]
    fn what_is_skipped_says_how_to_get_it() {
        let outcome = missing("a check", "apt-get install it");
        assert_eq!(outcome.skipped[0].how, "apt-get install it");
    }
}

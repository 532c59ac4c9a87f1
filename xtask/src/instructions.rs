//! How many instructions small work takes, held to what was counted before: `cargo xtask instructions`.
//!
//! Timings are noise on shared machines; counts are not, so they may fail a build. They see what makes the program do more, and
//! not what makes it wait: a kernel that misses a cache executes as many instructions as one that does not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::process::{cargo, is_installed, output, program, run};
use crate::report;
use crate::workspace::{self, Metadata};

const FILE: &str = "benchmarks/instructions.toml";
/// Counts may differ by so much.
const TOLERANCE_PERCENT: u64 = 3;
const HEAD: &str = "\
# Instructions that the work of crates/carnot-llm/examples/instructions.rs takes, by valgrind, in a release build.
# Compilers differ: counts are compared only where the compiler is the one below.
# To count anew: cargo xtask instructions --bless
";

/// The counts of one compiler: by instruction set and case.
#[derive(Debug, PartialEq, Deserialize)]
struct Counts {
    rustc: String,
    #[serde(flatten)]
    sets: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Counts {
    fn to_toml(&self) -> String {
        let mut text = format!("{HEAD}rustc = \"{}\"\n", self.rustc);
        for (set, cases) in &self.sets {
            let _ = writeln!(text, "\n[{set}]");
            for (name, count) in cases {
                let _ = writeln!(text, "{name} = {count}");
            }
        }
        text
    }
}

/// What came of a comparison.
pub enum Comparison {
    Held,
    /// They were counted with this other compiler.
    OtherCompiler(String),
}

/// Counts, and writes the counts down if `bless`, else holds them to those that were written down.
pub fn execute(bless: bool) -> anyhow::Result<Comparison> {
    let rustc = compiler()?;
    if bless {
        let counts = count(rustc)?;
        fs::write(path(), counts.to_toml()).with_context(|| format!("writing {FILE}"))?;
        report::line(&format!("{FILE} is written"));
        return Ok(Comparison::Held);
    }
    let text = fs::read_to_string(path()).with_context(|| format!("reading {FILE}"))?;
    let known: Counts = toml::from_str(&text).with_context(|| format!("reading {FILE}"))?;
    if known.rustc != rustc {
        return Ok(Comparison::OtherCompiler(known.rustc));
    }
    let found = differences(&known, &count(rustc)?);
    ensure!(
        found.is_empty(),
        "instructions differ from {FILE} by more than {TOLERANCE_PERCENT} %; if that is meant, cargo xtask instructions --bless\n  {}",
        found.join("\n  ")
    );
    Ok(Comparison::Held)
}

fn path() -> PathBuf {
    workspace::root().join(FILE)
}

fn compiler() -> anyhow::Result<String> {
    let version = output(&mut program("rustc", &["--version"]))?;
    Ok(String::from_utf8(version)?.trim().to_owned())
}

fn count(rustc: String) -> anyhow::Result<Counts> {
    if !is_installed("valgrind") {
        bail!("valgrind is not installed, which counts the instructions: apt-get install valgrind");
    }
    run(&mut cargo(&[
        "build",
        "--quiet",
        "--release",
        "--package",
        "carnot-llm",
        "--example",
        "instructions",
    ]))?;
    let target = Metadata::read()?.target;
    let example = target.join("release/examples/instructions");
    let cases = output(&mut program(&example.to_string_lossy(), &[]))?;
    let mut sets: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for case in String::from_utf8(cases)?.lines() {
        let (set, name) = case.split_once(' ').context("a case is a set and a name")?;
        let instructions = count_one(&example, set, name, &target)
            .with_context(|| format!("counting the instructions of {case}"))?;
        sets.entry(set.to_owned())
            .or_default()
            .insert(name.to_owned(), instructions);
    }
    Ok(Counts { rustc, sets })
}

/// One run of the example; callgrind writes the sum over what happened inside `measured`.
fn count_one(example: &Path, set: &str, name: &str, target: &Path) -> anyhow::Result<u64> {
    let out = target.join("instructions.callgrind");
    let out_argument = format!("--callgrind-out-file={}", out.display());
    let arguments = [
        "--quiet",
        "--tool=callgrind",
        "--toggle-collect=instructions::measured*",
        &out_argument,
        &example.to_string_lossy(),
        set,
        name,
    ];
    run(&mut program("valgrind", &arguments))?;
    let text = fs::read_to_string(&out).with_context(|| format!("reading {}", out.display()))?;
    let sum = summary(&text).context("callgrind's file has a summary")?;
    ensure!(
        sum > 0,
        "nothing was counted: is `measured` still a function?"
    );
    Ok(sum)
}

fn summary(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("summary: "));
    line?.trim().parse().ok()
}

/// Cases that take more or fewer instructions than is tolerated, and those that only one side has.
fn differences(known: &Counts, counted: &Counts) -> Vec<String> {
    let flat = |counts: &Counts| -> BTreeMap<String, u64> {
        let cases = counts.sets.iter().flat_map(|(set, cases)| {
            cases
                .iter()
                .map(move |(name, count)| (format!("{set} {name}"), *count))
        });
        cases.collect()
    };
    let (known, counted) = (flat(known), flat(counted));
    let gone = known.keys().filter(|case| !counted.contains_key(*case));
    let gone = gone.map(|case| format!("{case}: is no more"));
    let compared = counted.iter().filter_map(|(case, &count)| {
        let Some(&before) = known.get(case) else {
            return Some(format!("{case}: {count}, not counted before"));
        };
        let change = count as f64 / before as f64 - 1.0;
        (100 * count.abs_diff(before) > TOLERANCE_PERCENT * before).then(|| {
            format!(
                "{case}: {before} before, {count} now ({:+.1} %)",
                change * 100.0
            )
        })
    });
    gone.chain(compared).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(cases: &[(&str, u64)]) -> Counts {
        let cases = cases
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        Counts {
            rustc: "rustc 1".to_owned(),
            sets: [("avx2".to_owned(), cases.collect())].into(),
        }
    }

    #[test]
    fn three_percent_pass_and_four_do_not() {
        let known = counts(&[("a", 1000), ("b", 1000), ("c", 1000), ("d", 1000)]);
        let now = counts(&[("a", 1030), ("b", 970), ("c", 1040), ("e", 5)]);
        let found = differences(&known, &now);
        assert_eq!(
            found,
            [
                "avx2 d: is no more",
                "avx2 c: 1000 before, 1040 now (+4.0 %)",
                "avx2 e: 5, not counted before"
            ]
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let counts = counts(&[("gemv", 12)]);
        let read: Counts = toml::from_str(&counts.to_toml()).unwrap();
        assert_eq!(read, counts);
    }

    #[test]
    fn the_sum_is_found_in_callgrinds_file() {
        assert_eq!(
            summary("version: 1\nevents: Ir\nsummary: 1234 \n"),
            Some(1234)
        );
        assert_eq!(summary("version: 1\n"), None);
    }
}

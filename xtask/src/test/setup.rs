//! What tests need and Rust does not bring: Debian packages, installed when they are missing and we may, and a virtual
//! environment with pinned Python packages. What cannot be had is said, with how to get it; the tests that need it skip themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::Skip;
use super::steps::Outcome;
use crate::process::{is_installed, output, program, run, succeeds};
use crate::report;
use crate::workspace::{self, Metadata};

/// A Debian package, how to see that it is not needed, and what goes unchecked without it.
struct Package {
    name: &'static str,
    is_there: fn() -> bool,
    without: &'static str,
}

const PACKAGES: [Package; 7] = [
    Package {
        name: "chromium",
        is_there: || {
            ["chromium", "chromium-browser", "google-chrome"]
                .iter()
                .any(|name| is_installed(name))
        },
        without: "the HTML report and the live page in a browser",
    },
    Package {
        name: "prometheus",
        is_there: || is_installed("promtool"),
        without: "the names of the server's metrics",
    },
    Package {
        name: "golang-go",
        is_there: || is_installed("go"),
        without: "profiles in `go tool pprof`",
    },
    Package {
        name: "curl",
        is_there: || is_installed("curl"),
        without: "the server over TLS",
    },
    Package {
        name: "redis-server",
        is_there: || is_installed("redis-server"),
        without: "results that are kept in Redis, and what happens when it dies",
    },
    Package {
        name: "valgrind",
        is_there: || is_installed("valgrind"),
        without: "the instruction counts, whose step then fails",
    },
    Package {
        name: "python3-venv",
        is_there: || succeeds(&mut program("python3", &["-c", "import ensurepip, venv"])),
        without: "the embedded model against its source",
    },
];

const REQUIREMENTS: &str = "tools/requirements.txt";

/// Installs what is missing where that is allowed, and says what is missing still.
#[expect(clippy::unnecessary_wraps, reason = "all steps have this shape")]
pub fn prepare() -> anyhow::Result<Outcome> {
    let missing = || PACKAGES.iter().filter(|package| !(package.is_there)());
    let wanted: Vec<&str> = missing().map(|package| package.name).collect();
    if !wanted.is_empty()
        && let Some(apt) = apt()
    {
        install(&apt, &wanted);
    }
    let mut skipped: Vec<Skip> = missing().map(skip).collect();
    if is_installed("python3")
        && let Err(error) = prepare_environment()
    {
        skipped.push(Skip {
            what: "the Python environment",
            how: format!("{error:#}"),
        });
    }
    Ok(Outcome { skipped })
}

fn skip(package: &Package) -> Skip {
    let how = format!("apt-get install --no-install-recommends {}", package.name);
    Skip {
        what: package.without,
        how,
    }
}

/// How to call apt-get without being asked for a password; `None` where we may not or it is not there.
fn apt() -> Option<Vec<&'static str>> {
    if !is_installed("apt-get") {
        return None;
    }
    let is_root = output(&mut program("id", &["-u"])).is_ok_and(|id| id.trim_ascii() == b"0");
    if is_root {
        Some(vec!["apt-get"])
    } else {
        succeeds(&mut program("sudo", &["-n", "true"])).then(|| vec!["sudo", "-n", "apt-get"])
    }
}

/// Failing is not an error: what is missing is said afterwards, whatever the reason.
fn install(apt: &[&str], packages: &[&str]) {
    let call = |arguments: &[&str]| {
        let mut command = program(apt[0], &apt[1..]);
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive");
        report::line(&format!("{} {}", apt.join(" "), arguments.join(" ")));
        run(&mut command)
    };
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    let result = call(&install).or_else(|_| {
        call(&["update", "--quiet"])?;
        call(&install)
    });
    if let Err(error) = result {
        report::line(&format!("{error:#}"));
    }
}

/// The Python of the virtual environment, if it was made.
pub fn python() -> Option<Command> {
    let path = environment().ok()?.join("bin/python");
    path.exists().then(|| program(&path.to_string_lossy(), &[]))
}

fn environment() -> anyhow::Result<PathBuf> {
    Ok(Metadata::read()?.target.join("venv"))
}

/// Makes the environment, unless it is there with the same requirements.
fn prepare_environment() -> anyhow::Result<()> {
    let folder = environment()?;
    let path = workspace::root().join(REQUIREMENTS);
    let requirements =
        fs::read_to_string(&path).with_context(|| format!("reading {REQUIREMENTS}"))?;
    let stamp = folder.join("requirements.txt");
    if is_current(&stamp, &requirements) {
        return Ok(());
    }
    let folder = folder.to_string_lossy();
    run(&mut program("python3", &["-m", "venv", "--clear", &folder]))?;
    let pip = format!("{folder}/bin/pip");
    let arguments = [
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        REQUIREMENTS,
    ];
    run(&mut program(&pip, &arguments))
        .with_context(|| format!("installing what {REQUIREMENTS} lists"))?;
    fs::write(&stamp, requirements).with_context(|| format!("writing {}", stamp.display()))
}

fn is_current(stamp: &Path, requirements: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|installed| installed == requirements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_says_what_goes_unchecked() {
        for package in &PACKAGES {
            let skip = skip(package);
            assert!(skip.how.ends_with(package.name) && !skip.what.is_empty());
        }
    }

    #[test]
    fn an_environment_of_other_requirements_is_stale() {
        let path = workspace::root().join(REQUIREMENTS);
        let requirements = fs::read_to_string(&path).unwrap();
        assert!(is_current(&path, &requirements));
        assert!(!is_current(&path, "gguf==0"));
        assert!(!is_current(&path.with_extension("absent"), &requirements));
    }
}

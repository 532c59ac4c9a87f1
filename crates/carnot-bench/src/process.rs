//! A command, once: its time, its processor time, its memory.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use wait4::Wait4;

/// What a run of a command took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// From its start to its end.
    pub wall: Duration,
    /// Of processors, in the program and in the system, of it and those that it waited for.
    pub processor: Duration,
    /// Memory of the largest of its processes at its largest.
    pub peak_bytes: u64,
}

/// A run that gives no figures.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no shell, or no process more.
    #[error("starting `{command}`: {source}")]
    Start {
        /// What was to run.
        command: String,
        /// Why it did not.
        source: io::Error,
    },
    /// A figure of a program that fails is none.
    #[error("`{command}` ended with {status}, expected success; run it alone to see why")]
    Status {
        /// What ran.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
}

/// Most bytes of an output that are kept.
const MOST_OUTPUT: u64 = 64 << 20;

/// Runs `command` in a shell, without input; what it writes goes nowhere.
pub fn run(command: &str) -> Result<Run, Failure> {
    measured(command, Stdio::null())
}

/// The same, and the first 64 MiB of what it writes to standard output. That goes to a file without a name: a thread that read it would run beside
/// what is measured, and would wait for whoever else the command left running.
pub fn run_with_output(command: &str) -> Result<(Run, Vec<u8>), Failure> {
    let failed = |source| Failure::Start {
        command: command.to_owned(),
        source,
    };
    let mut file = tempfile::tempfile().map_err(failed)?;
    let output: File = file.try_clone().map_err(failed)?;
    let run = measured(command, output.into())?;
    let mut written = Vec::new();
    file.rewind().map_err(failed)?;
    file.take(MOST_OUTPUT)
        .read_to_end(&mut written)
        .map_err(failed)?;
    Ok((run, written))
}

fn measured(command: &str, output: Stdio) -> Result<Run, Failure> {
    let failed = |source| Failure::Start {
        command: command.to_owned(),
        source,
    };
    let begin = Instant::now();
    let child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let used = child.wait4().map_err(failed)?;
    let wall = begin.elapsed();
    if !used.status.success() {
        return Err(Failure::Status {
            command: command.to_owned(),
            status: used.status,
        });
    }
    Ok(Run {
        wall,
        processor: used.rusage.utime + used.rusage.stime,
        peak_bytes: used.rusage.maxrss,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_says_what_it_took() {
        let busy = run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").unwrap();
        assert!(
            busy.processor > Duration::ZERO && busy.peak_bytes > 100_000,
            "{busy:?}"
        );
        let waiting = run("sleep 0.2").unwrap();
        assert!(waiting.wall >= Duration::from_millis(200), "{waiting:?}");
        assert!(waiting.processor < waiting.wall, "{waiting:?}");
    }

    #[test]
    fn what_is_written_is_kept_whoever_stays_behind() {
        let (run, written) = run_with_output("printf 'one\\ntwo'; sleep 60 &").unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "one\ntwo");
        assert!(run.wall > Duration::ZERO, "{run:?}");
    }

    #[test]
    fn a_program_that_fails_gives_no_figures() {
        let error = run("exit 3").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`exit 3` ended with exit status: 3, expected success; run it alone to see why"
        );
    }
}

//! The same command again, with an allocator that gives memory back at once.
//!
//! glibc keeps what is freed for what comes, ever more of it as pieces lie among pieces: resident memory of a process that loses nothing
//! rises over dozens of cycles. Told to map each piece above a page by itself, it holds what the program holds and little else. It reads that
//! from the environment when a process begins, so that one has to begin.

use std::process::{Command, ExitCode};

use anyhow::Context;

/// What glibc reads; other allocators read none of it, and keep what they keep.
const SETTINGS: [(&str, &str); 4] = [
    ("MALLOC_MMAP_THRESHOLD_", "4096"),
    ("MALLOC_TRIM_THRESHOLD_", "0"),
    ("MALLOC_TOP_PAD_", "0"),
    ("MALLOC_ARENA_MAX", "1"),
];

/// Whether this process has such an allocator already, or one that somebody set up.
pub fn is_set() -> bool {
    std::env::var_os(SETTINGS[0].0).is_some()
}

/// Runs this process's command with it; gives the exit code.
pub fn again() -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("looking for this program")?;
    let status = Command::new(program)
        .args(std::env::args_os().skip(1))
        .envs(SETTINGS)
        .status()
        .context("starting the process that is measured")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map(ExitCode::from)
        .with_context(|| format!("the process that is measured ended with {status}"))
}

//! Only one engine works at a time: before it does, every thread of the others must sleep.
//!
//! Thread pools spin for a while after their work, to be quick if more comes. Threads that spin are running or runnable (`R`) in
//! `/proc/PID/task/TID/stat`; threads that wait sleep (`S`).

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

/// Between two looks. Threads must sleep at several in a row.
const PAUSE: Duration = Duration::from_millis(2);
const LOOKS: usize = 3;
/// Longer than any pool spins.
const LONGEST: Duration = Duration::from_secs(5);
/// Where threads cannot be looked at.
const BLIND_PAUSE: Duration = Duration::from_millis(100);

/// Waits until all threads of the processes sleep.
pub fn wait(processes: &[u32]) -> anyhow::Result<()> {
    if !Path::new("/proc/self/task").exists() {
        thread::sleep(BLIND_PAUSE);
        return Ok(());
    }
    let begin = Instant::now();
    let mut quiet = 0;
    while quiet < LOOKS {
        let busy = processes.iter().find(|process| is_busy(**process));
        quiet = if busy.is_none() { quiet + 1 } else { 0 };
        if let Some(process) = busy.filter(|_| begin.elapsed() > LONGEST) {
            let waited = LONGEST.as_secs();
            bail!("process {process} should be idle, and has worked for {waited} s more");
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Whether any thread runs or wants to. A process that has ended is not busy.
fn is_busy(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return false;
    };
    let stats = threads.flatten().map(|entry| entry.path().join("stat"));
    stats
        .filter_map(|path| fs::read_to_string(path).ok())
        .any(|stat| state(&stat).is_some_and(|state| matches!(state, 'R' | 'D')))
}

/// The letter after the name, which is in parentheses and may hold any.
fn state(stat: &str) -> Option<char> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_state_follows_the_name() {
        assert_eq!(state("12 (a) R (b)) S 1 12"), Some('S'));
        assert_eq!(state("12 (worker 1) R 1 12"), Some('R'));
        assert_eq!(state(""), None);
    }

    #[test]
    fn spinning_is_told_from_sleeping() {
        let start = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdout(Stdio::piped());
            command.spawn().unwrap()
        };
        let (mut spinning, mut sleeping) = (start("while :; do :; done"), start("sleep 60"));
        wait(&[sleeping.id()]).unwrap();
        let mut looks = (0..100).map(|_| thread::sleep(PAUSE));
        assert!(looks.any(|()| is_busy(spinning.id())));
        for child in [&mut spinning, &mut sleeping] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        wait(&[spinning.id(), sleeping.id()]).unwrap();
    }
}

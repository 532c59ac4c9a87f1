//! Whether anybody else works: processor time that other processes, and neighbours of a virtual machine, took during a sample.
//!
//! Counted in the ticks of `/proc/stat` (all cores) and `/proc/PID/stat` (the engine). Engines do not suffer alike: one core that is taken
//! for a while stops those that wait for all their threads at a barrier, a hundred times a token.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::report;

/// A look at the machine before a round; some fifty ticks on two cores.
const LOOK: Duration = Duration::from_millis(250);
/// How long the machine may be busy before a round is given up.
const PATIENCE: Duration = Duration::from_mins(5);

/// Ticks of all cores together since the system started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    pub all: u64,
    /// Those in which a core worked, or was kept from us by another virtual machine.
    pub busy: u64,
}

impl Ticks {
    /// Now; `None` where the system does not tell.
    pub fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// `cpu user nice system idle iowait irq softirq steal …`; guests are in user.
    fn parse(stat: &str) -> Option<Self> {
        let mut words = stat.lines().next()?.split_whitespace();
        (words.next()? == "cpu").then_some(())?;
        let ticks: Vec<u64> = words.take(8).filter_map(|word| word.parse().ok()).collect();
        let &[user, nice, system, idle, io_wait, irq, soft_irq, steal] = ticks.as_slice() else {
            return None;
        };
        let busy = user + nice + system + irq + soft_irq + steal;
        let all = busy + idle + io_wait;
        Some(Self { all, busy })
    }

    /// From `self` to `later`.
    pub fn until(self, later: Self) -> Self {
        Self {
            all: later.all.saturating_sub(self.all),
            busy: later.busy.saturating_sub(self.busy),
        }
    }

    /// The share of the cores that was busy.
    fn share(self) -> f64 {
        self.busy as f64 / self.all.max(1) as f64
    }
}

/// Ticks that a process has used, with all its threads; 0 where the system does not tell.
pub fn used_by(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    user_and_system(&stat).unwrap_or(0)
}

/// Fields 14 and 15; the name, field 2, is in parentheses and may hold spaces.
fn user_and_system(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// Waits until others use at most `most` of the cores, and says so if it takes time.
pub fn wait(most: f64) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut told = false;
    while let Some(share) = look().filter(|share| *share > most) {
        let percent = share * 100.0;
        if begin.elapsed() > PATIENCE {
            let waited = PATIENCE.as_secs() / 60;
            bail!(
                "the machine is busy: others use {percent:.0} % of the cores, {waited} minutes on"
            );
        }
        if !told {
            report::progress(&format!("waiting: others use {percent:.0} % of the cores"));
            told = true;
        }
    }
    Ok(())
}

fn look() -> Option<f64> {
    let before = Ticks::now()?;
    thread::sleep(LOOK);
    Some(before.until(Ticks::now()?).share())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read() {
        let stat = "cpu  10 1 4 100 5 1 1 3 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let ticks = Ticks::parse(stat).unwrap();
        assert_eq!(ticks, Ticks { all: 125, busy: 20 });
        assert_eq!(ticks.share(), 0.16);
        let later = Ticks {
            all: 325,
            busy: 120,
        };
        assert_eq!(ticks.until(later).share(), 0.5);
        assert_eq!(Ticks::parse("intr 1 2 3"), None);
        assert_eq!(Ticks::parse(""), None);
    }

    #[test]
    fn a_process_has_user_and_system_time() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 21 4 0 0 20 0 1 0 55 1 1";
        assert_eq!(user_and_system(stat), Some(25));
        assert_eq!(used_by(u32::MAX), 0);
    }
}

//! How many cores this process may use: the default number of threads.
//!
//! The least of the affinity mask and the quota of every control group above the process. A quota of 2.5 cores makes 3 threads: they
//! reach the whole quota, where 2 would leave a fifth of it. The standard library rounds down.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use crate::control_group::{Version, folders, read};

/// Cores that this process may use, at least one.
pub fn usable() -> usize {
    usable_under(Path::new("/"))
}

/// `root` is `/`, or stands for it in tests.
fn usable_under(root: &Path) -> usize {
    // What the standard library finds has the quota in it, rounded down, so the mask is read from where it is alone.
    let cores = affinity(root).unwrap_or_else(|| available_parallelism().map_or(1, NonZero::get));
    let quota = quota(root).map_or(usize::MAX, |cores| cores.ceil() as usize);
    cores.min(quota).max(1)
}

/// Cores that are there, in the mask that `taskset`, a container or a scheduler set: masks name cores that never came, too.
fn affinity(root: &Path) -> Option<usize> {
    let status = read(root, "proc/self/status")?;
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let allowed = numbers(allowed)?;
    let online = read(root, "sys/devices/system/cpu/online").and_then(|list| numbers(&list))?;
    Some(allowed.intersection(&online).count())
}

/// The numbers that a list such as `0-3,8` names.
fn numbers(list: &str) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        numbers.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(numbers)
}

/// The smallest quota of any group, in cores.
fn quota(root: &Path) -> Option<f64> {
    let second = folders(root, Version::Two).into_iter().filter_map(|group| {
        let text = read(&group, "cpu.max")?;
        let (quota, period) = text.trim().split_once(' ')?;
        cores(quota, period)
    });
    let first = folders(root, Version::One("cpu"))
        .into_iter()
        .filter_map(|group| {
            let quota = read(&group, "cpu.cfs_quota_us")?;
            cores(quota.trim(), read(&group, "cpu.cfs_period_us")?.trim())
        });
    second.chain(first).min_by(f64::total_cmp)
}

/// Time over period; none for `max` and −1, which stand for no limit.
fn cores(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_group::tests::{V1, V2, system};

    #[track_caller]
    fn check(mask: &str, files: &[&[(&str, &str)]], expected: usize) {
        let status = format!("Name:\tcarnot\nCpus_allowed:\tff\nCpus_allowed_list:\t{mask}\n");
        let online = ("sys/devices/system/cpu/online", "0-7\n");
        let status = [("proc/self/status", status.as_str()), online];
        let root = system(&[&status, files.concat().as_slice()].concat());
        assert_eq!(usable_under(root.path()), expected);
    }

    #[test]
    fn the_mask_counts_where_there_is_no_quota() {
        check("0-7", &[], 8);
        check("2,5-6", &[&V2], 3);
        check("0-127", &[], 8);
        check(
            "0-7",
            &[&V2, &[("sys/fs/cgroup/cpu.max", "max 100000\n")]],
            8,
        );
    }

    #[test]
    fn a_quota_counts_rounded_up() {
        for (quota, expected) in [
            ("250000 100000\n", 3),
            ("200000 100000\n", 2),
            ("1000 100000\n", 1),
            ("900000 100000\n", 8),
            ("5 0\n", 8),
        ] {
            check(
                "0-7",
                &[&V2, &[("sys/fs/cgroup/a.slice/cpu.max", quota)]],
                expected,
            );
        }
        let tighter = [
            ("sys/fs/cgroup/a.slice/b.scope/cpu.max", "700000 100000\n"),
            ("sys/fs/cgroup/a.slice/cpu.max", "400000 100000\n"),
        ];
        check("0-7", &[&V2, &tighter], 4);
    }

    #[test]
    fn the_first_version_is_read_too() {
        let group = |quota: &'static str| {
            [
                ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", quota),
                ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "50000\n"),
            ]
        };
        check("0-7", &[&V1, &group("75000\n")], 2);
        check("0-7", &[&V1, &group("-1\n")], 8);
    }

    #[test]
    fn this_machine_has_at_least_what_the_standard_library_finds() {
        let found = available_parallelism().map_or(1, NonZero::get);
        assert!((found..=found + 1).contains(&usable()));
    }
}

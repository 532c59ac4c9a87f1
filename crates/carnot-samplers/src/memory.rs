//! How much memory this process may still take, from what Linux says of the machine, of the control groups and of the process.
//!
//! The least of: the machine's `MemAvailable`; for every control group above the process, limit − (usage − page cache that can be
//! dropped); the limit of the address space. Swap does not count: a model that swaps is slower than one that does not fit. Elsewhere
//! than on Linux nothing is known, and nothing is checked.

use std::path::Path;

use crate::control_group::{Version, folders, read};

/// Bytes that this process may take, if that is known.
pub fn available_bytes() -> Option<u64> {
    available_under(Path::new("/"))
}

/// The most that this process has held at once, if that is known.
pub fn peak_bytes() -> Option<u64> {
    field(&read(Path::new("/"), "proc/self/status")?, "VmHWM:").map(|kib| kib << 10)
}

/// `root` is `/`, or stands for it in tests.
pub fn available_under(root: &Path) -> Option<u64> {
    let groups = ACCOUNTS.iter().flat_map(|account| account.available(root));
    [machine(root), address_space(root)]
        .into_iter()
        .flatten()
        .chain(groups)
        .min()
}

/// The machine's own estimate of what can be taken without swapping.
fn machine(root: &Path) -> Option<u64> {
    field(&read(root, "proc/meminfo")?, "MemAvailable:").map(|kib| kib << 10)
}

/// What is left of a limit that `ulimit -v` set.
fn address_space(root: &Path) -> Option<u64> {
    let limit = field(&read(root, "proc/self/limits")?, "Max address space")?;
    let used = field(&read(root, "proc/self/status")?, "VmSize:")? << 10;
    Some(limit.saturating_sub(used))
}

/// How one version of control groups says what a group may use and does use.
struct Account {
    version: Version<'static>,
    limit: &'static str,
    usage: &'static str,
    /// Fields of `memory.stat`: page cache that is dropped when memory gets short.
    reclaimable: [&'static str; 2],
}

const ACCOUNTS: [Account; 2] = [
    Account {
        version: Version::Two,
        limit: "memory.max",
        usage: "memory.current",
        reclaimable: ["active_file", "inactive_file"],
    },
    Account {
        version: Version::One("memory"),
        limit: "memory.limit_in_bytes",
        usage: "memory.usage_in_bytes",
        reclaimable: ["total_active_file", "total_inactive_file"],
    },
];

impl Account {
    /// What each group leaves that has a limit.
    fn available(&self, root: &Path) -> Vec<u64> {
        let groups = folders(root, self.version);
        groups.iter().filter_map(|group| self.left(group)).collect()
    }

    fn left(&self, group: &Path) -> Option<u64> {
        let limit: u64 = read(group, self.limit)?.trim().parse().ok()?;
        let usage: u64 = read(group, self.usage)?.trim().parse().ok()?;
        let stat = read(group, "memory.stat").unwrap_or_default();
        let reclaimable: u64 = self
            .reclaimable
            .iter()
            .filter_map(|name| field(&stat, name))
            .sum();
        Some(limit.saturating_sub(usage.saturating_sub(reclaimable)))
    }
}

/// The number after `name` on the line that begins with it.
pub fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    if !value.starts_with(char::is_whitespace) {
        return None;
    }
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_group::tests::{V1, V2, system};

    /// A machine that has 8 GiB to give.
    const MACHINE: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:       16777216 kB\nMemAvailable:    8388608 kB\n",
    );

    #[track_caller]
    fn check(files: &[&[(&str, &str)]], expected: u64) {
        let root = system(&[&[MACHINE], files.concat().as_slice()].concat());
        assert_eq!(available_under(root.path()), Some(expected));
    }

    #[test]
    fn without_groups_the_machine_counts() {
        check(&[], 8 << 30);
        check(&[&V2], 8 << 30);
        assert_eq!(available_under(system(&[]).path()), None);
    }

    #[test]
    fn the_tightest_group_counts_and_its_page_cache_can_be_dropped() {
        let own = [
            ("sys/fs/cgroup/a.slice/b.scope/memory.max", "max\n"),
            ("sys/fs/cgroup/a.slice/b.scope/memory.current", "5000\n"),
            ("sys/fs/cgroup/a.slice/memory.max", "1000000\n"),
            ("sys/fs/cgroup/a.slice/memory.current", "700000\n"),
        ];
        check(&[&V2, &own], 300_000);
        let stat = "anon 100\nfile 650000\ninactive_file 400000\nactive_file 50000\n";
        let stat = [("sys/fs/cgroup/a.slice/memory.stat", stat)];
        check(&[&V2, &own, &stat], 750_000);
        let tighter = [("sys/fs/cgroup/a.slice/b.scope/memory.max", "4000\n")];
        check(&[&V2, &own, &tighter], 0);
    }

    #[test]
    fn the_first_version_is_read_too() {
        let group = [
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "300000\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "cache 9\ninactive_file 7\ntotal_inactive_file 20000\ntotal_active_file 1000\n",
            ),
        ];
        check(&[&V1, &group], 721_000);
    }

    #[test]
    fn a_limit_of_the_address_space_counts() {
        let limits = |limit: &'static str| ("proc/self/limits", limit);
        let status = "Name:\tcarnot\nVmPeak:\t     600 kB\nVmSize:\t     512 kB\n";
        let status = ("proc/self/status", status);
        let some =
            limits("Limit  Soft Limit\nMax address space         1048576     unlimited  bytes\n");
        check(&[&[some, status]], 512 << 10);
        let none = limits("Max address space         unlimited   unlimited  bytes\n");
        check(&[&[none, status]], 8 << 30);
    }

    #[test]
    fn this_machine_has_some() {
        if cfg!(target_os = "linux") {
            assert!(available_bytes().is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}

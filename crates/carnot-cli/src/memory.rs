//! How much memory this process may still take, from what Linux says of the machine, of the control groups and of the process.
//!
//! The least of: the machine's `MemAvailable`; for every control group above the process, limit − (usage − page cache that can be
//! dropped); the limit of the address space. Swap does not count: a model that swaps is slower than one that does not fit. Elsewhere
//! than on Linux nothing is known, and nothing is checked.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that this process may take, if that is known.
pub fn available_bytes() -> Option<u64> {
    available_under(Path::new("/"))
}

/// `root` is `/`, or stands for it in tests.
fn available_under(root: &Path) -> Option<u64> {
    let groups = HIERARCHIES
        .iter()
        .filter_map(|hierarchy| hierarchy.available(root));
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
struct Hierarchy {
    file_system: &'static str,
    /// What the line of `/proc/self/cgroup` has between its colons, and the mount among its options.
    controller: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// Fields of `memory.stat`: page cache that is dropped when memory gets short.
    reclaimable: [&'static str; 2],
}

const HIERARCHIES: [Hierarchy; 2] = [
    Hierarchy {
        file_system: "cgroup2",
        controller: "",
        limit: "memory.max",
        usage: "memory.current",
        reclaimable: ["active_file", "inactive_file"],
    },
    Hierarchy {
        file_system: "cgroup",
        controller: "memory",
        limit: "memory.limit_in_bytes",
        usage: "memory.usage_in_bytes",
        reclaimable: ["total_active_file", "total_inactive_file"],
    },
];

impl Hierarchy {
    /// The least that any group from the process's own up to the mount leaves.
    fn available(&self, root: &Path) -> Option<u64> {
        let (mount, folder) = self.folder(root)?;
        folder
            .ancestors()
            .take_while(|ancestor| ancestor.starts_with(&mount))
            .filter_map(|group| self.left(group))
            .min()
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

    /// Where the hierarchy is mounted, and the process's group in it. A container sees its own group as the mount.
    fn folder(&self, root: &Path) -> Option<(PathBuf, PathBuf)> {
        let groups = read(root, "proc/self/cgroup")?;
        let group = groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?;
            let is_ours = controllers.split(',').any(|name| name == self.controller);
            is_ours.then(|| parts.next()).flatten()
        })?;
        let mounts = read(root, "proc/self/mountinfo")?;
        let (from, mount) = mounts.lines().find_map(|line| self.mount(line))?;
        let mount = root.join(mount.trim_start_matches('/'));
        let inside = Path::new(group).strip_prefix(from).unwrap_or(Path::new(""));
        Some((mount.clone(), mount.join(inside)))
    }

    /// What part of the hierarchy a line of `mountinfo` mounts, and where.
    fn mount<'a>(&self, line: &'a str) -> Option<(&'a str, &'a str)> {
        let (place, source) = line.split_once(" - ")?;
        let mut source = source.split(' ');
        let is_type = source.next() == Some(self.file_system);
        let has_controller = self.controller.is_empty()
            || source
                .nth(1)
                .is_some_and(|options| options.split(',').any(|option| option == self.controller));
        let mut place = place.split(' ').skip(3);
        (is_type && has_controller).then(|| Some((place.next()?, place.next()?)))?
    }
}

fn read(folder: &Path, name: &str) -> Option<String> {
    fs::read_to_string(folder.join(name)).ok()
}

/// The number after `name` on the line that begins with it.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    if !value.starts_with(char::is_whitespace) {
        return None;
    }
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A file system with a machine that has 8 GiB to give, and these files besides.
    fn system(files: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        let machine = "MemTotal:       16777216 kB\nMemAvailable:    8388608 kB\n";
        for (name, text) in [&[("proc/meminfo", machine)], files].concat() {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: u64) {
        assert_eq!(available_under(system(files).path()), Some(expected));
    }

    const V2: [(&str, &str); 2] = [
        ("proc/self/cgroup", "0::/a.slice/b.scope\n"),
        (
            "proc/self/mountinfo",
            "24 1 0:21 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
        ),
    ];

    #[test]
    fn without_groups_the_machine_counts() {
        check(&[], 8 << 30);
        check(&V2, 8 << 30);
        let nowhere = tempfile::tempdir().unwrap();
        assert_eq!(available_under(nowhere.path()), None);
    }

    #[test]
    fn the_tightest_group_counts_and_its_page_cache_can_be_dropped() {
        let own = [
            ("sys/fs/cgroup/a.slice/b.scope/memory.max", "max\n"),
            ("sys/fs/cgroup/a.slice/b.scope/memory.current", "5000\n"),
            ("sys/fs/cgroup/a.slice/memory.max", "1000000\n"),
            ("sys/fs/cgroup/a.slice/memory.current", "700000\n"),
        ];
        check(&[&V2[..], &own].concat(), 300_000);
        let stat = "anon 100\nfile 650000\ninactive_file 400000\nactive_file 50000\n";
        let stat = [("sys/fs/cgroup/a.slice/memory.stat", stat)];
        check(&[&V2[..], &own, &stat].concat(), 750_000);
        let tighter = [
            ("sys/fs/cgroup/a.slice/b.scope/memory.max", "4000\n"),
            ("sys/fs/cgroup/a.slice/b.scope/memory.current", "5000\n"),
        ];
        check(&[&V2[..], &own[2..], &tighter].concat(), 0);
    }

    #[test]
    fn the_first_version_is_read_too() {
        let files = [
            (
                "proc/self/cgroup",
                "5:cpu,cpuacct:/other\n4:memory:/docker/c0ffee\n0::/\n",
            ),
            (
                "proc/self/mountinfo",
                "30 23 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                 35 31 0:32 /docker/c0ffee /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "300000\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "cache 9\ninactive_file 7\ntotal_inactive_file 20000\ntotal_active_file 1000\n",
            ),
        ];
        check(&files, 721_000);
    }

    #[test]
    fn a_limit_of_the_address_space_counts() {
        let files = [
            (
                "proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units\n\
                 Max address space         1048576              unlimited            bytes\n",
            ),
            (
                "proc/self/status",
                "Name:\tcarnot\nVmPeak:\t     600 kB\nVmSize:\t     512 kB\n",
            ),
        ];
        check(&files, 512 << 10);
        let none = "Max address space         unlimited            unlimited            bytes\n";
        check(&[("proc/self/limits", none), files[1]], 8 << 30);
    }

    #[test]
    fn this_machine_has_some() {
        if cfg!(target_os = "linux") {
            assert!(available_bytes().is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}

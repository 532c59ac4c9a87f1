//! The machine: processors, memory, disks, networks, and what a control group leaves of it, from what Linux says in `/proc` and `/sys`.

use std::fs;
use std::path::Path;

use crate::control_group::{Version, folders, read};
use crate::{cores, memory};

/// Bytes of a sector in `/proc/diskstats`, whatever the disk's own is.
const SECTOR_BYTES: u64 = 512;
/// Block devices that are memory, files, or parts of others, which would be counted twice.
const NO_DISKS: [&str; 5] = ["loop", "ram", "zram", "dm-", "md"];

/// Counters and values at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostReading {
    /// Of each processor.
    pub processors: Vec<Ticks>,
    /// Nanoseconds of processors that the control group of this process has used, if it has one that counts them.
    pub group_ns: Option<u64>,
    /// Cores that this process may use.
    pub usable_cores: usize,
    /// Processes that run or want to, on average over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Bytes.
    pub memory: Memory,
    /// Read and written, by all disks.
    pub disk_bytes: Option<[u64; 2]>,
    /// Received and sent, by all network interfaces but the one that leads to the machine itself.
    pub network_bytes: Option<[u64; 2]>,
    /// Processes.
    pub processes: Option<u64>,
}

/// What a processor did, in hundredths of a second since the start of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// Neither idle nor waiting for disks, and not taken by another machine on the same hardware.
    pub busy: u64,
    /// Taken by another machine on the same hardware.
    pub stolen: u64,
    /// All of it.
    pub all: u64,
}

/// Bytes of memory. What the system does not say is 0 for swap and `None` elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// That the machine has.
    pub total: Option<u64>,
    /// That programs can get without swapping.
    pub available: Option<u64>,
    /// That this process may have: the least of all limits above it.
    pub obtainable: Option<u64>,
    /// Of swap, all.
    pub swap_total: Option<u64>,
    /// Of swap, in use.
    pub swap_used: Option<u64>,
}

impl Memory {
    /// What programs have.
    pub fn used(&self) -> Option<u64> {
        Some(self.total?.saturating_sub(self.available?))
    }

    /// Of all.
    pub fn used_share(&self) -> Option<f64> {
        let total = self.total.filter(|total| *total > 0)?;
        Some(self.used()? as f64 / total as f64)
    }
}

/// The machine over an interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// Of all processors' time, the part in which they worked; 1 is all of it.
    pub cpu: Option<f64>,
    /// The same of each.
    pub cores: Vec<Option<f64>>,
    /// Of all processors' time, the part that another machine took.
    pub stolen: Option<f64>,
    /// Cores that the control group of this process used, itself and all others in it.
    pub group_cores: Option<f64>,
    /// Cores that this process may use.
    pub usable_cores: usize,
    /// Over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Bytes, at the end.
    pub memory: Memory,
    /// Bytes read and written a second.
    pub disk: Option<[f64; 2]>,
    /// Bytes received and sent a second.
    pub network: Option<[f64; 2]>,
    /// At the end.
    pub processes: Option<u64>,
}

impl HostReading {
    /// What is the case now; `root` is `/`, or stands for it in tests.
    pub fn read(root: &Path) -> Self {
        Self {
            processors: processors(&read(root, "proc/stat").unwrap_or_default()),
            group_ns: group_ns(root),
            usable_cores: cores::usable(),
            load: read(root, "proc/loadavg").and_then(|text| load(&text)),
            memory: memory(root),
            disk_bytes: read(root, "proc/diskstats").map(|text| disks(root, &text)),
            network_bytes: read(root, "proc/net/dev").map(|text| networks(&text)),
            processes: processes(root),
        }
    }

    /// What was done in the `seconds` since `before`.
    pub fn since(&self, before: &Self, seconds: f64) -> Host {
        let pairs = || self.processors.iter().zip(&before.processors);
        let total = |of: fn(&Ticks) -> u64| -> Option<f64> {
            let spent: u64 = pairs()
                .map(|(now, old)| of(now).saturating_sub(of(old)))
                .sum();
            let all: u64 = pairs()
                .map(|(now, old)| now.all.saturating_sub(old.all))
                .sum();
            (all > 0).then(|| spent as f64 / all as f64)
        };
        let rates = |now: Option<[u64; 2]>, old: Option<[u64; 2]>| {
            let (now, old) = (now?, old?);
            let rate = |index: usize| now[index].saturating_sub(old[index]) as f64 / seconds;
            (seconds > 0.0).then(|| [rate(0), rate(1)])
        };
        let group = self.group_ns.zip(before.group_ns);
        Host {
            cpu: total(|of| of.busy),
            cores: pairs().map(|(now, old)| now.busy_since(*old)).collect(),
            stolen: total(|of| of.stolen),
            group_cores: group
                .filter(|_| seconds > 0.0)
                .map(|(now, old)| now.saturating_sub(old) as f64 / 1e9 / seconds),
            usable_cores: self.usable_cores,
            load: self.load,
            memory: self.memory,
            disk: rates(self.disk_bytes, before.disk_bytes),
            network: rates(self.network_bytes, before.network_bytes),
            processes: self.processes,
        }
    }
}

impl Ticks {
    fn busy_since(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        Some(self.busy.saturating_sub(before.busy) as f64 / all as f64)
    }
}

/// The lines `cpu0 user nice system idle iowait irq softirq steal guest guest_nice`: guests are counted under user and nice already.
fn processors(stat: &str) -> Vec<Ticks> {
    let own = |line: &&str| {
        line.strip_prefix("cpu")
            .is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
    };
    let ticks = |line: &str| {
        let fields: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|field| field.parse().ok())
            .collect();
        let at = |index: usize| fields.get(index).copied().unwrap_or(0);
        let all: u64 = fields.iter().sum();
        Ticks {
            busy: all - at(3) - at(4) - at(7),
            stolen: at(7),
            all,
        }
    };
    stat.lines().filter(own).map(ticks).collect()
}

/// What the innermost group counts that counts anything; a group at the root of its hierarchy is the machine, which is told already.
fn group_ns(root: &Path) -> Option<u64> {
    let second = folders(root, Version::Two);
    let stat = second.first().and_then(|group| read(group, "cpu.stat"));
    let used = stat.as_deref().and_then(|stat| {
        let line = stat
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        line?.trim().parse::<u64>().ok()
    });
    if let Some(microseconds) = used {
        return Some(1000 * microseconds);
    }
    let first = folders(root, Version::One("cpuacct"));
    let used = read(first.first()?, "cpuacct.usage")?;
    used.trim().parse().ok()
}

fn load(text: &str) -> Option<[f64; 3]> {
    let mut fields = text.split(' ').map(|field| field.parse().ok());
    Some([fields.next()??, fields.next()??, fields.next()??])
}

fn memory(root: &Path) -> Memory {
    let text = read(root, "proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| memory::field(&text, name).map(|kib| kib << 10);
    let swap_total = bytes("SwapTotal:");
    Memory {
        total: bytes("MemTotal:"),
        available: bytes("MemAvailable:"),
        obtainable: memory::available_under(root),
        swap_total,
        swap_used: swap_total
            .zip(bytes("SwapFree:"))
            .map(|(total, free)| total.saturating_sub(free)),
    }
}

/// Sectors are the sixth and the tenth field; parts of disks are not among the folders of `/sys/block`.
fn disks(root: &Path, text: &str) -> [u64; 2] {
    let mut bytes = [0; 2];
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, name, _, _, read, _, _, _, written, ..] = fields.as_slice() else {
            continue;
        };
        let is_disk = !NO_DISKS.iter().any(|other| name.starts_with(other))
            && root.join("sys/block").join(name).exists();
        for (sum, sectors) in bytes.iter_mut().zip([read, written]) {
            *sum += sectors.parse::<u64>().ok().filter(|_| is_disk).unwrap_or(0) * SECTOR_BYTES;
        }
    }
    bytes
}

/// `eth0: received packets … sent`: the first and the ninth number.
fn networks(text: &str) -> [u64; 2] {
    let mut bytes = [0; 2];
    for (name, counts) in text.lines().filter_map(|line| line.split_once(':')) {
        let counts: Vec<u64> = counts
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        if name.trim() != "lo" {
            bytes[0] += counts.first().unwrap_or(&0);
            bytes[1] += counts.get(8).unwrap_or(&0);
        }
    }
    bytes
}

/// Folders of `/proc` whose names are numbers.
fn processes(root: &Path) -> Option<u64> {
    let folders = fs::read_dir(root.join("proc")).ok()?;
    let is_process = |name: &str| name.bytes().all(|letter| letter.is_ascii_digit());
    let names = folders.filter_map(|folder| folder.ok()?.file_name().into_string().ok());
    Some(names.filter(|name| is_process(name)).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_group::tests::{V1, V2, system};

    const BEFORE: [(&str, &str); 5] = [
        (
            "proc/stat",
            "cpu  1 1 1 1 1 1 1 1 0 0\ncpu0 100 0 0 100 0 0 0 0 0 0\ncpu1 50 0 0 50 0 0 0 0 0 0\nintr 1\n",
        ),
        ("proc/loadavg", "0.50 1.25 2.00 3/400 12345\n"),
        (
            "proc/meminfo",
            "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 600 kB\nSwapTotal: 200 kB\nSwapFree: 50 kB\n",
        ),
        (
            "proc/diskstats",
            " 8 0 sda 5 0 100 0 5 0 200 0 0 0 0\n 8 1 sda1 5 0 90 0 5 0 90 0 0 0 0\n 7 0 loop0 1 0 50 0 0 0 0 0 0 0 0\n",
        ),
        (
            "proc/net/dev",
            "Inter-| Receive | Transmit\n face |bytes packets\n lo: 99 0 0 0 0 0 0 0 99 0\n eth0: 1000 0 0 0 0 0 0 0 500 0\n",
        ),
    ];
    const BLOCKS: [(&str, &str); 3] = [
        ("sys/block/sda/size", "1\n"),
        ("sys/block/loop0/size", "1\n"),
        ("proc/17/stat", ""),
    ];

    fn reading(files: &[&[(&str, &str)]]) -> HostReading {
        let root = system(&files.concat());
        HostReading::read(root.path())
    }

    #[test]
    fn rates_are_differences_over_time() {
        let before = reading(&[&BEFORE, &BLOCKS]);
        assert_eq!(before.disk_bytes, Some([100 * 512, 200 * 512]));
        assert_eq!(before.network_bytes, Some([1000, 500]));
        assert_eq!(before.processes, Some(1));
        let mut after = before.clone();
        after.processors =
            processors("cpu0 175 0 0 115 10 0 0 0 50 0\ncpu1 50 0 0 100 30 0 0 20 0 0\n");
        after.disk_bytes = Some([100 * 512 + 4000, 200 * 512]);
        after.network_bytes = Some([1000, 700]);
        let host = after.since(&before, 2.0);
        assert_eq!(host.cores, [Some(0.75), Some(0.0)], "waiting is no work");
        assert_eq!(host.cpu, Some(75.0 / 200.0));
        assert_eq!(host.stolen, Some(0.1));
        assert_eq!(host.disk, Some([2000.0, 0.0]));
        assert_eq!(host.network, Some([0.0, 100.0]));
        assert_eq!(host.load, Some([0.5, 1.25, 2.0]));
        assert_eq!(host.memory.used(), Some(400 << 10));
        assert_eq!(host.memory.used_share(), Some(0.4));
        assert_eq!(host.memory.swap_used, Some(150 << 10));
    }

    #[test]
    fn what_nobody_says_is_not_known() {
        let nothing = reading(&[]);
        let host = nothing.since(&nothing, 1.0);
        assert_eq!(
            (host.cpu, host.stolen, host.group_cores),
            (None, None, None)
        );
        assert_eq!((host.load, host.disk, host.network), (None, None, None));
        assert_eq!(host.memory.used_share(), None);
        let still = reading(&[&BEFORE, &BLOCKS]);
        assert_eq!(still.since(&still, 0.0).cpu, None, "no time has passed");
        assert_eq!(still.since(&still, 0.0).disk, None);
    }

    #[test]
    fn the_group_of_either_version_counts_its_processors() {
        let second = (
            "sys/fs/cgroup/a.slice/b.scope/cpu.stat",
            "usage_usec 2500000\nuser_usec 1\n",
        );
        let mut now = reading(&[&V2, &[second]]);
        assert_eq!(now.group_ns, Some(2_500_000_000));
        let before = HostReading {
            group_ns: Some(0),
            ..now.clone()
        };
        now.group_ns = Some(3_000_000_000);
        assert_eq!(now.since(&before, 2.0).group_cores, Some(1.5));
        let first = ("sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "42\n");
        assert_eq!(reading(&[&V1, &[first]]).group_ns, Some(42));
    }

    #[test]
    fn this_machine_is_read() {
        if cfg!(target_os = "linux") {
            let now = HostReading::read(Path::new("/"));
            assert!(!now.processors.is_empty(), "{now:?}");
            assert!(
                now.memory.used_share().is_some_and(|share| share > 0.0),
                "{now:?}"
            );
            assert!(now.processes.is_some_and(|count| count > 0), "{now:?}");
        }
    }
}

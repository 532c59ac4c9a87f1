//! One process, from its folder in `/proc`.

use std::fs;
use std::path::Path;

use crate::control_group::read;
use crate::memory;

/// Hundredths of a second on every Linux that is in use.
const TICKS_PER_S: f64 = 100.0;

/// Counters and values of a process at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessReading {
    name: String,
    /// Of processors, in the program and in the system.
    ticks: u64,
    rss_bytes: Option<u64>,
    threads: Option<u64>,
    open_files: Option<u64>,
    io_bytes: Option<[u64; 2]>,
}

/// A process over an interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its program's name, cut by the system after 15 bytes.
    pub name: String,
    /// Cores that it used.
    pub cpu_cores: Option<f64>,
    /// Memory that it holds, shared pages included.
    pub rss_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open files and sockets; only the owner of a process is told.
    pub open_files: Option<u64>,
    /// Bytes that it read and wrote a second, as disks saw it; only the owner of a process is told.
    pub io: Option<[f64; 2]>,
}

/// A process that somebody watches.
#[derive(Clone, Debug, PartialEq)]
pub enum Watched {
    /// It runs.
    There(Process),
    /// There is none of that number, any more or at all.
    Gone,
}

impl Watched {
    /// What is known of it.
    pub fn there(&self) -> Option<&Process> {
        match self {
            Self::There(process) => Some(process),
            Self::Gone => None,
        }
    }
}

impl ProcessReading {
    /// What is the case now; nothing where there is no such process (any more).
    pub fn read(root: &Path, pid: u32) -> Option<Self> {
        let folder = root.join(format!("proc/{pid}"));
        let stat = read(&folder, "stat")?;
        // A name may hold spaces and parentheses.
        let (name, rest) = stat.rsplit_once(')')?;
        let (_, name) = name.split_once('(')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let status = read(&folder, "status").unwrap_or_default();
        let io = read(&folder, "io");
        let io = io.as_deref().map(|text| {
            let bytes = |name| memory::field(text, name).unwrap_or(0);
            [bytes("read_bytes:"), bytes("write_bytes:")]
        });
        Some(Self {
            name: name.to_owned(),
            ticks: ticks(11)? + ticks(12)?,
            rss_bytes: memory::field(&status, "VmRSS:").map(|kib| kib << 10),
            threads: memory::field(&status, "Threads:"),
            open_files: fs::read_dir(folder.join("fd"))
                .ok()
                .map(|of| of.count() as u64),
            io_bytes: io,
        })
    }

    /// Memory that it holds.
    pub fn rss_bytes(&self) -> Option<u64> {
        self.rss_bytes
    }

    /// What it did in the `seconds` since `before`.
    pub fn since(&self, pid: u32, before: Option<&Self>, seconds: f64) -> Process {
        // A number may have gone to another process meanwhile.
        let before = before.filter(|before| seconds > 0.0 && before.ticks <= self.ticks);
        let rates = |before: &Self| {
            let (now, old) = (self.io_bytes?, before.io_bytes?);
            let rate = |index: usize| now[index].saturating_sub(old[index]) as f64 / seconds;
            Some([rate(0), rate(1)])
        };
        Process {
            pid,
            name: self.name.clone(),
            cpu_cores: before.map(|old| (self.ticks - old.ticks) as f64 / TICKS_PER_S / seconds),
            rss_bytes: self.rss_bytes,
            threads: self.threads,
            open_files: self.open_files,
            io: before.and_then(rates),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_group::tests::system;

    #[test]
    fn a_process_is_told_by_its_folder() {
        let files = [
            (
                "proc/7/stat",
                "7 (a (b) c) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 3 0 100\n",
            ),
            (
                "proc/7/status",
                "Name:\ta\nVmRSS:\t    2048 kB\nThreads:\t3\n",
            ),
            (
                "proc/7/io",
                "rchar: 9\nread_bytes: 4096\nwrite_bytes: 100\n",
            ),
            ("proc/7/fd/0", ""),
            ("proc/7/fd/1", ""),
        ];
        let root = system(&files);
        let now = ProcessReading::read(root.path(), 7).unwrap();
        let before = ProcessReading {
            ticks: 100,
            io_bytes: Some([0, 100]),
            ..now.clone()
        };
        let process = now.since(7, Some(&before), 2.0);
        let expected = Process {
            pid: 7,
            name: "a (b) c".to_owned(),
            cpu_cores: Some(0.5),
            rss_bytes: Some(2 << 20),
            threads: Some(3),
            open_files: Some(2),
            io: Some([2048.0, 0.0]),
        };
        assert_eq!(process, expected);
        assert_eq!(now.since(7, None, 2.0).cpu_cores, None);
        assert_eq!(
            before.since(7, Some(&now), 2.0).cpu_cores,
            None,
            "another process"
        );
        assert_eq!(ProcessReading::read(root.path(), 8), None);
    }

    #[test]
    fn this_process_is_read() {
        if cfg!(target_os = "linux") {
            let own = ProcessReading::read(Path::new("/"), std::process::id()).unwrap();
            assert!(own.rss_bytes.is_some_and(|bytes| bytes > 0), "{own:?}");
            assert!(own.threads.is_some_and(|count| count > 0), "{own:?}");
        }
    }
}

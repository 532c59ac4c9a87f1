//! Memory of this process, exactly: `smaps_rollup` counts pages, where `status` adds up what each thread last told.

use std::fs;

use anyhow::Context;
use carnot_samplers::memory;

const ROLLUP: &str = "/proc/self/smaps_rollup";
const MAPPINGS: &str = "/proc/self/smaps";

/// Resident bytes.
pub fn resident_bytes() -> anyhow::Result<f64> {
    let text = fs::read_to_string(ROLLUP).context(ROLLUP)?;
    let kib = memory::field(&text, "Rss:").context("smaps_rollup: expected `Rss:`, found none")?;
    Ok((kib << 10) as f64)
}

/// What is kept, by kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Kinds {
    /// In the order of [`Kinds::NAMES`].
    pub values: [f64; 6],
}

impl Kinds {
    /// Heap: what the allocator got in one piece. Mappings: the rest of it, and large pieces. The last two are counts.
    pub const NAMES: [&str; 6] = [
        "heap",
        "mappings",
        "stack",
        "files",
        "threads",
        "open files",
    ];

    /// Of the values of that name.
    pub fn unit(name: &str) -> &'static str {
        match name {
            "threads" | "open files" => "count",
            _ => "bytes",
        }
    }
}

/// What is kept now.
pub fn kinds() -> anyhow::Result<Kinds> {
    let text = fs::read_to_string(MAPPINGS).context(MAPPINGS)?;
    let [heap, mappings, stack, files] = by_name(&text);
    let entries = |path: &str| -> anyhow::Result<f64> {
        let entries = fs::read_dir(path).with_context(|| path.to_owned())?;
        Ok(entries.count() as f64)
    };
    let threads = entries("/proc/self/task")?;
    // Without that which is open while they are counted.
    let open = entries("/proc/self/fd")? - 1.0;
    Ok(Kinds {
        values: [heap, mappings, stack, files, threads, open],
    })
}

/// Resident bytes of heap, anonymous mappings, the main thread's stack, and mapped files. A mapping begins with a line such as
/// `7f00-7f10 rw-p 00000000 00:00 0   [heap]`.
fn by_name(text: &str) -> [f64; 4] {
    let mut sums = [0.0; 4];
    let mut index = 1;
    for line in text.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if !first.ends_with(':') {
            index = match line.split_whitespace().nth(5) {
                Some("[heap]") => 0,
                Some("[stack]") => 2,
                Some(name) if name.starts_with('/') => 3,
                _ => 1,
            };
        } else if let Some(kib) = memory::field(line, "Rss:") {
            sums[index] += (kib << 10) as f64;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_told_apart_by_their_names() {
        let text = "\
5500-5600 r-xp 00000000 08:01 12   /usr/bin/carnot
Size:        64 kB
Rss:         40 kB
5600-5700 rw-p 00000000 00:00 0    [heap]
Rss:         12 kB
VmFlags: rd wr
7f00-7f10 rw-p 00000000 00:00 0
Rss:          8 kB
7f10-7f20 rw-p 00000000 00:00 0    [anon: glibc]
Rss:          4 kB
7ffe-7fff rw-p 00000000 00:00 0    [stack]
Rss:         16 kB
";
        let kib = [12.0, 12.0, 16.0, 40.0];
        assert_eq!(by_name(text), kib.map(|kib| 1024.0 * kib));
    }

    #[test]
    fn this_process_has_some_of_each() {
        if cfg!(target_os = "linux") {
            let all = resident_bytes().unwrap();
            let kinds = kinds().unwrap();
            let bytes: f64 = kinds.values[..4].iter().sum();
            assert!(all > 0.0 && bytes > 0.5 * all, "{all} {kinds:?}");
            assert!(kinds.values[4] >= 1.0, "{kinds:?}");
        }
    }
}

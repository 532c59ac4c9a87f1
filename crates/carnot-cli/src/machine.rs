//! The ceilings of this machine: measured once, kept in the user's cache directory, measured again when the machine changes.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carnot_kernels::ceiling::{Arithmetic, fork_join_ns, peak, read_bandwidth};
use carnot_kernels::{BlockType, Compute, InstructionSet, Layout, Tuning};
use carnot_record::{BandwidthCurve, BandwidthPoint, DispatchEntry, MachineProfile, Peaks, Record};
use carnot_samplers::{cores, memory};

use crate::cpu_info;
use crate::kernels;
use crate::printer::{Printer, Unit};

/// Working sets of the bandwidth curve: from the first-level cache to memory.
const SMALLEST_BYTES: usize = 16 << 10;
const LARGEST_BYTES: usize = 1 << 30;
/// The buffer that is read takes at most this part of the memory that is available.
const MOST_OF_MEMORY: u64 = 2;
/// One measurement takes about this long; the best of [`REPEATS`] counts.
const TIME: Duration = Duration::from_millis(25);
const REPEATS: usize = 4;

/// What is known of this machine for up to `threads` threads; measured now if nothing is, or if `refresh`.
pub fn profile(threads: usize, refresh: bool, printer: &Printer) -> MachineProfile {
    if let Some(known) = (!refresh).then(|| known(threads)).flatten() {
        return known;
    }
    let measured = measure(threads, printer);
    keep(&measured, printer);
    measured
}

/// What is known of this machine for `threads` threads without measuring anything.
pub fn known(threads: usize) -> Option<MachineProfile> {
    let is_for_them = |peaks: &Peaks| peaks.threads == threads as u32;
    read().filter(|known| known.peaks.iter().any(is_for_them))
}

/// The profile with every kernel timed on `threads` threads; what was measured is kept.
pub fn with_kernels(
    mut profile: MachineProfile,
    threads: usize,
    printer: &Printer,
) -> MachineProfile {
    profile.kernels = Some(kernels::measure(&profile, threads, printer));
    keep(&profile, printer);
    profile
}

/// Which kernels `threads` threads use, if they were measured here.
pub fn kernel_choice(threads: usize) -> Option<(InstructionSet, Tuning)> {
    kernels::choice(&read()?.kernels?, threads)
}

/// Where the profile of this machine is kept, if there is a place for it.
pub fn path() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let cache = cache
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(cache.join("carnot").join(format!(
        "machine-{}.json",
        cpu_info::fingerprint(&cpu_info::read())
    )))
}

/// The kept profile; one that cannot be read is as good as none.
fn read() -> Option<MachineProfile> {
    let profile = MachineProfile::from_json(&fs::read_to_string(path()?).ok()?).ok()?;
    (profile.fingerprint == cpu_info::fingerprint(&cpu_info::read())).then_some(profile)
}

/// Keeps the profile, whole or not at all. Failing to is worth a note, not an error.
fn keep(profile: &MachineProfile, printer: &Printer) {
    let Some(path) = path() else { return };
    let folder = path.parent().expect("the path has a folder");
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = fs::create_dir_all(folder)
        .and_then(|()| fs::write(&temporary, profile.to_json()))
        .and_then(|()| fs::rename(&temporary, &path));
    if let Err(error) = written {
        printer.note(&format!(
            "carnot: the machine's profile is not kept: {}: {error}",
            path.display()
        ));
    }
}

fn measure(threads: usize, printer: &Printer) -> MachineProfile {
    let cpu = cpu_info::read();
    let counts: Vec<usize> = thread_counts(threads);
    let sizes = working_sets(memory::available_bytes());
    let bar = printer.progress("measuring the machine", Unit::Steps);
    bar.set_length((counts.len() * (sizes.len() + 1)) as u64);
    let (mut bandwidth, mut peaks, mut barrier_ns) = (Vec::new(), Vec::new(), 0.0);
    for &count in &counts {
        let compute = Compute::new(count);
        let points = sizes.iter().map(|&bytes| {
            bar.inc(1);
            BandwidthPoint {
                bytes: bytes as u64,
                bytes_per_s: read_bandwidth(&compute, bytes, TIME, REPEATS),
            }
        });
        bandwidth.push(BandwidthCurve {
            threads: count as u32,
            points: points.collect(),
        });
        peaks.push(Peaks {
            threads: count as u32,
            int8_ops_per_s: peak(&compute, Arithmetic::Int8, TIME * 4, REPEATS),
            f32_flops: peak(&compute, Arithmetic::F32, TIME * 4, REPEATS),
            bf16_flops: 0.0,
        });
        bar.inc(1);
        barrier_ns = fork_join_ns(&compute);
    }
    bar.finish_and_clear();
    carnot_probe::enable();
    let cost = carnot_probe::measure_cost();
    carnot_probe::disable();
    MachineProfile {
        fingerprint: cpu_info::fingerprint(&cpu),
        cpu,
        threads: threads as u32,
        bandwidth,
        peaks,
        dispatch: dispatch(),
        barrier_ns,
        span_ns: cost.span_ns,
        clock_read_ns: cost.clock_read_ns,
        measured_unix_s: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        ..MachineProfile::default()
    }
}

/// Powers of two that fit in the memory that is `available`.
fn working_sets(available: Option<u64>) -> Vec<usize> {
    let most = available.map_or(u64::MAX, |bytes| bytes / MOST_OF_MEMORY);
    std::iter::successors(Some(SMALLEST_BYTES), |bytes| Some(bytes * 2))
        .take_while(|&bytes| bytes <= LARGEST_BYTES && bytes as u64 <= most)
        .collect()
}

/// 1, 2, 4, … and `threads` and the number of cores.
fn thread_counts(threads: usize) -> Vec<usize> {
    let cores = cores::usable();
    let mut counts: Vec<usize> = std::iter::successors(Some(1), |count| Some(count * 2))
        .take_while(|&count| count < cores)
        .collect();
    counts.extend([cores, threads]);
    counts.sort_unstable();
    counts.dedup();
    counts
}

/// Which kernel multiplies each weight type.
fn dispatch() -> Vec<DispatchEntry> {
    let set = Compute::new(1).instruction_set();
    let entry = |dtype: BlockType| {
        let activations = if Layout::of(dtype).is_integer() {
            "int8"
        } else {
            "f32"
        };
        DispatchEntry {
            operation: format!("matmul {} × {activations}", dtype.name().to_lowercase()),
            variant: format!("{set}, {:?}", Layout::of(dtype)),
        }
    };
    BlockType::ALL.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn working_sets_end_where_memory_does() {
        let largest = |available| working_sets(available).last().copied();
        assert_eq!(largest(None), Some(LARGEST_BYTES));
        assert_eq!(largest(Some(u64::MAX)), Some(LARGEST_BYTES));
        assert_eq!(largest(Some(100 << 20)), Some(32 << 20));
        assert_eq!(largest(Some(0)), None);
    }
}

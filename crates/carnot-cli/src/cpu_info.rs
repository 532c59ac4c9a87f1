//! What the operating system says about the processor.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use carnot_kernels::InstructionSet;
use carnot_record::{Cache, Cpu};

/// Features that kernels look for, or that would be worth kernels.
const FEATURES: [&str; 14] = [
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
];

/// The processor that this runs on.
pub fn read() -> Cpu {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let flags = field("flags");
    let has = |feature: &&str| flags.split_whitespace().any(|flag| flag == *feature);
    Cpu {
        model: Some(field("model name"))
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        features: FEATURES
            .into_iter()
            .filter(has)
            .map(str::to_owned)
            .collect(),
        logical_cores: carnot_samplers::cores::usable() as u32,
        sockets: text
            .lines()
            .filter(|line| line.starts_with("physical id"))
            .collect::<HashSet<_>>()
            .len() as u32,
        threads_per_core: fs::read_to_string(
            "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
        )
        .map_or(0, |list| count(list.trim())),
        caches: caches(Path::new("/sys/devices/system/cpu/cpu0/cache")),
    }
}

/// Identifies the machine as far as its ceilings go.
pub fn fingerprint(cpu: &Cpu) -> String {
    let caches: Vec<String> = cpu
        .caches
        .iter()
        .map(|cache| format!("{}{}{}", cache.level, &cache.kind[..1], cache.bytes))
        .collect();
    let parts = [
        cpu.model.clone(),
        cpu.features.join(","),
        cpu.logical_cores.to_string(),
        caches.join(","),
        InstructionSet::best().to_string(),
    ];
    format!("{:016x}", fnv1a(parts.join("|").as_bytes()))
}

/// A short stable hash (Fowler, Noll and Vo); the standard library's may change between versions.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn caches(folder: &Path) -> Vec<Cache> {
    let mut caches: Vec<Cache> = (0..8)
        .filter_map(|index| {
            let read = |name: &str| {
                fs::read_to_string(folder.join(format!("index{index}")).join(name))
                    .ok()
                    .map(|s| s.trim().to_owned())
            };
            Some(Cache {
                level: read("level")?.parse().ok()?,
                kind: read("type")?.to_lowercase(),
                bytes: size(&read("size")?)?,
                shared_by: read("shared_cpu_list").map_or(1, |list| count(&list)),
            })
        })
        .collect();
    caches.sort_by_key(|cache| (cache.level, cache.kind.clone()));
    caches
}

/// `48K`, `2048K`, `1M`.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => 1,
    };
    Some(digits.parse::<u64>().ok()? * unit)
}

/// How many cores `0-3,8` names.
fn count(list: &str) -> u32 {
    let one = |part: &str| match part.split_once('-') {
        Some((first, last)) => last
            .parse::<u32>()
            .ok()?
            .checked_sub(first.parse().ok()?)?
            .checked_add(1),
        None => part.parse::<u32>().ok().map(|_| 1),
    };
    list.split(',').filter_map(one).sum::<u32>().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(
            (size("48K"), size("1M"), size("7"), size("K")),
            (Some(48 << 10), Some(1 << 20), Some(7), None)
        );
        assert_eq!((count("0-3,8"), count("5"), count("")), (5, 1, 1));
    }

    #[test]
    fn the_fingerprint_is_stable_and_tells_machines_apart() {
        let cpu = read();
        assert_eq!(fingerprint(&cpu), fingerprint(&cpu));
        assert_ne!(
            fingerprint(&cpu),
            fingerprint(&Cpu {
                logical_cores: cpu.logical_cores + 1,
                ..cpu.clone()
            })
        );
    }
}

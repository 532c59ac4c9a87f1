//! The machine that a run was on, and the least time in which it could have done the work.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::{Phase, Work};
use super::results::Sizes;
use crate::process::{output, program};

/// What is known of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's model name.
    pub cpu: String,
    /// Instruction sets that Carnot's kernels look for and found.
    pub features: Vec<String>,
    /// Logical cores that processes may use.
    pub cores: usize,
    pub memory_bytes: u64,
    /// How clock frequencies are chosen; `None` where the system does not say, as in most virtual machines.
    pub governor: Option<String>,
    pub ceilings: Ceilings,
}

/// What `carnot machine` measured, with the threads of the run; 0 and empty where nothing was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    pub threads: usize,
    pub int8_ops_per_s: f64,
    pub f32_flops: f64,
    /// Read bandwidth by rising working set: bytes, and bytes a second.
    pub bandwidth: Vec<(f64, f64)>,
}

impl Machine {
    /// Asks the system, and `carnot` for the ceilings of `threads` threads; it measures them unless it has before.
    pub fn read(carnot: &Path, threads: usize) -> anyhow::Result<Self> {
        let mut command = program(&carnot.to_string_lossy(), &["machine", "--format", "json"]);
        let json = output(&mut command)?;
        let profile: Value = serde_json::from_slice(&json).context("carnot machine")?;
        let features = profile["cpu"]["features"].as_array().into_iter().flatten();
        let governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
        Ok(Self {
            cpu: text(&profile["cpu"]["model"]),
            features: features.map(text).collect(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory_bytes().unwrap_or(0),
            governor: fs::read_to_string(governor)
                .ok()
                .map(|text| text.trim().to_owned()),
            ceilings: Ceilings::parse(&profile, threads),
        })
    }
}

impl Ceilings {
    fn parse(profile: &Value, threads: usize) -> Self {
        let of_threads = |field: &str| {
            let entries = profile[field].as_array().into_iter().flatten();
            let mut entries = entries.filter(|entry| entry["threads"] == threads);
            entries.next().cloned().unwrap_or_default()
        };
        let number = |value: &Value| value.as_f64().unwrap_or(0.0);
        let (peaks, curve) = (of_threads("peaks"), of_threads("bandwidth"));
        let points = curve["points"].as_array().into_iter().flatten();
        Self {
            threads,
            int8_ops_per_s: number(&peaks["int8_ops_per_s"]),
            f32_flops: number(&peaks["f32_flops"]),
            bandwidth: points
                .map(|point| (number(&point["bytes"]), number(&point["bytes_per_s"])))
                .collect(),
        }
    }

    /// The least seconds that `work` can take here; `None` where the machine or the model is not known.
    ///
    /// Every forward pass takes at least as long as its arithmetic, and at least as long as reading weights, keys and values once.
    pub fn floor_seconds(&self, work: &Work, sizes: &Sizes) -> Option<f64> {
        let is_known =
            self.int8_ops_per_s > 0.0 && self.f32_flops > 0.0 && !self.bandwidth.is_empty();
        let passes = match work.phase {
            Phase::FirstToken => None,
            phase => is_known.then(|| passes(work, phase)),
        }?;
        let once: f64 = passes.map(|pass| self.pass_seconds(&pass, sizes)).sum();
        Some(once * work.repeat as f64)
    }

    fn pass_seconds(&self, pass: &Pass, sizes: &Sizes) -> f64 {
        let (rows, logits, seen) = (pass.rows as f64, pass.logits as f64, pass.seen as f64);
        let int8 =
            rows * sizes.int8_operations as f64 + logits * sizes.output_int8_operations as f64;
        let f32 = rows * sizes.f32_operations as f64
            + logits * sizes.output_f32_operations as f64
            + seen * sizes.attention_operations as f64;
        let arithmetic = int8 / self.int8_ops_per_s + f32 / self.f32_flops;
        let bytes = sizes.step_bytes as f64 + pass.positions as f64 * sizes.kv_token_bytes as f64;
        arithmetic.max(bytes / self.bandwidth_of(bytes))
    }

    /// Linear between measured points on logarithmic scales; beyond the ends the nearest point holds.
    fn bandwidth_of(&self, bytes: f64) -> f64 {
        let after = self.bandwidth.partition_point(|(size, _)| *size < bytes);
        let at = |index: usize| self.bandwidth.get(index).copied();
        match (after.checked_sub(1).and_then(at), at(after)) {
            (Some((low, slow)), Some((high, fast))) => {
                let share = (bytes / low).ln() / (high / low).ln();
                (slow.ln() + share * (fast / slow).ln()).exp()
            }
            (Some((_, speed)), None) | (None, Some((_, speed))) => speed,
            (None, None) => f64::INFINITY,
        }
    }
}

/// What one forward pass goes through.
#[derive(Debug, PartialEq, Eq)]
struct Pass {
    rows: usize,
    /// Rows whose logits are wanted.
    logits: usize,
    /// Pairs of a row and a position that it sees.
    seen: usize,
    /// Positions whose keys and values are read.
    positions: usize,
}

/// Tokens of one pass of prefill, in both engines' drivers.
const CHUNK: usize = 512;

fn passes(work: &Work, phase: Phase) -> Box<dyn Iterator<Item = Pass> + '_> {
    let (first, end, sequences) = (work.depth, work.depth + work.tokens, work.sequences);
    if phase == Phase::Decode {
        return Box::new((first..end).map(move |position| Pass {
            rows: sequences,
            logits: sequences,
            seen: sequences * (position + 1),
            positions: sequences * (position + 1),
        }));
    }
    let chunks = (first..end).step_by(CHUNK).map(move |start| {
        let last = end.min(start + CHUNK);
        Pass {
            rows: last - start,
            logits: usize::from(last == end),
            seen: (start + 1..=last).sum(),
            positions: last,
        }
    });
    Box::new((0..sequences).flat_map(move |_| chunks.clone()))
}

fn memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceilings() -> Ceilings {
        let profile = serde_json::json!({
            "peaks": [
                { "threads": 1, "int8_ops_per_s": 1.0, "f32_flops": 1.0 },
                { "threads": 2, "int8_ops_per_s": 1000.0, "f32_flops": 100.0 },
            ],
            "bandwidth": [{ "threads": 2, "points": [
                { "bytes": 100, "bytes_per_s": 400.0 }, { "bytes": 10_000, "bytes_per_s": 4.0 },
            ] }],
        });
        Ceilings::parse(&profile, 2)
    }

    fn sizes() -> Sizes {
        Sizes {
            parameters: 0,
            bytes: 0,
            step_bytes: 1000,
            kv_token_bytes: 0,
            int8_operations: 2000,
            f32_operations: 0,
            output_int8_operations: 500,
            output_f32_operations: 0,
            attention_operations: 0,
        }
    }

    fn work(phase: Phase, tokens: usize, depth: usize, sequences: usize) -> Work {
        let (warmup, repeat) = (0, 1);
        Work {
            phase,
            tokens,
            depth,
            sequences,
            warmup,
            repeat,
        }
    }

    #[test]
    fn bandwidth_is_read_off_logarithmic_scales() {
        let ceilings = ceilings();
        for (bytes, expected) in [(1.0, 400.0), (100.0, 400.0), (1000.0, 40.0), (1e6, 4.0)] {
            let found = ceilings.bandwidth_of(bytes);
            assert!((found - expected).abs() < 1e-9, "{bytes}: {found}");
        }
    }

    #[test]
    fn decode_reads_its_weights_and_prefill_computes() {
        let (ceilings, sizes) = (ceilings(), sizes());
        // 1000 bytes at 40 a second are 25 s; 2500 operations at 1000 a second less.
        let decode = ceilings
            .floor_seconds(&work(Phase::Decode, 2, 0, 1), &sizes)
            .unwrap();
        assert!((decode - 50.0).abs() < 1e-9);
        // 600 rows: 512 × 2 s, and 88 × 2 s + 0.5 s for the logits of the last.
        let prefill = ceilings
            .floor_seconds(&work(Phase::Prefill, 600, 0, 1), &sizes)
            .unwrap();
        assert!((prefill - 1200.5).abs() < 1e-9);
        assert_eq!(
            ceilings.floor_seconds(&work(Phase::FirstToken, 8, 0, 1), &sizes),
            None
        );
        assert_eq!(
            Ceilings::default().floor_seconds(&work(Phase::Decode, 1, 0, 1), &sizes),
            None
        );
    }

    #[test]
    fn passes_see_what_came_before() {
        let prefill: Vec<Pass> = passes(&work(Phase::Prefill, 2, 3, 1), Phase::Prefill).collect();
        let expected = Pass {
            rows: 2,
            logits: 1,
            seen: 4 + 5,
            positions: 5,
        };
        assert_eq!(prefill, [expected]);
        let decode: Vec<Pass> = passes(&work(Phase::Decode, 1, 3, 2), Phase::Decode).collect();
        let expected = Pass {
            rows: 2,
            logits: 2,
            seen: 8,
            positions: 8,
        };
        assert_eq!(decode, [expected]);
    }
}

//! What a machine allows, measured: the ceilings that floors are computed from.

use serde::{Deserialize, Serialize};

use crate::{Arithmetic, Record};

/// What a machine allows, as `carnot machine` measured it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineProfile {
    /// `carnot.machine`.
    pub schema: String,
    /// The version of the schema.
    pub version: u32,
    /// Identifies the machine; a profile with another fingerprint is not this machine's.
    pub fingerprint: String,
    /// The processor.
    pub cpu: Cpu,
    /// The threads that a run uses unless told otherwise.
    pub threads: u32,
    /// Read bandwidth over the working set, one curve for each number of threads.
    pub bandwidth: Vec<BandwidthCurve>,
    /// Arithmetic, one entry for each number of threads.
    pub peaks: Vec<Peaks>,
    /// Which variant of each kernel runs here.
    pub dispatch: Vec<DispatchEntry>,
    /// What `carnot machine --kernels` measured, if it was asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernels: Option<Kernels>,
    /// One barrier of all threads.
    pub barrier_ns: f64,
    /// One span of the probe.
    pub span_ns: f64,
    /// One reading of the clock.
    pub clock_read_ns: f64,
    /// When this was measured, in seconds since 1970.
    pub measured_unix_s: u64,
}

/// A processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// The model name, as the processor gives it.
    pub model: String,
    /// Instruction sets that the kernels look for and found.
    pub features: Vec<String>,
    /// Logical cores that the process may use.
    pub logical_cores: u32,
    /// Sockets that these belong to; 0 where unknown.
    #[serde(default)]
    pub sockets: u32,
    /// Hardware threads that share a core; 0 where unknown.
    #[serde(default)]
    pub threads_per_core: u32,
    /// Caches, from level 1 on.
    pub caches: Vec<Cache>,
}

/// One cache of a processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// 1, 2 or 3.
    pub level: u32,
    /// `data`, `instruction` or `unified`.
    pub kind: String,
    /// The size.
    pub bytes: u64,
    /// How many logical cores share it.
    pub shared_by: u32,
}

/// Read bandwidth over the working set, with a number of threads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BandwidthCurve {
    /// The threads that read together.
    pub threads: u32,
    /// Measured points, by rising `bytes`.
    pub points: Vec<BandwidthPoint>,
}

/// One point of a bandwidth curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BandwidthPoint {
    /// The memory that was read again and again, of all threads together.
    pub bytes: u64,
    /// How fast.
    pub bytes_per_s: f64,
}

/// Arithmetic with a number of threads; 0 where the machine has no such instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peaks {
    /// The threads that computed together.
    pub threads: u32,
    /// 8-bit integer operations a second; a multiplication and its addition are two.
    pub int8_ops_per_s: f64,
    /// 32-bit floating-point operations a second.
    pub f32_flops: f64,
    /// bfloat16 operations a second.
    pub bf16_flops: f64,
}

/// The variant of a kernel that runs on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchEntry {
    /// The kernel, such as `matmul_q8_0`.
    pub operation: String,
    /// The instruction set, such as `avx512_vnni`.
    pub variant: String,
}

/// Every kernel timed in turns, and what that says should run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kernels {
    /// The threads that worked together.
    pub threads: u32,
    /// The instruction set whose kernels took least time.
    pub instruction_set: String,
    /// Up to this many rows are multiplied with quantised weights as they come from memory.
    pub matmul_rows: u32,
    /// Up to this many query rows use keys and values as they come from memory.
    pub attention_rows: u32,
    /// The measurements.
    pub timings: Vec<KernelTiming>,
}

/// One variant of one operation, timed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KernelTiming {
    /// The operation with its shape, such as `matmul q4_0 2048×2048`.
    pub operation: String,
    /// Rows that are multiplied, or tokens that attend.
    pub rows: u32,
    /// The instruction set, and `stream` or `tiles`.
    pub variant: String,
    /// Median time of a call in nanoseconds.
    pub ns: f64,
    /// Operations a second.
    pub ops_per_s: f64,
    /// Bytes of weights, or of keys and values, a second.
    pub bytes_per_s: f64,
    /// Least time that the machine allows, over the measured one.
    pub efficiency: f64,
    /// Whether this variant runs for these rows.
    pub chosen: bool,
}

impl Default for MachineProfile {
    fn default() -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            version: Self::VERSION,
            fingerprint: String::new(),
            cpu: Cpu::default(),
            threads: 0,
            bandwidth: Vec::new(),
            peaks: Vec::new(),
            dispatch: Vec::new(),
            kernels: None,
            barrier_ns: 0.0,
            span_ns: 0.0,
            clock_read_ns: 0.0,
            measured_unix_s: 0,
        }
    }
}

impl Record for MachineProfile {
    const SCHEMA: &'static str = "carnot.machine";
    const VERSION: u32 = 1;
}

impl MachineProfile {
    /// The read bandwidth in bytes a second of `threads` threads over a working set.
    ///
    /// Between two points the logarithm of the bandwidth is linear in the logarithm of the size; beyond the ends the
    /// nearest point holds. Infinite when nothing was measured: an unknown ceiling limits nothing.
    pub fn bandwidth(&self, threads: u32, working_set_bytes: u64) -> f64 {
        nearest(&self.bandwidth, threads, |curve| curve.threads)
            .and_then(|curve| curve.at(working_set_bytes))
            .unwrap_or(f64::INFINITY)
    }

    /// The arithmetic peak in operations a second of `threads` threads.
    ///
    /// Infinite for [`Arithmetic::None`] and where nothing was measured: an unknown ceiling limits nothing.
    pub fn peak(&self, threads: u32, arithmetic: Arithmetic) -> f64 {
        let peak =
            nearest(&self.peaks, threads, |peaks| peaks.threads).map(|peaks| match arithmetic {
                Arithmetic::None => 0.0,
                Arithmetic::Int8 => peaks.int8_ops_per_s,
                Arithmetic::F32 => peaks.f32_flops,
                Arithmetic::Bf16 => peaks.bf16_flops,
            });
        peak.filter(|value| *value > 0.0).unwrap_or(f64::INFINITY)
    }

    /// The bandwidth curve that [`MachineProfile::bandwidth`] reads from.
    pub fn curve(&self, threads: u32) -> Option<&BandwidthCurve> {
        nearest(&self.bandwidth, threads, |curve| curve.threads)
    }
}

impl BandwidthCurve {
    fn at(&self, bytes: u64) -> Option<f64> {
        let after = self.points.partition_point(|point| point.bytes < bytes);
        let Some(high) = self.points.get(after) else {
            return self.points.last().map(|point| point.bytes_per_s);
        };
        let Some(low) = after.checked_sub(1).map(|index| self.points[index]) else {
            return Some(high.bytes_per_s);
        };
        let log = |value: u64| (value.max(1) as f64).ln();
        let position = (log(bytes) - log(low.bytes)) / (log(high.bytes) - log(low.bytes));
        Some(low.bytes_per_s * (high.bytes_per_s / low.bytes_per_s).powf(position))
    }
}

/// The entry for as many threads as asked, else for the most below, else for the fewest.
fn nearest<T>(entries: &[T], threads: u32, of: impl Fn(&T) -> u32) -> Option<&T> {
    entries
        .iter()
        .filter(|entry| of(entry) <= threads)
        .max_by_key(|entry| of(entry))
        .or_else(|| entries.iter().min_by_key(|entry| of(entry)))
}

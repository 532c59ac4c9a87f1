//! The floor: the least time that an operation can take on this machine.
//!
//! `floor = max(flops / peak, bytes / bandwidth(working set))`, after the roofline model (Williams, Waterman and Patterson,
//! "Roofline: an insightful visual performance model for multicore architectures", CACM 52(4), 2009), with ceilings that
//! were measured with the same number of threads.

use carnot_record::{MachineProfile, Span};
use serde::Serialize;

/// No single operation has a floor above 18 minutes; a sum of a million of them still fits in 63 bits.
const MOST_NS: f64 = (1_u64 << 40) as f64;

/// Below this share of the time, the floor explains nothing and the operation is overhead.
pub(crate) const OVERHEAD_BELOW: f64 = 0.1;

/// The two sides of a floor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Floor {
    /// Time to move the bytes.
    pub memory_ns: f64,
    /// Time to do the arithmetic.
    pub compute_ns: f64,
}

/// What limits an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Moving bytes.
    Memory,
    /// Arithmetic.
    Compute,
    /// Neither: the floor is under a tenth of the time.
    #[default]
    Overhead,
}

impl Bound {
    /// The name as it is written in records and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Compute => "compute",
            Self::Overhead => "overhead",
        }
    }
}

impl Floor {
    /// The floor of one operation with `threads` threads.
    pub fn of(span: &Span, machine: &MachineProfile, threads: u32) -> Self {
        Self {
            memory_ns: time_ns(
                span.bytes,
                machine.bandwidth(threads, span.working_set_bytes),
            ),
            compute_ns: time_ns(span.flops, machine.peak(threads, span.arithmetic)),
        }
    }

    /// The larger side, in whole nanoseconds.
    pub fn ns(self) -> u64 {
        self.memory_ns.max(self.compute_ns).round() as u64
    }

    /// What limits operations with these sides that took `measured_ns`.
    pub fn bound(self, measured_ns: u64) -> Bound {
        if self.memory_ns.max(self.compute_ns) < OVERHEAD_BELOW * measured_ns as f64 {
            Bound::Overhead
        } else if self.memory_ns >= self.compute_ns {
            Bound::Memory
        } else {
            Bound::Compute
        }
    }
}

/// 0 where the rate is unknown: an unknown ceiling limits nothing.
fn time_ns(amount: u64, per_second: f64) -> f64 {
    if per_second > 0.0 {
        (amount as f64 / per_second * 1e9).min(MOST_NS)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_record::{Arithmetic, BandwidthCurve, BandwidthPoint, Peaks};

    fn machine() -> MachineProfile {
        let points = vec![BandwidthPoint {
            bytes: 1,
            bytes_per_s: 25e9,
        }];
        MachineProfile {
            bandwidth: vec![BandwidthCurve { threads: 2, points }],
            peaks: vec![Peaks {
                threads: 2,
                int8_ops_per_s: 1e12,
                ..Peaks::default()
            }],
            ..MachineProfile::default()
        }
    }

    #[test]
    fn the_larger_side_is_the_floor() {
        let arithmetic = Arithmetic::Int8;
        let span = Span {
            bytes: 1_000_000,
            flops: 2_000_000,
            arithmetic,
            ..Span::default()
        };
        let floor = Floor::of(&span, &machine(), 2);
        assert_eq!(
            (floor.memory_ns, floor.compute_ns, floor.ns()),
            (40_000.0, 2_000.0, 40_000)
        );
        assert_eq!(floor.bound(50_000), Bound::Memory);
        assert_eq!(floor.bound(500_000), Bound::Overhead);
    }

    #[test]
    fn unknown_and_absurd_ceilings_give_no_absurd_floor() {
        let span = Span {
            bytes: u64::MAX,
            flops: 1,
            arithmetic: Arithmetic::F32,
            ..Span::default()
        };
        assert_eq!(Floor::of(&span, &MachineProfile::default(), 2).ns(), 0);
        assert_eq!(Floor::of(&span, &machine(), 2).ns(), 1 << 40);
    }
}

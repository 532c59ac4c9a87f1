//! What to look at: losses that are large, operations that are unsteady, and what removing each would give.
//!
//! "At most N× faster" is Amdahl's law: a run of wall time W without a loss of L takes W − L.

use serde::Serialize;

use crate::{
    accounting::{Accounting, Loss, LossKind},
    floor::Bound,
    operations::{OperationGroup, family},
    phases::Phase,
    statistics::{Distribution, ratio},
};

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bottleneck {
    /// The loss, as [`Loss::path`] gives it, or the operation with its phase.
    pub name: String,
    /// How much it matters.
    pub severity: Severity,
    /// Its share of the wall time.
    pub share: f64,
    /// What to do.
    pub advice: String,
    /// How many times faster the run would be without this loss.
    pub speedup_at_limit: f64,
}

/// How much something matters, by its share of the wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// At least 50 %.
    Critical,
    /// At least 30 %.
    High,
    /// At least 20 %.
    Medium,
    /// At least 10 %.
    Low,
    /// The standard deviation is over 0.3 of the mean.
    Unstable,
}

impl Severity {
    /// The severity of a loss; `None` below 10 %.
    pub fn of_share(share: f64) -> Option<Self> {
        match share {
            0.5.. => Some(Self::Critical),
            0.3.. => Some(Self::High),
            0.2.. => Some(Self::Medium),
            0.1.. => Some(Self::Low),
            _ => None,
        }
    }

    /// The name as it is written in records and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::Unstable => "unstable",
        }
    }
}

const UNSTABLE_ABOVE: f64 = 0.3;
/// Of fewer runs a standard deviation says little; of less time, little is to be gained.
const UNSTABLE_COUNT: u64 = 8;
const UNSTABLE_SHARE: f64 = 0.05;

/// Large losses first, then what is unsteady.
pub(crate) fn bottlenecks(
    total: &Accounting,
    operations: &[OperationGroup],
    phases: &[Phase],
    is_of_tensors: bool,
) -> Vec<Bottleneck> {
    let mut found: Vec<Bottleneck> = total
        .losses
        .iter()
        .filter_map(|loss| of_loss(loss, total.wall_ns, (operations, is_of_tensors)))
        .collect();
    found.extend(of_engine_as_a_whole(total, &found));
    found.sort_by(|a, b| b.share.total_cmp(&a.share));
    let steady =
        |times: &Distribution| times.count < UNSTABLE_COUNT || times.variation() <= UNSTABLE_ABOVE;
    let steps = phases
        .iter()
        .filter(|phase| phase.counted && !steady(&phase.steps));
    found.extend(steps.map(|phase| {
        unstable(
            format!("step of {}", phase.name),
            &phase.steps,
            total.wall_ns,
        )
    }));
    let unsteady = operations
        .iter()
        .filter(|o| o.share >= UNSTABLE_SHARE && !steady(&o.times));
    found.extend(unsteady.map(|operation| {
        let phase = operation.phase.as_deref().unwrap_or_default();
        unstable(
            format!("{} in {phase}", operation.name),
            &operation.times,
            total.wall_ns,
        )
    }));
    found
}

fn of_loss(
    loss: &Loss,
    wall_ns: u64,
    (operations, is_of_tensors): (&[OperationGroup], bool),
) -> Option<Bottleneck> {
    let advice = match loss.kind {
        LossKind::Kernel if is_of_tensors => node_advice(&loss.name, operations),
        LossKind::Kernel => kernel_advice(&loss.name, operations),
        LossKind::Wait => {
            let note = &loss.note;
            format!(
                "{note}: join operations that need no barrier between them, or use fewer threads"
            )
        }
        LossKind::Engine => engine_advice(&loss.name),
        LossKind::Probe => "record fewer spans: this run is mostly its own measuring".to_owned(),
    };
    Some(Bottleneck {
        name: loss.path(),
        severity: Severity::of_share(loss.share)?,
        share: loss.share,
        advice,
        speedup_at_limit: speedup(wall_ns, loss.ns),
    })
}

/// Many small engine losses may be large together.
fn of_engine_as_a_whole(total: &Accounting, found: &[Bottleneck]) -> Option<Bottleneck> {
    let ns = total.loss_ns(LossKind::Engine);
    let share = ratio(ns as f64, total.wall_ns as f64);
    let severity = Severity::of_share(share)?;
    if found
        .iter()
        .any(|bottleneck| bottleneck.name.starts_with("engine/"))
    {
        return None;
    }
    let advice =
        "many small pieces of work between operations: overlap them with the next step".to_owned();
    let speedup_at_limit = speedup(total.wall_ns, ns);
    Some(Bottleneck {
        name: "engine".to_owned(),
        severity,
        share,
        advice,
        speedup_at_limit,
    })
}

/// What can be done about a node by somebody who has its model, and not its kernels.
fn node_advice(name: &str, operations: &[OperationGroup]) -> String {
    if name == "graph" {
        return "this engine times only the whole: with ONNX Runtime each node shows (`pip install onnxruntime`)".to_owned();
    }
    let lost = |o: &OperationGroup| o.busy_ns as i64 - o.floor_ns as i64;
    let same = operations.iter().filter(|o| family(&o.name) == name);
    let Some(worst) = same.max_by_key(|o| lost(o)) else {
        return String::new();
    };
    let reached = 100.0 * ratio(worst.floor_ns as f64, worst.busy_ns as f64);
    let place = format!("most in {}", worst.name);
    match worst.floor.bound(worst.busy_ns) {
        Bound::Memory => format!(
            "{place}, at {reached:.0} % of memory bandwidth: fuse it with its neighbours, or store weights in fewer bits"
        ),
        Bound::Compute => format!(
            "{place}, at {reached:.0} % of the {} peak: a larger batch, 8-bit integers, or another engine",
            worst.arithmetic
        ),
        Bound::Overhead if worst.floor_ns == 0 => {
            format!(
                "{place}: no arithmetic and no bytes are known of it; replace it, or join it with its neighbour"
            )
        }
        Bound::Overhead => {
            format!("{place}: little work in much time; join it with its neighbour")
        }
    }
}

fn kernel_advice(name: &str, operations: &[OperationGroup]) -> String {
    let lost = |o: &OperationGroup| o.busy_ns as i64 - o.floor_ns as i64;
    let worst = operations
        .iter()
        .filter(|o| family(&o.name) == name)
        .max_by_key(|o| lost(o));
    let Some(worst) = worst else {
        return String::new();
    };
    let phase = worst.phase.as_deref().unwrap_or("the run");
    let reached = 100.0 * ratio(worst.floor_ns as f64, worst.busy_ns as f64);
    let place = format!("most in {} of {phase}", worst.name);
    match worst.floor.bound(worst.busy_ns) {
        Bound::Memory => {
            let stored = if name.starts_with("attention") {
                "keys and values"
            } else {
                "weights"
            };
            format!(
                "{place}, at {reached:.0} % of memory bandwidth: read wider and further ahead, or store {stored} in fewer bits"
            )
        }
        Bound::Compute => format!(
            "{place}, at {reached:.0} % of the {} peak: keep more sums in registers, block for the cache",
            worst.arithmetic
        ),
        Bound::Overhead => {
            format!("{place}: little work in much time; join it with its neighbour")
        }
    }
}

fn engine_advice(name: &str) -> String {
    let advice = match name {
        "sampling" | "sample" => {
            "select the few logits that can win before sorting them; one thread works, the others wait"
        }
        "detokenise" | "detokenize" => "turn tokens into text beside the next step, not before it",
        "tokenise" | "tokenize" => "tokenise the next request while this one computes",
        "runtime" => {
            "between nodes: the runtime's own work for each; fewer and larger nodes, by fusion or a larger batch"
        }
        "schedule" => "plan the next step while this one computes",
        "other" => "no engine span names this time: record more of it, then look again",
        _ => "one thread works, the others wait: move it beside the next step",
    };
    advice.to_owned()
}

fn unstable(name: String, times: &Distribution, wall_ns: u64) -> Bottleneck {
    let steady_ns = times.p50_ns.saturating_mul(times.count);
    let excess_ns = times.total_ns.saturating_sub(steady_ns) as i64;
    Bottleneck {
        name,
        severity: Severity::Unstable,
        share: ratio(times.total_ns as f64, wall_ns as f64),
        advice: format!(
            "std/mean {:.2}, p99 {:.1}× the median: other processes, clock changes, or work that grows with the context",
            times.variation(),
            ratio(times.p99_ns as f64, times.p50_ns as f64)
        ),
        speedup_at_limit: speedup(wall_ns, excess_ns),
    }
}

fn speedup(wall_ns: u64, loss_ns: i64) -> f64 {
    let rest = wall_ns as i64 - loss_ns;
    if rest > 0 {
        wall_ns as f64 / rest as f64
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_by_share() {
        let cases = [
            (0.5, Some(Severity::Critical)),
            (0.49, Some(Severity::High)),
            (0.2, Some(Severity::Medium)),
        ];
        for (share, expected) in cases {
            assert_eq!(Severity::of_share(share), expected);
        }
        assert_eq!(Severity::of_share(0.1), Some(Severity::Low));
        assert_eq!(Severity::of_share(0.099), None);
        assert_eq!(Severity::of_share(-0.5), None);
    }

    #[test]
    fn speedup_is_amdahls() {
        assert_eq!(speedup(100, 50), 2.0);
        assert_eq!(speedup(100, -25), 0.8);
        assert_eq!(speedup(0, 0), 1.0);
    }
}

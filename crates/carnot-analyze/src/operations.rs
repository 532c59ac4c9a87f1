//! Executions grouped by what they have in common: name, layer, phase.

use std::collections::HashMap;

use carnot_record::{Arithmetic, Span, Trace};
use serde::Serialize;

use crate::{
    execution::{Execution, Scope},
    floor::{Bound, Floor},
    statistics::{Distribution, ratio},
};

/// Executions of one operation, of one layer or of all, in one phase or in all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperationGroup {
    /// The operation's name.
    pub name: String,
    /// The layer, where the group is of one layer.
    pub layer: Option<u32>,
    /// The phase, where the group is of one phase.
    pub phase: Option<String>,
    /// The arithmetic of its multiplications.
    pub arithmetic: &'static str,
    /// Times of single executions with the waiting that ended them.
    pub times: Distribution,
    /// The mean of the threads' busy time, summed.
    pub busy_ns: u64,
    /// The least time that it could have taken.
    pub floor_ns: u64,
    /// The sides of the floor, summed.
    pub floor: Floor,
    /// Arithmetic operations.
    pub flops: u64,
    /// Bytes that had to be moved.
    pub bytes: u64,
    /// The largest working set.
    pub working_set_bytes: u64,
    /// What limits it.
    pub bound: Bound,
    /// Total time over the accounted wall time.
    pub share: f64,
    /// `floor_ns` over total time.
    pub efficiency: f64,
}

impl OperationGroup {
    /// Time on the engine's thread, with waiting.
    pub fn total_ns(&self) -> u64 {
        self.times.total_ns
    }

    /// Arithmetic operations a second.
    pub fn flops_per_s(&self) -> f64 {
        ratio(self.flops as f64, self.total_ns() as f64) * 1e9
    }

    /// Bytes a second.
    pub fn bytes_per_s(&self) -> f64 {
        ratio(self.bytes as f64, self.total_ns() as f64) * 1e9
    }

    /// Arithmetic operations for each byte: the abscissa of the roofline.
    pub fn intensity(&self) -> f64 {
        ratio(self.flops as f64, self.bytes as f64)
    }
}

/// The kind of operation that a name stands for: its first word, with the number format that follows.
///
/// ```
/// assert_eq!(carnot_analyze::family("matmul q8_0 attn_q"), "matmul q8_0");
/// assert_eq!(carnot_analyze::family("rms_norm ffn"), "rms_norm");
/// ```
pub fn family(name: &str) -> &str {
    let mut words = name.split(' ');
    let first = words.next().unwrap_or_default().len();
    match words.next() {
        Some(format) if is_number_format(format) => &name[..=first + format.len()],
        _ => &name[..first],
    }
}

fn is_number_format(word: &str) -> bool {
    ["q", "iq", "f", "bf", "mxfp", "i", "u", "int"]
        .iter()
        .any(|prefix| {
            word.strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
}

/// What executions are put together by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Name,
    NameAndLayer,
    NameAndPhase,
}

type Key<'a> = (&'a str, Option<u32>, Option<&'a str>);

/// Groups the executions of `scopes`, the longest first.
pub(crate) fn group(trace: &Trace, scopes: &[&Scope], by: By, wall_ns: u64) -> Vec<OperationGroup> {
    let mut members: HashMap<Key, Vec<&Execution>> = HashMap::new();
    for scope in scopes {
        for execution in &scope.executions {
            let span = &trace.spans[execution.span as usize];
            let name = trace.site(span).name.as_str();
            let key = match by {
                By::Name => (name, None, None),
                By::NameAndLayer => (name, span.layer, None),
                By::NameAndPhase => (name, None, Some(scope.name)),
            };
            members.entry(key).or_default().push(execution);
        }
    }
    let mut groups: Vec<_> = members
        .into_iter()
        .map(|(key, executions)| OperationGroup::of(trace, key, &executions, wall_ns))
        .collect();
    groups.sort_by(|a, b| {
        let name = |group: &OperationGroup| (group.name.clone(), group.layer, group.phase.clone());
        b.total_ns()
            .cmp(&a.total_ns())
            .then_with(|| name(a).cmp(&name(b)))
    });
    groups
}

impl OperationGroup {
    fn of(trace: &Trace, key: Key, executions: &[&Execution], wall_ns: u64) -> Self {
        let spans = || {
            executions
                .iter()
                .map(|execution| &trace.spans[execution.span as usize])
        };
        let total =
            |field: fn(&Span) -> u64| spans().fold(0, |sum: u64, s| sum.saturating_add(field(s)));
        let times = Distribution::of(executions.iter().map(|e| e.region_ns).collect());
        let floor_ns = executions.iter().map(|execution| execution.floor_ns).sum();
        let floor = Floor {
            memory_ns: executions.iter().map(|e| e.floor.memory_ns).sum(),
            compute_ns: executions.iter().map(|e| e.floor.compute_ns).sum(),
        };
        Self {
            name: key.0.to_owned(),
            layer: key.1,
            phase: key.2.map(str::to_owned),
            arithmetic: spans()
                .map(|s| s.arithmetic)
                .max()
                .unwrap_or(Arithmetic::None)
                .name(),
            busy_ns: executions.iter().map(|execution| execution.busy_ns()).sum(),
            floor_ns,
            floor,
            flops: total(|span| span.flops),
            bytes: total(|span| span.bytes),
            working_set_bytes: spans()
                .map(|span| span.working_set_bytes)
                .max()
                .unwrap_or(0),
            bound: floor.bound(times.total_ns),
            share: ratio(times.total_ns as f64, wall_ns as f64),
            efficiency: ratio(floor_ns as f64, times.total_ns as f64),
            times,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::family;

    #[test]
    fn families_keep_the_number_format_and_drop_the_tensor() {
        let cases = [
            ("matmul q4_k ffn_up", "matmul q4_k"),
            ("matmul bf16", "matmul bf16"),
            ("attention", "attention"),
            ("attention f16 kv", "attention f16"),
            ("rope queries", "rope"),
            ("ünïcode q8_0 x", "ünïcode q8_0"),
            ("", ""),
            (" q8_0", " q8_0"),
        ];
        for (name, expected) in cases {
            assert_eq!(family(name), expected);
        }
    }
}

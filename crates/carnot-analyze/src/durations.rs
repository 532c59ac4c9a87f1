//! How long every step and every execution took, one by one: what two traces are compared by.

use std::collections::BTreeMap;

use carnot_record::{MachineProfile, Trace};

use crate::{analysis::WallScope, execution::scopes, span_tree::SpanTree};

/// The times of one kind of work in one phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durations {
    /// Such as `decode`.
    pub phase: String,
    /// The operation; `None` of whole steps.
    pub operation: Option<String>,
    /// How long each took with the waiting that ended it, in the order in which they began.
    pub ns: Vec<u64>,
}

impl Durations {
    /// All of them together.
    pub fn total_ns(&self) -> u64 {
        self.ns.iter().fold(0, |sum, ns| sum.saturating_add(*ns))
    }

    /// `decode step`, `prefill matmul q8_0 ffn_up`.
    pub fn name(&self) -> String {
        let what = self.operation.as_deref().unwrap_or("step");
        format!("{} {what}", self.phase)
    }
}

/// The times of the phases that `wall` counts: of steps first, those of which there are most before the others, then of operations, the longest in all first. Executions
/// of an operation in several layers are of one kind.
pub fn durations(trace: &Trace, wall: WallScope) -> Vec<Durations> {
    let tree = SpanTree::new(trace);
    let scopes = scopes(trace, &tree, &MachineProfile::default(), 1);
    let (mut steps, mut operations) = (BTreeMap::new(), BTreeMap::new());
    for scope in scopes.iter().filter(|scope| wall.counts(scope.name)) {
        for step in &scope.steps {
            let times: &mut Vec<u64> = steps.entry((scope.name, None)).or_default();
            times.push(step.end_ns - step.start_ns);
        }
        for execution in &scope.executions {
            let site = trace.site(&trace.spans[execution.span as usize]);
            let times: &mut Vec<u64> = operations
                .entry((scope.name, Some(site.name.as_str())))
                .or_default();
            times.push(execution.region_ns);
        }
    }
    let listed = |times: BTreeMap<(&str, Option<&str>), Vec<u64>>| -> Vec<Durations> {
        let one = |((phase, operation), ns): ((&str, Option<&str>), _)| Durations {
            phase: phase.to_owned(),
            operation: operation.map(str::to_owned),
            ns,
        };
        times.into_iter().map(one).collect()
    };
    let (mut steps, mut operations) = (listed(steps), listed(operations));
    steps.sort_by_key(|one| std::cmp::Reverse(one.ns.len()));
    operations.sort_by_key(|one| std::cmp::Reverse(one.total_ns()));
    steps.append(&mut operations);
    steps
}

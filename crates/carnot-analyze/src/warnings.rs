//! What makes the figures doubtful: said aloud, never hidden.

use carnot_record::{Arithmetic, MachineProfile, Trace};

use crate::{execution::Scope, operations::OperationGroup, span_tree::SpanTree, statistics::ratio};

/// A floor this far above the time is wrong, not merely rounded.
const DOUBTFUL: f64 = 0.01;
const MOST_LISTED: usize = 4;

pub(crate) fn warnings(
    trace: &Trace,
    tree: &SpanTree,
    machine: &MachineProfile,
    scopes: &[&Scope],
    operations: &[OperationGroup],
) -> Vec<String> {
    let mut found = Vec::new();
    let dropped = trace.dropped.max(trace.cost.dropped);
    if dropped > 0 {
        found.push(format!(
            "{dropped} events were dropped: sums over the trace are too low"
        ));
    }
    let lost = trace.spans.len() - tree.in_order().len();
    if lost > 0 {
        found.push(format!(
            "{lost} spans have no beginning: their parents form a ring"
        ));
    }
    if scopes.is_empty() {
        found.push("no counted phase was recorded: there is no time to account for".to_owned());
    } else if scopes.iter().all(|scope| scope.executions.is_empty()) {
        found.push("no operation was recorded: there is no floor to compare with".to_owned());
    }
    found.extend(unknown_ceilings(trace, machine, scopes));
    found.extend(floors_above_time(operations));
    found
}

fn unknown_ceilings(trace: &Trace, machine: &MachineProfile, scopes: &[&Scope]) -> Vec<String> {
    let spans = || {
        let executions = scopes.iter().flat_map(|scope| &scope.executions);
        executions.map(|execution| &trace.spans[execution.span as usize])
    };
    let mut found = Vec::new();
    if machine.bandwidth(1, 1).is_infinite() && spans().any(|span| span.bytes > 0) {
        found.push(
            "read bandwidth was not measured: floors are too low; run carnot machine --refresh"
                .to_owned(),
        );
    }
    for arithmetic in [Arithmetic::Int8, Arithmetic::F32, Arithmetic::Bf16] {
        let used = spans().any(|span| span.flops > 0 && span.arithmetic == arithmetic);
        if used && machine.peak(1, arithmetic).is_infinite() {
            let name = arithmetic.name();
            found.push(format!(
                "the {name} peak was not measured: floors are too low; run carnot machine --refresh"
            ));
        }
    }
    found
}

fn floors_above_time(operations: &[OperationGroup]) -> Vec<String> {
    let excess = |o: &OperationGroup| ratio(o.floor_ns as f64, o.busy_ns as f64) - 1.0;
    let mut wrong: Vec<&OperationGroup> =
        operations.iter().filter(|o| excess(o) > DOUBTFUL).collect();
    wrong.sort_by_key(|operation| operation.busy_ns as i64 - operation.floor_ns as i64);
    let line = |operation: &&OperationGroup| {
        let phase = operation
            .phase
            .as_deref()
            .map(|phase| format!(" in {phase}"))
            .unwrap_or_default();
        let percent = 100.0 * excess(operation);
        format!(
            "floor above measured time for {}{phase} by {percent:.0} %: run carnot machine --refresh",
            operation.name
        )
    };
    let mut found: Vec<String> = wrong.iter().take(MOST_LISTED).map(line).collect();
    if wrong.len() > MOST_LISTED {
        found.push(format!(
            "floor above measured time for {} more",
            wrong.len() - MOST_LISTED
        ));
    }
    found
}

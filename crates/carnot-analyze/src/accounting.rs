//! The loss accounting: wall time, from the floor up.
//!
//! ```text
//! region of an operation   |---- busy (mean of the threads) ----|-- wait --|
//!                          |---- floor ----|----- kernel -------|
//! phase                    [region][engine][region][probe][region][engine]…
//! ```
//!
//! Every nanosecond of a phase is in exactly one of floor, kernel, wait, engine and probe, so they sum to its wall time.
//! Recompute, queue and transport join when there is something that causes them.

use std::collections::HashMap;

use carnot_record::Trace;
use serde::Serialize;

use crate::{execution::Scope, notes, operations::family, statistics::ratio};

/// Wall time, from the floor up.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Accounting {
    /// The time that is accounted for.
    pub wall_ns: u64,
    /// The least time that the operations can take on this machine.
    pub floor_ns: u64,
    /// The rest; `floor_ns` and these sum to `wall_ns`. Kernels first, the larger first within a kind.
    pub losses: Vec<Loss>,
}

/// One row of the loss table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Loss {
    /// What kind of loss.
    pub kind: LossKind,
    /// What caused it: the family of operations or the engine span; empty where the kind says all.
    pub name: String,
    /// How long. Negative only where a floor is above the measured time.
    pub ns: i64,
    /// `ns` over the wall time.
    pub share: f64,
    /// How many operations, waits or spans it comes from.
    pub count: u64,
    /// One remark for the reader.
    pub note: String,
}

/// The kinds of loss, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// An operation's time over its floor.
    Kernel,
    /// Threads waiting for each other.
    Wait,
    /// Between operations.
    Engine,
    /// What measuring cost.
    Probe,
}

impl LossKind {
    /// The name as it is written in records and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Wait => "wait",
            Self::Engine => "engine",
            Self::Probe => "probe",
        }
    }
}

impl Loss {
    /// `kernel/matmul q8_0`, `engine/sampling`, `wait`, `probe`.
    pub fn path(&self) -> String {
        match self.name.as_str() {
            "" => self.kind.name().to_owned(),
            name => format!("{}/{name}", self.kind.name()),
        }
    }
}

impl Accounting {
    pub(crate) fn of(trace: &Trace, scopes: &[&Scope]) -> Self {
        let wall_ns = scopes.iter().map(|scope| scope.wall_ns()).sum();
        let executions = || scopes.iter().flat_map(|scope| &scope.executions);
        let floor_ns = executions().map(|execution| execution.floor_ns).sum();
        let mut losses = kernels(trace, scopes);
        losses.push(wait(scopes));
        losses.extend(engine(scopes));
        losses.push(probe(trace, scopes));
        losses.retain(|loss| loss.ns != 0);
        for loss in &mut losses {
            loss.share = ratio(loss.ns as f64, wall_ns as f64);
        }
        losses.sort_by(|a, b| (a.kind, -a.ns, &a.name).cmp(&(b.kind, -b.ns, &b.name)));
        Self {
            wall_ns,
            floor_ns,
            losses,
        }
    }

    /// Floor over wall time; 0 when there is no time.
    pub fn efficiency(&self) -> f64 {
        ratio(self.floor_ns as f64, self.wall_ns as f64)
    }

    /// All losses of one kind together.
    pub fn loss_ns(&self, kind: LossKind) -> i64 {
        self.losses
            .iter()
            .filter(|loss| loss.kind == kind)
            .map(|loss| loss.ns)
            .sum()
    }
}

fn kernels(trace: &Trace, scopes: &[&Scope]) -> Vec<Loss> {
    let mut families: HashMap<&str, notes::Kernel> = HashMap::new();
    for execution in scopes.iter().flat_map(|scope| &scope.executions) {
        let span = &trace.spans[execution.span as usize];
        families
            .entry(family(&trace.site(span).name))
            .or_default()
            .add(span, execution);
    }
    let row = |(name, kernel): (&str, notes::Kernel)| Loss {
        ns: kernel.busy_ns as i64 - kernel.floor_ns as i64,
        count: kernel.count,
        note: kernel.note(),
        ..Loss::new(LossKind::Kernel, name)
    };
    families.into_iter().map(row).collect()
}

fn wait(scopes: &[&Scope]) -> Loss {
    let executions = || scopes.iter().flat_map(|scope| &scope.executions);
    let waited: u64 = executions().map(|e| e.region_ns - e.busy_ns()).sum();
    let stray: u64 = scopes.iter().map(|scope| scope.stray_wait_ns).sum();
    let ns = (waited + stray) as i64;
    let count = executions().filter(|execution| execution.waited).count() as u64;
    let steps = scopes.iter().map(|scope| scope.steps.len() as u64).sum();
    Loss {
        ns,
        count,
        note: notes::wait(ns, count, steps),
        ..Loss::new(LossKind::Wait, "")
    }
}

fn engine(scopes: &[&Scope]) -> Vec<Loss> {
    let mut rows: HashMap<&str, (u64, u64)> = HashMap::new();
    for (name, (ns, count)) in scopes.iter().flat_map(|scope| &scope.engine) {
        let row = rows.entry(name).or_default();
        row.0 += ns;
        row.1 += count;
    }
    let row = |(name, (ns, count)): (&str, (u64, u64))| Loss {
        ns: ns as i64,
        count,
        note: notes::engine(ns, count),
        ..Loss::new(LossKind::Engine, name)
    };
    rows.into_iter().map(row).collect()
}

fn probe(trace: &Trace, scopes: &[&Scope]) -> Loss {
    let ns = scopes.iter().map(|scope| scope.probe_ns as i64).sum();
    let count = trace.cost.events;
    Loss {
        ns,
        count,
        note: notes::probe(trace),
        ..Loss::new(LossKind::Probe, "")
    }
}

impl Loss {
    fn new(kind: LossKind, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            ns: 0,
            share: 0.0,
            count: 0,
            note: String::new(),
        }
    }
}

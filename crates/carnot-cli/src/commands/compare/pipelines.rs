//! Two traces of a pipeline compared: the times of its prompts, chunks, blocks and steps, and of what lies within them.
//!
//! `carnot profile versus` tells what a component costs, by the same times; this decides whether one run is worse than the other, as it is decided of models' traces.

use std::collections::{BTreeMap, BTreeSet};

use carnot_analyze::pipeline::{Iterations, PipelineAnalysis};
use carnot_bench::{OperationTimes, batch_medians};
use carnot_record::{BenchRecord, Better, LossSamples, MachineSummary, Metric};

use super::traces::Told;

/// What takes less of the iterations of both runs has no row of its own.
const LEAST_SHARE: f64 = 0.01;

/// Both traces, or what they have and should have in common.
pub fn told(was: &PipelineAnalysis, is: &PipelineAnalysis) -> anyhow::Result<(Told, Told)> {
    let (of_was, of_is) = (executions(was), executions(is));
    let common: BTreeSet<&String> = of_was
        .keys()
        .filter(|name| of_is.contains_key(*name))
        .collect();
    anyhow::ensure!(
        !common.is_empty(),
        "expected prompts, chunks, blocks or steps of one name in both traces, found {} and {}",
        names(was),
        names(is)
    );
    // What most is known of comes first: it decides where nothing is worse.
    let mut order: Vec<&String> = common.into_iter().collect();
    order.sort_by_key(|name| {
        let least = of_was[*name].ns.len().min(of_is[*name].ns.len());
        (of_was[*name].is_part, std::cmp::Reverse(least))
    });
    let relevant = |name: &&String| of_was[*name].share.max(of_is[*name].share) >= LEAST_SHARE;
    let order: Vec<&String> = order.into_iter().filter(relevant).collect();
    Ok((record(was, &of_was, &order), record(is, &of_is, &order)))
}

/// The times of what has a row of its own.
struct Executions {
    /// In nanoseconds.
    ns: Vec<f64>,
    /// Whether it lies within an iteration.
    is_part: bool,
    /// Of all that the iterations take.
    share: f64,
}

/// By the names of their rows: `block`, and `block: memory_bank` for what lies within.
fn executions(of: &PipelineAnalysis) -> BTreeMap<String, Executions> {
    let mut found = BTreeMap::new();
    for iterations in &of.iterations {
        let whole: f64 = iterations.rows.iter().map(|row| row.ns as f64).sum();
        let mut parts: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (part, ns) in iterations.rows.iter().flat_map(|row| &row.components) {
            parts.entry(part).or_default().push(*ns as f64);
        }
        let parts = parts.into_iter().map(|(part, ns)| {
            let executions = Executions {
                is_part: true,
                share: ns.iter().sum::<f64>() / whole.max(1.0),
                ns,
            };
            (format!("{}: {part}", iterations.name), executions)
        });
        found.extend(parts);
        let all = Executions {
            ns: iterations.rows.iter().map(|row| row.ns as f64).collect(),
            is_part: false,
            share: 1.0,
        };
        found.insert(iterations.name.clone(), all);
    }
    found
}

fn names(of: &PipelineAnalysis) -> String {
    let names = |of: &Iterations| of.name.clone();
    let names: Vec<String> = of.iterations.iter().map(names).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn record(of: &PipelineAnalysis, all: &BTreeMap<String, Executions>, order: &[&String]) -> Told {
    let seconds = |name: &str| -> Vec<f64> { all[name].ns.iter().map(|ns| ns / 1e9).collect() };
    let metrics = order.iter().map(|name| {
        let seconds = seconds(name);
        Metric::repeated(name, "s", Better::Lower, batch_medians(&seconds))
    });
    let has_ceilings = of
        .losses
        .iter()
        .any(|loss| loss.name == "floor" && loss.ns > 0);
    let losses = of.losses.iter();
    // Without ceilings there is no floor, and none is invented.
    let losses = losses.filter(|loss| has_ceilings || loss.name != "floor");
    let losses = losses.map(|loss| LossSamples {
        name: loss.name.clone(),
        ns: vec![loss.ns as f64],
    });
    Told {
        record: BenchRecord {
            suite: "pipeline".to_owned(),
            machine: machine(of),
            conditions: conditions(of),
            metrics: metrics.collect(),
            losses: losses.collect(),
            warnings: of.warnings.clone(),
            ..BenchRecord::default()
        },
        operations: stages(of),
        executions: order
            .iter()
            .map(|name| ((*name).clone(), seconds(name)))
            .collect(),
        has_ceilings,
    }
}

fn machine(of: &PipelineAnalysis) -> MachineSummary {
    let known = of.session.machine.as_ref();
    MachineSummary {
        cpu: known.map_or_else(
            || "not told".to_owned(),
            |machine| machine.cpu.model.clone(),
        ),
        threads: known.map_or(0, |machine| machine.threads),
        ..MachineSummary::default()
    }
}

/// What makes iterations of one name something else.
fn conditions(of: &PipelineAnalysis) -> BTreeMap<String, String> {
    let ranks = of.session.rank.map_or(1, |rank| rank.world_size);
    BTreeMap::from([
        ("ranks".to_owned(), ranks.to_string()),
        ("unit".to_owned(), of.session.unit.clone()),
    ])
}

fn stages(of: &PipelineAnalysis) -> BTreeMap<String, OperationTimes> {
    let stages = of.stages.iter();
    stages
        .map(|stage| {
            let times = OperationTimes {
                count: stage.time.count,
                median_ns: Some(stage.time.p50_ns as f64),
                total_ns: stage.time.total_ns as f64,
                self_ns: stage.self_ns as f64,
            };
            (stage.name.clone(), times)
        })
        .collect()
}

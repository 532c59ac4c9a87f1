//! Of a tensor model: what ran it on what, how long runs took that nobody looked at, and its nodes by operator, by module, one by one.

use carnot_analyze::{Analysis, NodeGroup, NodeRow, NodeSums, TensorAnalysis, TensorRun};

use super::{Colour, WIDTH};
use crate::{
    table::{Align::Left, Align::Right, Column, cut, row, wrap},
    units,
};

const TOP_MODULES: usize = 12;
const TOP_NODES: usize = 12;

/// Everything there is to say of them, section by section.
pub(super) fn sections(analysis: &Analysis, colour: Colour) -> Vec<Vec<String>> {
    let (Some(run), Some(found)) = (&analysis.run.tensors, &analysis.tensors) else {
        return Vec::new();
    };
    vec![
        groups("operator", &found.operators, usize::MAX, colour),
        modules(found, colour),
        nodes(found, run, colour),
    ]
}

/// What ran it on what, and runs that nothing was recorded of.
pub(super) fn about(analysis: &Analysis) -> Vec<String> {
    let (Some(run), Some(found)) = (&analysis.run.tensors, &analysis.tensors) else {
        return Vec::new();
    };
    let inputs = run.inputs.iter().map(|input| {
        let sizes: Vec<String> = input.shape.iter().map(ToString::to_string).collect();
        format!(
            "{} {} {} {}",
            input.name,
            input.data_type,
            sizes.join("×"),
            input.values
        )
    });
    // Where it was looked for in vain is told at length; for people the beginning will do.
    let reason = run.reason.split("; searched").next().unwrap_or_default();
    let mut lines = said("engine", &format!("{}: {reason}", run.engine));
    lines.extend(said("inputs", &inputs.collect::<Vec<_>>().join(" · ")));
    if !run.assumed.is_empty() {
        let assumed = format!("{}; --inputs gives others", run.assumed.join(", "));
        lines.extend(said("assumed", &assumed));
    }
    lines.extend(said("a run", &times(run, found)));
    lines.extend(uncounted(run));
    if !run.is_timed_by_node {
        lines.extend(said(
            "nodes",
            "this engine times only the whole; below are floors of nodes, computed, for one run each. ONNX Runtime times every node",
        ));
    }
    lines
}

fn times(run: &TensorRun, found: &TensorAnalysis) -> String {
    let runs = &found.runs;
    let time = |ns: u64| units::duration(ns as f64);
    let recorded = if run.is_timed_by_node {
        ", not recorded"
    } else {
        ""
    };
    format!(
        "p50 {} · p90 {} · p99 {} · {} to {} · std/mean {:.2} of {} runs{recorded}",
        time(runs.p50_ns),
        time(runs.p90_ns),
        time(runs.p99_ns),
        time(runs.min_ns),
        time(runs.max_ns),
        runs.variation(),
        runs.count,
    )
}

/// Operators of whose work nothing is known.
fn uncounted(run: &TensorRun) -> Vec<String> {
    if run.uncounted.is_empty() {
        return Vec::new();
    }
    let row = |(operator, count): (&String, &usize)| format!("{operator} ({count})");
    let names: Vec<String> = run.uncounted.iter().map(row).collect();
    let text = format!(
        "{}: what these have to do is not known, and their floor is 0",
        names.join(", ")
    );
    said("uncounted", &text)
}

fn said(what: &str, text: &str) -> Vec<String> {
    let lines = wrap(text, WIDTH - 17).into_iter().enumerate();
    lines
        .map(|(index, line)| {
            let label = if index == 0 { what } else { "" };
            format!("{label:<15}  {line}").trim_end().to_owned()
        })
        .collect()
}

const GROUP: [Column; 9] = [
    (Left, 26),
    (Right, 6),
    (Right, 8),
    (Right, 9),
    (Right, 7),
    (Right, 9),
    (Right, 6),
    (Right, 5),
    (Left, 8),
];

fn groups(what: &str, all: &[NodeGroup], most: usize, colour: Colour) -> Vec<String> {
    if all.is_empty() {
        return Vec::new();
    }
    let titles = [
        what, "nodes", "runs", "time", "share", "floor", "GOP/s", "limit", "bound",
    ];
    let mut lines = vec![colour.dim(&row(&GROUP, &titles))];
    for group in all.iter().take(most) {
        let name = if group.name.is_empty() {
            "(no module)"
        } else {
            &group.name
        };
        let cells = Cells::of(&group.sums);
        lines.push(row(
            &GROUP,
            &[
                name,
                &units::count(group.nodes),
                &cells.count,
                &cells.time,
                &cells.share,
                &cells.floor,
                &cells.rate,
                &cells.limit,
                &cells.bound,
            ],
        ));
    }
    lines.extend(rest(all.iter().map(|group| &group.sums), most, colour));
    lines
}

/// Nothing where nodes are named by no module: the table would have one row.
fn modules(found: &TensorAnalysis, colour: Colour) -> Vec<String> {
    if found.modules.len() < 2 {
        return Vec::new();
    }
    groups("module", &found.modules, TOP_MODULES, colour)
}

fn nodes(found: &TensorAnalysis, run: &TensorRun, colour: Colour) -> Vec<String> {
    const COLUMNS: [Column; 7] = [
        (Left, 15),
        (Left, 29),
        (Right, 9),
        (Right, 7),
        (Right, 9),
        (Right, 5),
        (Left, 8),
    ];
    if found.nodes.is_empty() {
        return Vec::new();
    }
    let time = if run.is_timed_by_node { "p50" } else { "" };
    let titles = ["operator", "node", time, "share", "floor", "limit", "bound"];
    let mut lines = vec![colour.dim(&row(&COLUMNS, &titles))];
    for node in found.nodes.iter().take(TOP_NODES) {
        let cells = Cells::of(&node.sums);
        let p50 = timed(&node.sums, || units::duration(node.p50_ns as f64));
        let each = node.sums.floor_ns / node.sums.count.max(1);
        let floor = units::duration(each as f64);
        lines.push(row(
            &COLUMNS,
            &[
                &node.operator,
                &node.name,
                &p50,
                &cells.share,
                if node.is_counted { &floor } else { "unknown" },
                &cells.limit,
                &cells.bound,
            ],
        ));
        lines.push(colour.dim(&shapes(node)));
    }
    lines.extend(rest(
        found.nodes.iter().map(|node| &node.sums),
        TOP_NODES,
        colour,
    ));
    lines
}

fn shapes(node: &NodeRow) -> String {
    let arrow = format!("{} → {}", node.inputs, node.outputs);
    format!("{:17}{}", "", cut(&arrow, WIDTH - 17))
}

/// How many are left out, and what they take.
fn rest<'a>(
    all: impl Iterator<Item = &'a NodeSums>,
    most: usize,
    colour: Colour,
) -> Option<String> {
    let rest: Vec<&NodeSums> = all.skip(most).collect();
    let share: f64 = rest.iter().map(|sums| sums.share).sum();
    let together = if share > 0.0 {
        format!(", {} together", units::percent(share))
    } else {
        String::new()
    };
    let text = format!("… {} more{together}", rest.len());
    (!rest.is_empty()).then(|| colour.dim(&text))
}

struct Cells {
    count: String,
    time: String,
    share: String,
    floor: String,
    rate: String,
    limit: String,
    bound: String,
}

impl Cells {
    fn of(sums: &NodeSums) -> Self {
        let rate = sums.flops as f64 / sums.total_ns.max(1) as f64;
        Self {
            count: timed(sums, || units::count(sums.count)),
            time: timed(sums, || units::duration(sums.total_ns as f64)),
            share: timed(sums, || units::percent(sums.share)),
            floor: units::duration(sums.floor_ns as f64),
            rate: timed(sums, || units::digits(rate)),
            limit: timed(sums, || units::whole_percent(sums.efficiency())),
            bound: sums.bound().name().to_owned(),
        }
    }
}

/// Nothing where there is no time.
fn timed(sums: &NodeSums, text: impl Fn() -> String) -> String {
    if sums.count == 0 {
        String::new()
    } else {
        text()
    }
}

//! The report as Markdown, for a merge request or a note.

use std::fmt::Write as _;

use carnot_analyze::{
    Analysis, Loss, NodeGroup, NodeRow, NodeSums, OperationGroup, Phase, TensorAnalysis,
};

use crate::units;

const TOP_OPERATIONS: usize = 15;

/// The report.
pub fn render(analysis: &Analysis) -> String {
    let total = &analysis.total;
    let model = &analysis.run.model;
    let mut text = format!(
        "# carnot profile: {}\n\nwall **{}** · floor **{}** · efficiency **{}** · {} · {} threads\n",
        escaped(&model.name),
        units::duration(total.wall_ns as f64),
        units::duration(total.floor_ns as f64),
        units::whole_percent(total.efficiency()),
        escaped(&analysis.ceilings.cpu),
        analysis.run.threads,
    );
    table(
        &mut text,
        "Phases",
        PHASES,
        analysis.phases.iter().map(phase),
    );
    table(
        &mut text,
        "Where the time went",
        LOSSES,
        floor(analysis).chain(total.losses.iter().map(loss)),
    );
    let top = analysis.operations_by_phase.iter().take(TOP_OPERATIONS);
    match &analysis.tensors {
        None => table(&mut text, "Operations", OPERATIONS, top.map(operation)),
        Some(found) => tensors(&mut text, found),
    }
    lists(&mut text, analysis);
    text
}

fn tensors(text: &mut String, found: &TensorAnalysis) {
    let nodes = found.nodes.iter().take(TOP_OPERATIONS);
    table(text, "Operators", GROUPS, found.operators.iter().map(group));
    table(text, "Modules", GROUPS, found.modules.iter().map(group));
    table(text, "Slowest nodes", NODES, nodes.map(node));
}

const PHASES: [&str; 6] = [
    "phase",
    "tokens:",
    "time:",
    "rate:",
    "limit:",
    "efficiency:",
];
const LOSSES: [&str; 5] = ["loss", "cause", "time:", "share:", "remark"];
const OPERATIONS: [&str; 9] = [
    "operation",
    "phase",
    "count:",
    "time:",
    "share:",
    "bytes:",
    "arithmetic:",
    "of limit:",
    "bound",
];

const GROUPS: [&str; 7] = [
    "name",
    "nodes:",
    "time:",
    "share:",
    "floor:",
    "of limit:",
    "bound",
];
const NODES: [&str; 8] = [
    "node",
    "operator",
    "shapes",
    "time:",
    "share:",
    "floor:",
    "of limit:",
    "bound",
];

/// A table; a title that ends in a colon heads a column that is aligned to the right.
fn table<const N: usize>(
    text: &mut String,
    title: &str,
    columns: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let rows: Vec<String> = rows
        .map(|row| format!("| {} |\n", row.join(" | ")))
        .collect();
    if rows.is_empty() {
        return;
    }
    let titles = columns.map(|column| column.trim_end_matches(':'));
    let aligned = columns.map(|column| if column.ends_with(':') { "---:" } else { "---" });
    let (titles, aligned) = (titles.join(" | "), aligned.join(" | "));
    let _ = write!(
        text,
        "\n## {title}\n\n| {titles} |\n| {aligned} |\n{}",
        rows.concat()
    );
}

fn phase(phase: &Phase) -> [String; 6] {
    let rate = |rate: f64| {
        if rate > 0.0 {
            units::tokens_per_s(rate)
        } else {
            "–".to_owned()
        }
    };
    [
        escaped(&phase.name),
        units::count(phase.tokens),
        units::duration(phase.accounting.wall_ns as f64),
        rate(phase.tokens_per_s()),
        rate(phase.limit_tokens_per_s()),
        if phase.counted {
            units::whole_percent(phase.accounting.efficiency())
        } else {
            "not counted".to_owned()
        },
    ]
}

fn floor(analysis: &Analysis) -> impl Iterator<Item = [String; 5]> {
    let time = units::duration(analysis.total.floor_ns as f64);
    let share = units::percent(analysis.total.efficiency());
    std::iter::once([
        "**floor**".to_owned(),
        String::new(),
        time,
        share,
        String::new(),
    ])
}

fn loss(loss: &Loss) -> [String; 5] {
    [
        loss.kind.name().to_owned(),
        escaped(&loss.name),
        units::duration(loss.ns as f64),
        units::percent(loss.share),
        escaped(&loss.note),
    ]
}

fn operation(operation: &OperationGroup) -> [String; 9] {
    [
        escaped(&operation.name),
        escaped(operation.phase.as_deref().unwrap_or_default()),
        units::count(operation.times.count),
        units::duration(operation.total_ns() as f64),
        units::percent(operation.share),
        units::bytes_per_s(operation.bytes_per_s()),
        units::operations_per_s(operation.flops_per_s()),
        units::whole_percent(operation.efficiency),
        operation.bound.name().to_owned(),
    ]
}

fn group(group: &NodeGroup) -> [String; 7] {
    let [time, share, floor, limit, bound] = sums(&group.sums);
    [
        escaped(&group.name),
        units::count(group.nodes),
        time,
        share,
        floor,
        limit,
        bound,
    ]
}

fn node(node: &NodeRow) -> [String; 8] {
    let [time, share, floor, limit, bound] = sums(&node.sums);
    [
        escaped(&node.name),
        escaped(&node.operator),
        escaped(&format!("{} → {}", node.inputs, node.outputs)),
        time,
        share,
        if node.is_counted {
            floor
        } else {
            "unknown".to_owned()
        },
        limit,
        bound,
    ]
}

/// Time, share, floor, its part of the time, bound; a dash where nothing was timed.
fn sums(sums: &NodeSums) -> [String; 5] {
    let timed = |text: String| {
        if sums.count == 0 {
            "–".to_owned()
        } else {
            text
        }
    };
    [
        timed(units::duration(sums.total_ns as f64)),
        timed(units::percent(sums.share)),
        units::duration(sums.floor_ns as f64),
        timed(units::whole_percent(sums.efficiency())),
        sums.bound().name().to_owned(),
    ]
}

fn lists(text: &mut String, analysis: &Analysis) {
    if !analysis.bottlenecks.is_empty() {
        text.push_str("\n## Bottlenecks\n\n");
    }
    for found in &analysis.bottlenecks {
        let _ = writeln!(
            text,
            "- **{}** {} ({} of the wall, at most {:.2}× faster without it): {}",
            found.severity.name(),
            escaped(&found.name),
            units::percent(found.share),
            found.speedup_at_limit,
            escaped(&found.advice),
        );
    }
    if !analysis.warnings.is_empty() {
        text.push_str("\n## Warnings\n\n");
    }
    for warning in &analysis.warnings {
        let _ = writeln!(text, "- {}", escaped(warning));
    }
}

/// Text in which nothing is markup: neither Markdown's nor HTML's.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' | '~' => safe.extend(['\\', character]),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn names_are_not_markup() {
        assert_eq!(escaped("a|b</script>\n*c*"), "a\\|b&lt;/script> \\*c\\*");
    }
}

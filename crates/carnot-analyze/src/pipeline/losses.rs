//! The wall of a pipeline from its floor up: what its layers could not do faster on this machine, and where the rest went.

use carnot_record::{Session, SpanKind};
use serde::Serialize;

use super::nesting::{Children, Node};
use super::stages::Names;
use crate::statistics::ratio;

/// A row: the floor, or a loss. All rows add up to the wall, in whole nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PipelineLoss {
    /// `floor`, `layers`, `wait`, `stage/NAME`, `outside`, `probe`.
    pub name: String,
    /// How long. Negative only where spans overlap that cannot.
    pub ns: i64,
    /// Of the wall.
    pub share: f64,
}

/// Sums over the main thread.
#[derive(Default)]
struct Sums {
    floor: u64,
    layers: u64,
    wait: u64,
    stages: Vec<(String, u64)>,
    spans: u64,
}

pub(super) fn losses(
    names: &Names<'_>,
    roots: &Children,
    wall_ns: u64,
    session: &Session,
) -> Vec<PipelineLoss> {
    let mut sums = Sums::default();
    walk(names, roots, "", &mut sums);
    let mut rows = vec![
        ("floor".to_owned(), sums.floor as i64),
        ("layers above it".to_owned(), sums.layers as i64),
    ];
    rows.push(("wait".to_owned(), sums.wait as i64));
    sums.stages.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
    rows.extend(
        sums.stages
            .into_iter()
            .map(|(name, ns)| (format!("stage/{name}"), ns as i64)),
    );
    let told: i64 = rows.iter().map(|(_, ns)| *ns).sum();
    let outside = wall_ns as i64 - told;
    // What recording cost lies in whatever was recorded; it is taken from the largest that is not the floor.
    let probe = (session.cost.span_ns * sums.spans as f64) as i64;
    let probe = match rows[1..].iter_mut().max_by_key(|(_, ns)| *ns) {
        Some((_, largest)) => {
            let probe = probe.min(*largest);
            *largest -= probe;
            probe
        }
        None => 0,
    };
    rows.push(("outside of spans".to_owned(), outside));
    rows.push(("probe".to_owned(), probe));
    let rows = rows
        .into_iter()
        .filter(|(name, ns)| *ns != 0 || name == "floor");
    rows.map(|(name, ns)| PipelineLoss {
        name,
        ns,
        share: ratio(ns as f64, wall_ns as f64),
    })
    .collect()
}

fn walk(names: &Names<'_>, children: &Children, stage: &str, sums: &mut Sums) {
    for (group, node) in children.iter() {
        sums.spans += node.count;
        let name = names.name(group);
        match names.kind(group) {
            SpanKind::Wait => {
                sums.wait += node.self_ns;
                walk(names, &node.children, stage, sums);
            }
            SpanKind::Layer | SpanKind::Operation => {
                // The whole of it is the model's: its floor is what it says, or what lies within says.
                let floor = floor_of(node).min(node.total_ns);
                sums.floor += floor;
                sums.layers += node.total_ns - floor;
                sums.spans += count(&node.children);
            }
            kind => {
                let stage = if matches!(kind, SpanKind::Stage | SpanKind::Phase) || stage.is_empty()
                {
                    name
                } else {
                    stage
                };
                // A stage may say what work it is, where it has no layers that do.
                let floor = if within_has_floor(&node.children) {
                    0
                } else {
                    node.floor_ns.min(node.self_ns)
                };
                sums.floor += floor;
                let own = node.self_ns - floor;
                match sums.stages.iter_mut().find(|(known, _)| known == stage) {
                    Some((_, ns)) => *ns += own,
                    None => sums.stages.push((stage.to_owned(), own)),
                }
                walk(names, &node.children, stage, sums);
            }
        }
    }
}

fn floor_of(node: &Node) -> u64 {
    let within: u64 = node.children.iter().map(|(_, child)| floor_of(child)).sum();
    node.floor_ns.max(within)
}

fn within_has_floor(children: &Children) -> bool {
    children.iter().any(|(_, child)| floor_of(child) > 0)
}

fn count(children: &Children) -> u64 {
    children
        .iter()
        .map(|(_, node)| node.count + count(&node.children))
        .sum()
}

//! Stages: how long each took in all and by itself, and the sections of a pipeline's report.
//!
//! The wall of a session is the time from its first span to its last. On the main thread, the one with the most time in spans,
//! stages that lie in no other stage and what lies outside of them add up to it; what other threads did meanwhile stands beside.

use std::collections::{BTreeMap, VecDeque};

use carnot_record::SpanKind;
use serde::Serialize;

use super::Group;
use super::histogram::{Histogram, Spread};
use super::nesting::{Children, Node};
use crate::statistics::ratio;

/// A name with its kind, and all spans of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// The name.
    pub name: String,
    /// What its spans are.
    pub kind: SpanKind,
    /// How long each took.
    pub time: Spread,
    /// The total without what lies within.
    pub self_ns: u64,
    /// `self_ns` over the wall.
    pub self_share: f64,
    /// The total over the wall; of a name that lies within itself, the outer ones alone.
    pub share: f64,
    /// What came of it, in the unit of the session.
    pub items: u64,
    /// `items` over the total.
    pub items_per_s: f64,
    /// Operations that it said it did.
    pub flops: u64,
    /// The least time that these, and the bytes that it moved, take on this machine; 0 where nobody knows.
    pub floor_ns: u64,
}

/// What ran under one path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageNode {
    /// The name.
    pub name: String,
    /// What its spans are.
    pub kind: SpanKind,
    /// How often it ran.
    pub count: u64,
    /// Its time.
    pub total_ns: u64,
    /// Its time without what lies within.
    pub self_ns: u64,
    /// The total over that of what it lies in, or over the wall. Those of one parent and its own add up to 1.
    pub share_of_parent: f64,
    /// What lies within, the longest first.
    pub children: Vec<StageNode>,
}

/// A line of a section: a part and its share of the whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// What it is.
    pub name: String,
    /// How long.
    pub ns: u64,
    /// Of the whole.
    pub share: f64,
}

/// What a stage consists of: the stages within it, and the rest, which add up to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Components {
    /// The stage.
    pub stage: String,
    /// Its time.
    pub ns: u64,
    /// The stages within it that lie in no other within it.
    pub parts: Vec<Part>,
    /// The stage without them.
    pub pure: Part,
}

/// One prompt, chunk, block or step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Iteration {
    /// Its number, where it has one.
    pub index: Option<u32>,
    /// When it began.
    pub start_ns: u64,
    /// How long it took.
    pub ns: u64,
    /// What came of it.
    pub items: u64,
    /// Stages within it.
    pub components: Vec<(String, u64)>,
}

/// All iterations of one name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Iterations {
    /// The name.
    pub name: String,
    /// Whether prompts, chunks, blocks or steps.
    pub kind: SpanKind,
    /// How long each took.
    pub time: Spread,
    /// Items of all of them.
    pub items: u64,
    /// The stage that they lie in, and its time.
    pub within: Option<(String, u64)>,
    /// Those that are kept: all, or the first and the last.
    pub rows: Vec<Iteration>,
    /// How many are not among `rows`, after the first half of them.
    pub left_out: u64,
}

/// Iterations as they come: the first half of what may be kept, and the last.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub first: Vec<Row>,
    pub last: VecDeque<Row>,
    pub left_out: u64,
    pub items: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub index: Option<u32>,
    pub start_ns: u64,
    pub ns: u64,
    pub items: u64,
    pub components: Vec<(Group, u64)>,
}

impl Rows {
    pub fn add(&mut self, row: Row, most: usize) {
        self.items += row.items;
        if self.first.len() < most.div_ceil(2) {
            self.first.push(row);
            return;
        }
        if self.last.len() >= most / 2 {
            self.last.pop_front();
            self.left_out += 1;
        }
        self.last.push_back(row);
    }
}

/// Whether spans of this kind are stages of the report.
pub(super) fn is_stage(kind: SpanKind) -> bool {
    matches!(kind, SpanKind::Stage | SpanKind::Phase)
}

/// Whether spans of this kind are rounds of the pipeline itself.
fn is_iteration(kind: SpanKind) -> bool {
    matches!(
        kind,
        SpanKind::Prompt | SpanKind::Chunk | SpanKind::Block | SpanKind::Other
    )
}

/// Names of groups.
pub(super) struct Names<'a>(pub &'a [(String, SpanKind)]);

impl Names<'_> {
    pub fn name(&self, group: Group) -> &str {
        &self.0[group as usize].0
    }

    pub fn kind(&self, group: Group) -> SpanKind {
        self.0[group as usize].1
    }

    /// The stages among `children` that lie in no other among them, through whatever is no stage; each with what ran there.
    pub fn topmost<'a>(&self, children: &'a Children, found: &mut Vec<(Group, &'a Node)>) {
        for (group, node) in children.iter() {
            if is_stage(self.kind(group)) {
                found.push((group, node));
            } else {
                self.topmost(&node.children, found);
            }
        }
    }

    /// Times of the topmost stages, one entry for each name.
    pub fn components(&self, children: &Children) -> Vec<(Group, u64)> {
        let mut found = Vec::new();
        self.topmost(children, &mut found);
        let mut sums: Vec<(Group, u64)> = Vec::new();
        for (group, node) in found {
            match sums.iter_mut().find(|(known, _)| *known == group) {
                Some((_, ns)) => *ns += node.total_ns,
                None => sums.push((group, node.total_ns)),
            }
        }
        sums
    }

    pub fn tree(&self, children: &Children, of_ns: u64) -> Vec<StageNode> {
        let mut nodes: Vec<StageNode> = children
            .iter()
            .map(|(group, node)| StageNode {
                name: self.name(group).to_owned(),
                kind: self.kind(group),
                count: node.count,
                total_ns: node.total_ns,
                self_ns: node.self_ns,
                share_of_parent: ratio(node.total_ns as f64, of_ns as f64),
                children: self.tree(&node.children, node.total_ns),
            })
            .collect();
        nodes.sort_by(|a, b| {
            b.total_ns
                .cmp(&a.total_ns)
                .then_with(|| a.name.cmp(&b.name))
        });
        nodes
    }

    fn parts(&self, sums: Vec<(Group, u64)>, whole_ns: u64) -> Vec<Part> {
        let mut parts: Vec<Part> = sums
            .into_iter()
            .map(|(group, ns)| part(self.name(group), ns, whole_ns))
            .collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.ns));
        parts
    }

    /// What came of all of it, each item counted once: by the outermost span that counts any. What a language model within the
    /// pipeline counts are tokens, and items only where the unit is.
    pub fn items(&self, children: &Children, unit: &str) -> u64 {
        let of = |(group, node): (Group, &Node)| {
            let is_tokens = !is_stage(self.kind(group)) && !is_iteration(self.kind(group));
            if node.items > 0 && (!is_tokens || unit == "tokens") {
                node.items
            } else {
                self.items(&node.children, unit)
            }
        };
        children.iter().map(of).sum()
    }

    /// The first section: topmost stages of the main thread and the rest of the wall.
    pub fn overall(&self, main: &Children, wall_ns: u64) -> Vec<Part> {
        let mut parts = self.parts(self.components(main), wall_ns);
        let staged: u64 = parts.iter().map(|part| part.ns).sum();
        parts.push(part(
            "outside of stages",
            wall_ns.saturating_sub(staged),
            wall_ns,
        ));
        parts
    }

    /// The second: of each topmost stage with stages within.
    pub fn all_components(&self, main: &Children) -> Vec<Components> {
        let mut stages = Vec::new();
        self.topmost(main, &mut stages);
        // The same stage under several paths is one.
        let mut merged = Children::default();
        for (group, node) in stages {
            merged.merge(group, node.clone());
        }
        let mut all: Vec<Components> = merged
            .iter()
            .filter_map(|(group, node)| {
                let parts = self.parts(self.components(&node.children), node.total_ns);
                let within: u64 = parts.iter().map(|part| part.ns).sum();
                let stage = self.name(group).to_owned();
                let rest = node.total_ns.saturating_sub(within);
                (!parts.is_empty()).then(|| Components {
                    pure: part(&format!("pure {stage}"), rest, node.total_ns),
                    stage,
                    ns: node.total_ns,
                    parts,
                })
            })
            .collect();
        all.sort_by_key(|of| std::cmp::Reverse(of.ns));
        all
    }

    /// The stage that most of `wanted` lies in, with its time on all paths.
    pub fn stage_around(&self, wanted: Group, roots: &Children) -> Option<(Group, u64)> {
        let mut found: Vec<(Group, u64, u64)> = Vec::new();
        self.look_for(wanted, roots, None, &mut found);
        let most = found.into_iter().max_by_key(|(_, within, _)| *within)?;
        Some((most.0, most.2))
    }

    fn look_for(
        &self,
        wanted: Group,
        children: &Children,
        around: Option<(Group, u64)>,
        found: &mut Vec<(Group, u64, u64)>,
    ) {
        for (group, node) in children.iter() {
            if group == wanted {
                if let Some((stage, ns)) = around {
                    match found.iter_mut().find(|(known, ..)| *known == stage) {
                        Some((_, within, total)) => {
                            (*within, *total) = (*within + node.total_ns, *total + ns);
                        }
                        None => found.push((stage, node.total_ns, ns)),
                    }
                }
                continue;
            }
            let around = if is_stage(self.kind(group)) {
                Some((group, node.total_ns))
            } else {
                around
            };
            self.look_for(wanted, &node.children, around, found);
        }
    }

    /// Totals of each group by itself: its own time everywhere, and its time where it lies in none of its name.
    pub fn flat(&self, roots: &Children) -> Vec<(u64, u64, Node)> {
        let mut flat = vec![(0, 0, Node::default()); self.0.len()];
        let mut path = Vec::new();
        flatten(roots, &mut path, &mut flat);
        flat
    }
}

fn flatten(children: &Children, path: &mut Vec<Group>, flat: &mut [(u64, u64, Node)]) {
    for (group, node) in children.iter() {
        let (self_ns, outer_ns, all) = &mut flat[group as usize];
        *self_ns += node.self_ns;
        if !path.contains(&group) {
            *outer_ns += node.total_ns;
        }
        all.items += node.items;
        all.flops = all.flops.saturating_add(node.flops);
        all.floor_ns += node.floor_ns;
        path.push(group);
        flatten(&node.children, path, flat);
        path.pop();
    }
}

fn part(name: &str, ns: u64, whole_ns: u64) -> Part {
    Part {
        name: name.to_owned(),
        ns,
        share: ratio(ns as f64, whole_ns as f64),
    }
}

/// Iterations by name, prompts before chunks, blocks and steps.
pub(super) fn iterations(
    rows: BTreeMap<Group, Rows>,
    times: &[Histogram],
    names: &Names<'_>,
    roots: &Children,
) -> Vec<Iterations> {
    let told = |row: Row| Iteration {
        index: row.index,
        start_ns: row.start_ns,
        ns: row.ns,
        items: row.items,
        components: row
            .components
            .iter()
            .map(|(group, ns)| (names.name(*group).to_owned(), *ns))
            .collect(),
    };
    let mut all: Vec<Iterations> = rows
        .into_iter()
        .map(|(group, rows)| Iterations {
            name: names.name(group).to_owned(),
            kind: names.kind(group),
            time: times[group as usize].spread(),
            items: rows.items,
            within: names
                .stage_around(group, roots)
                .map(|(stage, ns)| (names.name(stage).to_owned(), ns)),
            rows: rows.first.into_iter().chain(rows.last).map(told).collect(),
            left_out: rows.left_out,
        })
        .collect();
    let order = |kind| match kind {
        SpanKind::Prompt => 0,
        SpanKind::Chunk => 1,
        SpanKind::Block => 2,
        _ => 3,
    };
    all.sort_by_key(|of| (order(of.kind), std::cmp::Reverse(of.time.total_ns)));
    all
}

/// All names over all threads, the longest own time first.
pub(super) fn rows<'a>(
    names: &Names<'_>,
    times: &[Histogram],
    threads: impl Iterator<Item = &'a Children>,
    wall_ns: u64,
) -> Vec<Stage> {
    let mut sums = vec![(0, 0, Node::default()); names.0.len()];
    for roots in threads {
        for (sum, (own, outer, node)) in sums.iter_mut().zip(names.flat(roots)) {
            sum.0 += own;
            sum.1 += outer;
            sum.2.items += node.items;
            sum.2.flops = sum.2.flops.saturating_add(node.flops);
            sum.2.floor_ns += node.floor_ns;
        }
    }
    let mut rows: Vec<Stage> = sums
        .into_iter()
        .enumerate()
        .map(|(group, (self_ns, outer_ns, node))| {
            let time = times[group].spread();
            Stage {
                name: names.name(group as Group).to_owned(),
                kind: names.kind(group as Group),
                self_ns,
                self_share: ratio(self_ns as f64, wall_ns as f64),
                share: ratio(outer_ns as f64, wall_ns as f64),
                items: node.items,
                items_per_s: ratio(node.items as f64 * 1e9, time.total_ns as f64),
                flops: node.flops,
                floor_ns: node.floor_ns,
                time,
            }
        })
        .collect();
    rows.sort_by(|a, b| b.self_ns.cmp(&a.self_ns).then_with(|| a.name.cmp(&b.name)));
    rows
}

//! Runs of a tensor model: its nodes by operator, by module and one by one.
//!
//! Where the engine timed each node, the figures are of spans, of all runs together. Where it timed only the whole, nodes have a
//! floor, of one run, and no time.

use std::collections::{BTreeMap, HashMap};

use carnot_record::{
    Arithmetic, MachineProfile, NodeGroupSummary, NodeSummary, RunTimesSummary, Span,
    TensorInputSummary, TensorSummary, UncountedSummary,
};
use serde::Serialize;

use crate::{
    floor::{Bound, Floor},
    operations::OperationGroup,
    statistics::{Distribution, ratio},
};

/// What is known of a run of a tensor model beside its spans.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TensorRun {
    /// What ran it, such as `onnxruntime`.
    pub engine: String,
    /// Why that and no other.
    pub reason: String,
    /// Whether each node was timed, or only the whole.
    pub is_timed_by_node: bool,
    /// What went in.
    pub inputs: Vec<TensorInputSummary>,
    /// What was taken as given though nobody said it.
    pub assumed: Vec<String>,
    /// How long runs took that nothing was recorded of.
    pub plain_ns: Vec<u64>,
    /// The modules that nodes belong to.
    pub modules: Vec<String>,
    /// Every node that ran.
    pub nodes: Vec<NodeInfo>,
    /// Operators of whose work nothing is known, and how many nodes have them.
    pub uncounted: BTreeMap<String, usize>,
}

/// A node that ran, and what it has to do in one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NodeInfo {
    /// The name of its spans.
    pub site: String,
    /// Its own name.
    pub name: String,
    /// Its operator.
    pub operator: String,
    /// The place of its module among [`TensorRun::modules`].
    pub module: u32,
    /// Types and shapes that it takes, as far as they are known: `1×3×224×224`.
    pub inputs: String,
    /// Shapes that it gives.
    pub outputs: String,
    /// Its work; none where it is not known.
    #[serde(skip)]
    pub work: Option<NodeWork>,
}

/// The least that a node has to do in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeWork {
    /// Arithmetic operations.
    pub flops: u64,
    /// Bytes that have to be moved.
    pub bytes: u64,
    /// Where these lie on the bandwidth curve.
    pub working_set_bytes: u64,
    /// What the operations are done in.
    pub arithmetic: Arithmetic,
}

/// Nodes by what they have in common, and one by one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TensorAnalysis {
    /// Runs that nothing was recorded of.
    pub runs: Distribution,
    /// By operator, the longest first.
    pub operators: Vec<NodeGroup>,
    /// By module, the longest first.
    pub modules: Vec<NodeGroup>,
    /// One by one, the longest first.
    pub nodes: Vec<NodeRow>,
}

/// Nodes that have something in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NodeGroup {
    /// The operator or the module.
    pub name: String,
    /// How many nodes.
    pub nodes: u64,
    /// What they took and had to do.
    #[serde(flatten)]
    pub sums: NodeSums,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NodeRow {
    /// Its name.
    pub name: String,
    /// Its operator.
    pub operator: String,
    /// Its module.
    pub module: String,
    /// Shapes that it takes.
    pub inputs: String,
    /// Shapes that it gives.
    pub outputs: String,
    /// Whether its work is known, so that its floor is one.
    pub is_counted: bool,
    /// The median of its runs; 0 where it was not timed.
    pub p50_ns: u64,
    /// What it took and had to do.
    #[serde(flatten)]
    pub sums: NodeSums,
}

/// What nodes took and had to do: in all runs where they were timed, in one where they were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct NodeSums {
    /// How often they ran; 0 where they were not timed.
    pub count: u64,
    /// Their time.
    pub total_ns: u64,
    /// The least time.
    pub floor_ns: u64,
    /// The sides of the floor.
    pub floor: Floor,
    /// Arithmetic operations.
    pub flops: u64,
    /// Bytes that have to be moved.
    pub bytes: u64,
    /// Time over the wall time.
    pub share: f64,
}

impl NodeSums {
    /// Floor over time; 0 where they were not timed.
    pub fn efficiency(&self) -> f64 {
        ratio(self.floor_ns as f64, self.total_ns as f64)
    }

    /// What limits them; without a time, the larger side of the floor.
    pub fn bound(&self) -> Bound {
        match (self.total_ns, self.floor_ns) {
            (_, 0) => Bound::Overhead,
            (total_ns, _) => self.floor.bound(total_ns),
        }
    }

    /// Time over the floor.
    pub fn lost_ns(&self) -> i64 {
        self.total_ns as i64 - self.floor_ns as i64
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
        self.floor_ns = self.floor_ns.saturating_add(other.floor_ns);
        self.floor.memory_ns += other.floor.memory_ns;
        self.floor.compute_ns += other.floor.compute_ns;
        self.flops = self.flops.saturating_add(other.flops);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.share += other.share;
    }

    fn timed(group: &OperationGroup) -> Self {
        Self {
            count: group.times.count,
            total_ns: group.times.total_ns,
            floor_ns: group.floor_ns,
            floor: group.floor,
            flops: group.flops,
            bytes: group.bytes,
            share: group.share,
        }
    }

    fn computed(work: &NodeWork, machine: &MachineProfile, threads: u32) -> Self {
        let span = Span {
            flops: work.flops,
            bytes: work.bytes,
            working_set_bytes: work.working_set_bytes,
            arithmetic: work.arithmetic,
            ..Span::default()
        };
        let floor = Floor::of(&span, machine, threads);
        Self {
            floor_ns: floor.ns(),
            floor,
            flops: work.flops,
            bytes: work.bytes,
            ..Self::default()
        }
    }
}

/// Puts the nodes of a run together. `operations` are executions by name.
pub(crate) fn tensors(
    run: &TensorRun,
    operations: &[OperationGroup],
    machine: &MachineProfile,
    threads: u32,
) -> TensorAnalysis {
    let timed: HashMap<&str, &OperationGroup> = operations
        .iter()
        .map(|group| (group.name.as_str(), group))
        .collect();
    let row = |node: &NodeInfo| {
        let group = timed.get(node.site.as_str());
        let sums = match (group, &node.work) {
            (Some(group), _) => NodeSums::timed(group),
            (None, Some(work)) => NodeSums::computed(work, machine, threads),
            (None, None) => NodeSums::default(),
        };
        NodeRow {
            name: node.name.clone(),
            operator: node.operator.clone(),
            module: module(run, node).to_owned(),
            inputs: node.inputs.clone(),
            outputs: node.outputs.clone(),
            is_counted: node.work.is_some(),
            p50_ns: group.map_or(0, |group| group.times.p50_ns),
            sums,
        }
    };
    let mut nodes: Vec<NodeRow> = run.nodes.iter().map(row).collect();
    let (operators, modules) = (
        groups(&nodes, |node| &node.operator),
        groups(&nodes, |node| &node.module),
    );
    nodes.sort_by(|a, b| longest(&a.sums, &b.sums).then_with(|| a.name.cmp(&b.name)));
    TensorAnalysis {
        runs: Distribution::of(run.plain_ns.clone()),
        operators,
        modules,
        nodes,
    }
}

fn module<'a>(run: &'a TensorRun, node: &NodeInfo) -> &'a str {
    let module = run.modules.get(node.module as usize);
    module.map(String::as_str).unwrap_or_default()
}

fn longest(a: &NodeSums, b: &NodeSums) -> std::cmp::Ordering {
    (b.total_ns, b.floor_ns).cmp(&(a.total_ns, a.floor_ns))
}

fn groups(nodes: &[NodeRow], key: impl Fn(&NodeRow) -> &String) -> Vec<NodeGroup> {
    let mut groups: BTreeMap<&String, NodeGroup> = BTreeMap::new();
    for node in nodes {
        let group = groups.entry(key(node)).or_default();
        group.nodes += 1;
        group.sums.add(&node.sums);
    }
    let named = |(name, group): (&String, NodeGroup)| NodeGroup {
        name: name.clone(),
        ..group
    };
    let mut groups: Vec<NodeGroup> = groups.into_iter().map(named).collect();
    groups.sort_by(|a, b| longest(&a.sums, &b.sums));
    groups
}

/// What scripts read of it.
pub(crate) fn summary(run: &TensorRun, analysis: &TensorAnalysis) -> TensorSummary {
    let runs = &analysis.runs;
    TensorSummary {
        engine: run.engine.clone(),
        engine_reason: run.reason.clone(),
        is_timed_by_node: run.is_timed_by_node,
        inputs: run.inputs.clone(),
        assumed: run.assumed.clone(),
        runs: RunTimesSummary {
            count: runs.count,
            min_ns: runs.min_ns,
            p50_ns: runs.p50_ns,
            p90_ns: runs.p90_ns,
            p99_ns: runs.p99_ns,
            max_ns: runs.max_ns,
            variation: runs.variation(),
        },
        operators: analysis.operators.iter().map(group).collect(),
        modules: analysis.modules.iter().map(group).collect(),
        nodes: analysis.nodes.iter().map(node).collect(),
        uncounted: run
            .uncounted
            .iter()
            .map(|(operator, nodes)| UncountedSummary {
                operator: operator.clone(),
                nodes: *nodes as u64,
            })
            .collect(),
    }
}

fn group(group: &NodeGroup) -> NodeGroupSummary {
    NodeGroupSummary {
        name: group.name.clone(),
        nodes: group.nodes,
        count: group.sums.count,
        total_ns: group.sums.total_ns,
        floor_ns: group.sums.floor_ns,
        flops: group.sums.flops,
        bytes: group.sums.bytes,
        bound: group.sums.bound().name().to_owned(),
    }
}

fn node(node: &NodeRow) -> NodeSummary {
    NodeSummary {
        name: node.name.clone(),
        operator: node.operator.clone(),
        module: node.module.clone(),
        inputs: node.inputs.clone(),
        outputs: node.outputs.clone(),
        is_counted: node.is_counted,
        count: node.sums.count,
        total_ns: node.sums.total_ns,
        p50_ns: node.p50_ns,
        floor_ns: node.sums.floor_ns,
        flops: node.sums.flops,
        bytes: node.sums.bytes,
        bound: node.sums.bound().name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use carnot_record::{BandwidthCurve, BandwidthPoint};

    use super::*;

    fn info(name: &str, operator: &str, module: u32, bytes: u64) -> NodeInfo {
        NodeInfo {
            site: format!("{operator} · {name}"),
            name: name.to_owned(),
            operator: operator.to_owned(),
            module,
            work: (bytes > 0).then_some(NodeWork {
                bytes,
                working_set_bytes: bytes,
                ..NodeWork::default()
            }),
            ..NodeInfo::default()
        }
    }

    #[test]
    fn nodes_that_were_not_timed_have_a_floor_of_one_run() {
        let machine = MachineProfile {
            bandwidth: vec![BandwidthCurve {
                threads: 1,
                points: vec![BandwidthPoint {
                    bytes: 1,
                    bytes_per_s: 1e9,
                }],
            }],
            ..MachineProfile::default()
        };
        let run = TensorRun {
            modules: vec!["a".to_owned(), "b".to_owned()],
            nodes: vec![
                info("one", "Conv", 0, 300),
                info("two", "Relu", 0, 50),
                info("three", "Conv", 1, 100),
                info("four", "Wonder", 1, 0),
            ],
            ..TensorRun::default()
        };
        let found = tensors(&run, &[], &machine, 1);
        let floors = |groups: &[NodeGroup]| -> Vec<(String, u64, u64)> {
            let row = |group: &NodeGroup| (group.name.clone(), group.nodes, group.sums.floor_ns);
            groups.iter().map(row).collect()
        };
        let row = |name: &str, nodes, floor| (name.to_owned(), nodes, floor);
        assert_eq!(
            floors(&found.operators),
            [row("Conv", 2, 400), row("Relu", 1, 50), row("Wonder", 1, 0)]
        );
        assert_eq!(floors(&found.modules), [row("a", 2, 350), row("b", 2, 100)]);
        assert_eq!(found.nodes[0].name, "one");
        assert_eq!(found.nodes[0].sums.bound(), Bound::Memory);
        let last = found.nodes.last().expect("four of them");
        assert!(!last.is_counted && last.sums.bound() == Bound::Overhead);
    }
}

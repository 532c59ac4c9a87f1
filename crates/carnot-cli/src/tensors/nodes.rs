//! The nodes of a model that runs: what each has to do at least, where it belongs, what it takes and gives.

use std::collections::{BTreeMap, HashMap, HashSet};

use carnot_analyze::{NodeInfo, NodeWork, TensorRun};
use carnot_onnx::{Analysis, Graph, Model, NodeAnalysis, NodeRun, RuntimeProfile, SeenValue, Work};
use carnot_record::{Arithmetic, MachineProfile};

/// The machine, with the threads that are used of it.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings<'a> {
    pub machine: &'a MachineProfile,
    pub threads: u32,
}

/// Nodes, their modules, and what is not known of them.
#[derive(Debug, Default)]
pub struct Nodes {
    pub infos: Vec<NodeInfo>,
    pub modules: Vec<String>,
    pub uncounted: BTreeMap<String, usize>,
}

impl Nodes {
    /// The nodes as the model has them.
    pub fn of_model(model: &Model, analysis: &Analysis, ceilings: Ceilings<'_>) -> Self {
        let inputs = input_names(&model.graph);
        let total = parameter_bytes(analysis);
        let mut nodes = Self {
            uncounted: analysis.unknown_operators.clone(),
            ..Self::default()
        };
        for node in &analysis.nodes {
            let takes = inputs.get(node.name.as_str()).copied().unwrap_or_default();
            let work = node.work.as_ref();
            let info = NodeInfo {
                inputs: shapes(takes.iter().map(|name| analysis.shapes.get(name))),
                outputs: shapes(node.outputs.iter().map(Option::as_ref)),
                work: work.map(|work| least(work, total, ceilings)),
                ..named(&node.name, &node.operator)
            };
            nodes.push(info, module_of(&node.name));
        }
        nodes
    }

    /// The nodes that a profile tells of. `model` is what the runtime ran, with what it has to do; operators of which
    /// that is not known are named. Nodes that the runtime named by a value are in the module of the node that gives it in the model as it is
    /// `written`.
    pub fn of_profile(
        profile: &RuntimeProfile,
        (model, analysis): (&Model, &Analysis),
        written: &Model,
        ceilings: Ceilings<'_>,
    ) -> Self {
        let known: HashMap<&str, &NodeAnalysis> = analysis
            .nodes
            .iter()
            .map(|node| (node.name.as_str(), node))
            .collect();
        let inputs = input_names(&model.graph);
        let total = parameter_bytes(analysis);
        let givers = givers(&written.graph);
        let mut nodes = Self::default();
        let mut seen = HashSet::new();
        for run in &profile.nodes {
            if !seen.insert((&run.name, &run.operator)) {
                continue;
            }
            let node = known.get(run.name.as_str());
            let node = node.filter(|node| is_same(&node.operator, &run.operator));
            let work = node.and_then(|node| node.work.as_ref());
            if work.is_none() && !is_control_flow(&run.operator) {
                *nodes.uncounted.entry(run.operator.clone()).or_default() += 1;
            }
            let takes = inputs.get(run.name.as_str()).copied().unwrap_or_default();
            let takes = takes.iter().filter(|name| !name.is_empty());
            let takes = shapes(takes.map(|name| analysis.shapes.get(name)));
            let value = run.name.strip_suffix("_nchwc").unwrap_or(&run.name);
            let giver = givers.get(value).copied().unwrap_or(&run.name);
            let info = NodeInfo {
                inputs: if takes.is_empty() {
                    seen_shapes(&run.inputs)
                } else {
                    takes
                },
                outputs: seen_shapes(&run.outputs),
                work: work.map(|work| least(work, total, ceilings)),
                ..named(&run.name, &run.operator)
            };
            nodes.push(info, module_of(giver));
        }
        nodes
    }

    /// What a run says of its nodes.
    pub fn told(self, run: TensorRun) -> TensorRun {
        TensorRun {
            modules: self.modules,
            nodes: self.infos,
            uncounted: self.uncounted,
            ..run
        }
    }

    fn push(&mut self, mut info: NodeInfo, module: &str) {
        let place = self.modules.iter().position(|known| known == module);
        info.module = place.unwrap_or_else(|| {
            self.modules.push(module.to_owned());
            self.modules.len() - 1
        }) as u32;
        self.infos.push(info);
    }
}

/// What spans of a node are called: the operator comes first, for losses are told by it.
pub fn site_name(run: &NodeRun) -> String {
    named(&run.name, &run.operator).site
}

fn named(name: &str, operator: &str) -> NodeInfo {
    NodeInfo {
        site: format!("{operator} · {name}"),
        name: name.to_owned(),
        operator: operator.to_owned(),
        ..NodeInfo::default()
    }
}

/// Operators that run graphs of their own, whose nodes are timed within them.
pub fn is_control_flow(operator: &str) -> bool {
    matches!(operator, "If" | "Loop" | "Scan" | "SequenceMap")
}

/// The profile leaves the domain out.
fn is_same(qualified: &str, operator: &str) -> bool {
    let own = qualified.strip_suffix(operator);
    own.is_some_and(|domain| domain.is_empty() || domain.ends_with('.'))
}

fn parameter_bytes(analysis: &Analysis) -> u64 {
    let works = analysis.nodes.iter().filter_map(|node| node.work.as_ref());
    works.map(|work| work.parameter_bytes).sum()
}

/// The least that a node has to do. Two things bound its memory traffic from below: all that it touches comes from a cache that holds just
/// this; and its weights come from where the weights of all nodes lie, for these are gone through before it runs again. The slower counts.
fn least(work: &Work, all_parameter_bytes: u64, ceilings: Ceilings<'_>) -> NodeWork {
    let Ceilings { machine, threads } = ceilings;
    let all = work.bytes_read + work.bytes_written;
    let time = |bytes: u64, of: u64| bytes as f64 / machine.bandwidth(threads, of);
    let is_cold = time(work.parameter_bytes, all_parameter_bytes) > time(all, all);
    let (bytes, working_set_bytes) = if is_cold {
        (work.parameter_bytes, all_parameter_bytes)
    } else {
        (all, all)
    };
    NodeWork {
        flops: work.operations(),
        bytes,
        working_set_bytes,
        arithmetic: if work.is_integer {
            Arithmetic::Int8
        } else {
            Arithmetic::F32
        },
    }
}

/// What the whole model has to do at least, however its nodes are put together: all arithmetic; and each weight read once, what goes in
/// and what comes out.
pub fn whole(model: &Model, analysis: &Analysis) -> NodeWork {
    let works = || analysis.nodes.iter().filter_map(|node| node.work.as_ref());
    let ends = model.graph.required_inputs().chain(&model.graph.outputs);
    let ends = ends.map(|end| {
        let shape = analysis.shapes.get(&end.name)?;
        let bits = end.data_type()?.bits()?;
        let elements: u64 = shape.iter().map(|size| *size as u64).product();
        Some(elements * bits as u64 / 8)
    });
    let bytes = parameter_bytes(analysis) + ends.map(Option::unwrap_or_default).sum::<u64>();
    let is_integer = works().any(|work| work.is_integer && work.multiply_adds > 0);
    NodeWork {
        flops: works().map(Work::operations).sum(),
        bytes,
        working_set_bytes: bytes,
        // The faster of two kinds, where there are two: a floor may be low, never high.
        arithmetic: if is_integer {
            Arithmetic::Int8
        } else {
            Arithmetic::F32
        },
    }
}

/// The node that gives each value.
fn givers(graph: &Graph) -> HashMap<&str, &str> {
    let nodes = graph.nodes.iter();
    let given = nodes.flat_map(|node| {
        let outputs = node.outputs.iter();
        outputs.map(|output| (output.as_str(), node.name.as_str()))
    });
    given.filter(|(_, name)| !name.is_empty()).collect()
}

/// Names of what each node takes, by the name that the analysis gives it.
fn input_names(graph: &Graph) -> HashMap<&str, &[String]> {
    let named = graph.nodes.iter().filter(|node| !node.name.is_empty());
    named
        .map(|node| (node.name.as_str(), node.inputs.as_slice()))
        .collect()
}

/// The first two parts of a node's path, which is how exporters name modules: `/layer1/layer1.0/conv1/Conv` is in `layer1/layer1.0`.
fn module_of(name: &str) -> &str {
    let path = name.strip_prefix('/').unwrap_or(name);
    let Some((before, _)) = path.rsplit_once('/') else {
        return "";
    };
    match before.match_indices('/').nth(1) {
        Some((end, _)) => &before[..end],
        None => before,
    }
}

fn shapes<'a>(all: impl Iterator<Item = Option<&'a Vec<usize>>>) -> String {
    let texts: Vec<String> = all
        .map(|shape| shape.map_or("?".to_owned(), |shape| shape_text(shape)))
        .collect();
    texts.join(", ")
}

fn seen_shapes(values: &[SeenValue]) -> String {
    let texts: Vec<String> = values.iter().map(|one| shape_text(&one.shape)).collect();
    texts.join(", ")
}

fn shape_text(shape: &[usize]) -> String {
    if shape.is_empty() {
        return "scalar".to_owned();
    }
    let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    sizes.join("×")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_the_first_two_parts_of_a_path() {
        let cases = [
            ("/layer1/layer1.0/conv1/Conv", "layer1/layer1.0"),
            ("/features/conv/Conv", "features/conv"),
            ("/fc/Gemm", "fc"),
            ("Conv_3", ""),
            ("", ""),
        ];
        for (name, module) in cases {
            assert_eq!(module_of(name), module);
        }
    }

    #[test]
    fn operators_are_the_same_with_and_without_a_domain() {
        assert!(is_same("Conv", "Conv"));
        assert!(is_same("com.microsoft.nchwc.Conv", "Conv"));
        assert!(!is_same("FusedConv", "Conv"));
    }
}

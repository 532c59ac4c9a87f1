//! From node to node: which rule an operator has, and what inner graphs and functions come to.

use std::collections::HashMap;

use super::{Analysis, Fact, NodeAnalysis, cost, folding, movement, reduction, spatial, values};
use crate::OnnxError;
use crate::model::{
    Attribute, AttributeValue, DataType, Dimension, Function, Graph, Model, Node, ValueInfo,
    ValueType,
};

/// Deepest nesting of inner graphs and functions that is followed; functions that call themselves end there.
const MAX_DEPTH: usize = 16;

/// A node with what is known of its inputs.
pub struct Call<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its inputs; none where it was left out or nothing is known.
    pub inputs: Vec<Option<&'a Fact>>,
    /// The version of ONNX's operators.
    pub opset: i64,
}

impl<'a> Call<'a> {
    /// An input.
    pub fn input(&self, index: usize) -> Option<&'a Fact> {
        let fact = self.inputs.get(index).copied().flatten()?;
        // A shape that cannot be is nothing that is known.
        (fact.shape.is_none() || fact.elements().is_some()).then_some(fact)
    }

    /// Whether an input is given, known or not.
    pub fn has(&self, index: usize) -> bool {
        self.node
            .inputs
            .get(index)
            .is_some_and(|name| !name.is_empty())
    }

    /// An input's shape.
    pub fn shape(&self, index: usize) -> Option<&'a [usize]> {
        self.input(index)?.shape.as_deref()
    }

    /// An input's type.
    pub fn data_type(&self, index: usize) -> Option<DataType> {
        self.input(index)?.data_type
    }

    /// An input's values as whole numbers.
    pub fn whole(&self, index: usize) -> Option<Vec<i64>> {
        self.input(index)?.whole()
    }

    /// Whether a list is given: newer versions have it as an input, older ones as an attribute.
    pub fn has_list(&self, index: usize, attribute: &str) -> bool {
        self.has(index) || self.node.ints(attribute).is_some()
    }

    /// That list; none where it is not given, or its values are not known.
    pub fn list(&self, index: usize, attribute: &str) -> Option<Vec<i64>> {
        if self.has(index) {
            return self.whole(index);
        }
        self.node.ints(attribute).map(<[i64]>::to_vec)
    }

    /// An integer attribute, or what it is where it is not there.
    pub fn int(&self, name: &str, otherwise: i64) -> i64 {
        self.node.int(name).unwrap_or(otherwise)
    }

    /// One output of this shape and the type of an input, as rules return it.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "rules that may know nothing end with it"
    )]
    pub fn one(&self, like: usize, shape: Vec<usize>) -> Option<Vec<Fact>> {
        Some(vec![self.fact(like, shape)])
    }

    /// A value of this shape and the type of an input.
    pub fn fact(&self, like: usize, shape: Vec<usize>) -> Fact {
        Fact {
            data_type: self.data_type(like),
            shape: Some(shape),
            ..Fact::default()
        }
    }
}

/// An axis counted from the end where it is negative; none where there is none such.
pub fn axis_of(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(axis).ok().filter(|axis| *axis < rank)
}

/// The shape that two come to when single sizes are stretched.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| {
        let missing = rank - shape.len();
        if axis < missing {
            1
        } else {
            shape[axis - missing]
        }
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (a, b) if a == b => Some(a),
            (1, b) => Some(b),
            (a, 1) => Some(a),
            _ => None,
        })
        .collect()
}

/// The walk through a model.
pub struct Inference<'a, 'b> {
    functions: &'a [Function],
    analysis: &'b mut Analysis,
    seen: &'a HashMap<String, Fact>,
    opset: i64,
    depth: usize,
}

impl<'a, 'b> Inference<'a, 'b> {
    /// A walk that writes down what it finds; `seen` are values of which a run told more than the model says.
    pub fn new(
        model: &'a Model,
        seen: &'a HashMap<String, Fact>,
        analysis: &'b mut Analysis,
    ) -> Self {
        Self {
            functions: &model.functions,
            seen,
            analysis,
            opset: model.opset(),
            depth: 0,
        }
    }

    /// Follows a graph; `facts` are what is known around it and of its inputs, and become what is known within.
    pub fn graph(
        &mut self,
        graph: &Graph,
        facts: &mut HashMap<String, Fact>,
    ) -> Result<(), OnnxError> {
        for tensor in &graph.initializers {
            facts
                .entry(tensor.name.clone())
                .or_insert_with(|| values::of_proto(tensor));
        }
        self.nodes(&graph.nodes, facts)?;
        // What the model itself says is believed where nothing better is known, for its outputs and what lies behind them.
        for value in graph.outputs.iter().chain(&graph.values) {
            let is_unknown = facts
                .get(&value.name)
                .is_none_or(|fact| fact.shape.is_none());
            if is_unknown && let Some(fact) = declared(value) {
                facts.insert(value.name.clone(), fact);
            }
        }
        Ok(())
    }

    fn nodes(
        &mut self,
        nodes: &[Node],
        facts: &mut HashMap<String, Fact>,
    ) -> Result<(), OnnxError> {
        for (index, node) in nodes.iter().enumerate() {
            self.node(index, node, facts)?;
        }
        Ok(())
    }

    fn node(
        &mut self,
        index: usize,
        node: &Node,
        facts: &mut HashMap<String, Fact>,
    ) -> Result<(), OnnxError> {
        if let Some(function) = self.function(node) {
            return self.call(function, node, facts);
        }
        if is_own(node) && node.operator == "If" {
            return self.branch(node, facts);
        }
        let call = Call {
            node,
            inputs: node.inputs.iter().map(|name| facts.get(name)).collect(),
            opset: self.opset,
        };
        let found = if is_known_domain(node) {
            outputs(&call)
        } else {
            None
        };
        let work = found
            .as_ref()
            .and_then(|outputs| cost::work(&call, outputs));
        let name = match node.name.as_str() {
            "" => format!("{}_{index}", node.operator),
            name => name.to_owned(),
        };
        if work.is_none() {
            let count = self
                .analysis
                .unknown_operators
                .entry(node.qualified_operator());
            *count.or_default() += 1;
        }
        let mut found = found.unwrap_or_default();
        for (index, name) in node.outputs.iter().enumerate() {
            let is_known = found.get(index).is_some_and(|fact| fact.shape.is_some());
            if !is_known && let Some(fact) = self.seen.get(name) {
                found.resize(found.len().max(index + 1), Fact::default());
                found[index] = fact.clone();
            }
        }
        let shape = |index: usize| found.get(index).and_then(|fact| fact.shape.clone());
        self.analysis.nodes.push(NodeAnalysis {
            name,
            operator: node.qualified_operator(),
            outputs: (0..node.outputs.len()).map(shape).collect(),
            work,
        });
        let named = node.outputs.iter().zip(found);
        let named: Vec<_> = named.filter(|(name, _)| !name.is_empty()).collect();
        for (name, fact) in named {
            facts.insert(name.clone(), fact);
        }
        Ok(())
    }

    fn function(&self, node: &Node) -> Option<&'a Function> {
        let is_it = |one: &&Function| one.name == node.operator && one.domain == node.domain;
        let found = self.functions.iter().find(is_it)?;
        (self.depth < MAX_DEPTH).then_some(found)
    }

    /// A function of the model's own: its nodes, with the caller's attributes, between the caller's values.
    fn call(
        &mut self,
        function: &Function,
        node: &Node,
        facts: &mut HashMap<String, Fact>,
    ) -> Result<(), OnnxError> {
        let mut inner: HashMap<String, Fact> = HashMap::new();
        for (name, outer) in function.inputs.iter().zip(&node.inputs) {
            if let Some(fact) = facts.get(outer) {
                inner.insert(name.clone(), fact.clone());
            }
        }
        let nodes: Vec<Node> = function
            .nodes
            .iter()
            .map(|one| bound(one, function, node))
            .collect();
        let is_own = |(domain, _): &&(String, i64)| domain.is_empty() || domain == "ai.onnx";
        let opset = function
            .opsets
            .iter()
            .find(is_own)
            .map_or(self.opset, |one| one.1);
        let outer = std::mem::replace(&mut self.opset, opset);
        self.depth += 1;
        let result = self.nodes(&nodes, &mut inner);
        self.depth -= 1;
        self.opset = outer;
        for (name, outer) in function.outputs.iter().zip(&node.outputs) {
            if let Some(fact) = inner.remove(name) {
                facts.insert(outer.clone(), fact);
            }
        }
        result
    }

    /// The branch that is taken where that is known; otherwise what both give alike.
    fn branch(&mut self, node: &Node, facts: &mut HashMap<String, Fact>) -> Result<(), OnnxError> {
        let graph = |name| match node.attribute(name) {
            Some(AttributeValue::Graph(graph)) => Some(graph),
            _ => None,
        };
        let (Some(then), Some(otherwise)) = (graph("then_branch"), graph("else_branch")) else {
            return Ok(());
        };
        if self.depth >= MAX_DEPTH {
            return Ok(());
        }
        let condition = node.inputs.first().and_then(|name| facts.get(name));
        let condition = condition.and_then(|fact| fact.values.as_ref()?.first().copied());
        self.depth += 1;
        let taken = match condition {
            Some(truth) => {
                let graph = if truth == 0.0 { otherwise } else { then };
                self.inner(graph, facts)
            }
            None => self.both(node, then, otherwise, facts),
        };
        self.depth -= 1;
        for (name, fact) in node.outputs.iter().zip(taken?) {
            if let Some(fact) = fact {
                facts.insert(name.clone(), fact);
            }
        }
        Ok(())
    }

    fn inner(
        &mut self,
        graph: &Graph,
        facts: &HashMap<String, Fact>,
    ) -> Result<Vec<Option<Fact>>, OnnxError> {
        let mut inner = facts.clone();
        self.graph(graph, &mut inner)?;
        Ok(graph
            .outputs
            .iter()
            .map(|output| inner.remove(&output.name))
            .collect())
    }

    /// Which of the two runs is not known, so that neither's work counts.
    fn both(
        &mut self,
        node: &Node,
        then: &Graph,
        otherwise: &Graph,
        facts: &HashMap<String, Fact>,
    ) -> Result<Vec<Option<Fact>>, OnnxError> {
        let nodes = self.analysis.nodes.len();
        let unknown = self.analysis.unknown_operators.clone();
        let (first, second) = (self.inner(then, facts)?, self.inner(otherwise, facts)?);
        self.analysis.nodes.truncate(nodes);
        self.analysis.unknown_operators = unknown;
        *self
            .analysis
            .unknown_operators
            .entry(node.qualified_operator())
            .or_default() += 1;
        let alike = |(a, b): (Option<Fact>, Option<Fact>)| match (a, b) {
            (Some(a), Some(b)) if a.shape == b.shape && a.data_type == b.data_type => {
                Some(Fact { values: None, ..a })
            }
            _ => None,
        };
        Ok(first.into_iter().zip(second).map(alike).collect())
    }
}

/// A function's node with the attributes that its caller gives, or their defaults.
fn bound(node: &Node, function: &Function, caller: &Node) -> Node {
    let value = |one: &Attribute| match &one.value {
        AttributeValue::Reference(outer) => {
            let given = caller.attributes.iter().chain(&function.defaults);
            let found = given.into_iter().find(|given| given.name == *outer)?;
            Some(Attribute {
                name: one.name.clone(),
                value: found.value.clone(),
            })
        }
        _ => Some(one.clone()),
    };
    Node {
        attributes: node.attributes.iter().filter_map(value).collect(),
        ..node.clone()
    }
}

fn is_own(node: &Node) -> bool {
    node.domain.is_empty() || node.domain == "ai.onnx"
}

/// ONNX's own operators, and those of ONNX Runtime that have the same shapes.
fn is_known_domain(node: &Node) -> bool {
    is_own(node) || node.domain == "com.microsoft" || node.domain == "com.microsoft.nchwc"
}

/// A tensor of which all sizes are written down.
fn declared(value: &ValueInfo) -> Option<Fact> {
    let Some(ValueType::Tensor(data_type, Some(shape))) = &value.value_type else {
        return None;
    };
    let size = |one: &Dimension| match one {
        Dimension::Fixed(size) => Some(*size),
        _ => None,
    };
    let shape: Option<Vec<usize>> = shape.iter().map(size).collect();
    Some(Fact::new(*data_type, Some(shape?)))
}

/// The outputs of a node, where there is a rule and what it needs is known.
fn outputs(call: &Call<'_>) -> Option<Vec<Fact>> {
    let mut outputs = movement::outputs(call)
        .or_else(|| reduction::outputs(call))
        .or_else(|| spatial::outputs(call))
        .or_else(|| elementwise(call))?;
    let is_fixed = call.inputs.iter().flatten().all(|fact| fact.is_constant);
    folding::fold(call, &mut outputs);
    for output in &mut outputs {
        output.is_constant = is_fixed && !is_random(&call.node.operator);
    }
    // Nothing of a size that cannot be is passed on.
    outputs
        .iter()
        .all(|fact| fact.elements().is_some())
        .then_some(outputs)
}

fn is_random(operator: &str) -> bool {
    operator.starts_with("Random") || matches!(operator, "Bernoulli" | "Multinomial" | "Dropout")
}

/// One value from each place of the inputs.
fn elementwise(call: &Call<'_>) -> Option<Vec<Fact>> {
    match call.node.operator.as_str() {
        "Abs"
        | "PRelu"
        | "Acos"
        | "Acosh"
        | "Asin"
        | "Asinh"
        | "Atan"
        | "Atanh"
        | "BitwiseNot"
        | "Ceil"
        | "Celu"
        | "Clip"
        | "Cos"
        | "Cosh"
        | "Elu"
        | "Erf"
        | "Exp"
        | "FastGelu"
        | "BiasGelu"
        | "Floor"
        | "Gelu"
        | "HardSigmoid"
        | "HardSwish"
        | "Identity"
        | "LRN"
        | "LeakyRelu"
        | "Log"
        | "LpNormalization"
        | "MeanVarianceNormalization"
        | "Mish"
        | "Neg"
        | "Not"
        | "QuickGelu"
        | "Reciprocal"
        | "Relu"
        | "Round"
        | "Selu"
        | "Shrink"
        | "Sigmoid"
        | "Sign"
        | "Sin"
        | "Sinh"
        | "Softplus"
        | "Softsign"
        | "Sqrt"
        | "Swish"
        | "Tan"
        | "Tanh"
        | "ThresholdedRelu" => call.one(0, call.shape(0)?.to_vec()),
        "Add" | "And" | "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "Div" | "Max"
        | "Mean" | "Min" | "Mod" | "Mul" | "Or" | "Pow" | "Sub" | "Sum" | "Xor" => {
            call.one(0, stretched(call, 0)?)
        }
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => {
            Some(vec![Fact::new(DataType::BOOL, Some(stretched(call, 0)?))])
        }
        "IsNaN" | "IsInf" => Some(vec![Fact::new(
            DataType::BOOL,
            Some(call.shape(0)?.to_vec()),
        )]),
        "Where" => call.one(1, stretched(call, 0)?),
        _ => None,
    }
}

/// All inputs from `first` on, stretched to each other.
fn stretched(call: &Call<'_>, first: usize) -> Option<Vec<usize>> {
    // Old versions stretch the second input along an axis that they name; it never grows the first.
    if call.opset < 7 && call.int("broadcast", 0) == 1 {
        return Some(call.shape(0)?.to_vec());
    }
    let mut shape: Vec<usize> = Vec::new();
    for index in first..call.inputs.len() {
        shape = broadcast(&shape, call.shape(index)?)?;
    }
    Some(shape)
}

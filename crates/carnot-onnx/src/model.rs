//! An ONNX model as it is written: graph, nodes, weights, types; the parts that running and analysing need.
//!
//! The names are those of `onnx.proto`. Documentation strings, metadata, training information and annotations are passed over.

mod data_type;
mod read;
mod tensor;
#[cfg(test)]
mod tests;
mod write;

pub use data_type::DataType;
pub use tensor::{ExternalData, TensorData, TensorProto};

use std::collections::BTreeMap;

use carnot_engine::{TensorInfo, TensorModelInfo};

use crate::OnnxError;

/// A model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// The version of the form, such as 10.
    pub ir_version: i64,
    /// What wrote it.
    pub producer: String,
    /// The model's own version.
    pub version: i64,
    /// What it computes.
    pub graph: Graph,
    /// The version of each domain's operators; the domain of ONNX itself is empty.
    pub opsets: Vec<(String, i64)>,
    /// Operators that the model brings with it.
    pub functions: Vec<Function>,
}

/// Nodes in an order in which they can be computed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// What is computed.
    pub nodes: Vec<Node>,
    /// Weights and other constants, by name.
    pub initializers: Vec<TensorProto>,
    /// What goes in; old models name their initializers here too.
    pub inputs: Vec<ValueInfo>,
    /// What comes out.
    pub outputs: Vec<ValueInfo>,
    /// What is said of values within.
    pub values: Vec<ValueInfo>,
    /// Names of weights with few values that are not zero, which nothing here reads.
    pub sparse_initializers: usize,
}

/// An operator at work.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its name; often empty.
    pub name: String,
    /// Such as `Conv`.
    pub operator: String,
    /// Whose operator it is; empty for ONNX itself.
    pub domain: String,
    /// Names of values; an empty one was left out.
    pub inputs: Vec<String>,
    /// Names of values; an empty one is not wanted.
    pub outputs: Vec<String>,
    /// Its parameters.
    pub attributes: Vec<Attribute>,
}

/// A parameter of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: AttributeValue,
}

/// What a parameter may be.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is named by what it holds")]
pub enum AttributeValue {
    Float(f32),
    Int(i64),
    String(Vec<u8>),
    Tensor(TensorProto),
    Graph(Graph),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Strings(Vec<Vec<u8>>),
    Graphs(Vec<Graph>),
    Type(ValueType),
    /// In a function: the attribute of the calling node whose value this one has.
    Reference(String),
    /// Of a kind that nothing here reads.
    Other,
}

/// A value's name and type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValueInfo {
    /// Its name.
    pub name: String,
    /// Its type; none where it is not said.
    pub value_type: Option<ValueType>,
}

/// A type of values.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueType {
    /// A tensor; without a shape nothing is known of its axes.
    Tensor(DataType, Option<Vec<Dimension>>),
    /// A list of values of one type.
    Sequence(Box<ValueType>),
    /// A value or none.
    Optional(Box<ValueType>),
    /// Maps and sparse tensors, which nothing here reads.
    Other,
}

/// A tensor's size along an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Always this.
    Fixed(usize),
    /// Any, and the same wherever the name is the same.
    Named(String),
    /// Any.
    Unknown,
}

/// An operator that a model brings with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its domain.
    pub domain: String,
    /// Names of its inputs within.
    pub inputs: Vec<String>,
    /// Names of its outputs within.
    pub outputs: Vec<String>,
    /// Attributes that nodes give it.
    pub attributes: Vec<String>,
    /// Attributes with what they are where nodes do not give them.
    pub defaults: Vec<Attribute>,
    /// What it computes.
    pub nodes: Vec<Node>,
    /// The version of each domain's operators within.
    pub opsets: Vec<(String, i64)>,
}

impl Node {
    /// The parameter of that name.
    pub fn attribute(&self, name: &str) -> Option<&AttributeValue> {
        let found = self.attributes.iter().find(|one| one.name == name);
        found.map(|attribute| &attribute.value)
    }

    /// The integer of that name.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attribute(name)? {
            AttributeValue::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The integers of that name.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attribute(name)? {
            AttributeValue::Ints(values) => Some(values),
            _ => None,
        }
    }

    /// The text of that name.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attribute(name)? {
            AttributeValue::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The operator with its domain where that is not ONNX's own: `com.microsoft.FusedMatMul`.
    pub fn qualified_operator(&self) -> String {
        match self.domain.as_str() {
            "" | "ai.onnx" => self.operator.clone(),
            domain => format!("{domain}.{}", self.operator),
        }
    }

    /// The graphs among its parameters, as those of `If` and `Loop`.
    pub fn graphs(&self) -> impl Iterator<Item = &Graph> {
        self.attributes.iter().flat_map(|one| match &one.value {
            AttributeValue::Graph(graph) => std::slice::from_ref(graph),
            AttributeValue::Graphs(graphs) => graphs,
            _ => &[],
        })
    }
}

impl Graph {
    /// The inputs that a run has to give: without those that have an initializer.
    pub fn required_inputs(&self) -> impl Iterator<Item = &ValueInfo> {
        let names: std::collections::HashSet<&str> = self
            .initializers
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        self.inputs
            .iter()
            .filter(move |input| !names.contains(input.name.as_str()))
    }

    /// Calls `visit` with every node, those of inner graphs too.
    pub fn each_node<'a>(&'a self, visit: &mut impl FnMut(&'a Node)) {
        for node in &self.nodes {
            visit(node);
            node.graphs().for_each(|graph| graph.each_node(visit));
        }
    }

    /// Calls `visit` with every tensor: weights, constants of nodes, those of inner graphs.
    pub fn each_tensor<'a>(&'a self, visit: &mut impl FnMut(&'a TensorProto)) {
        self.initializers.iter().for_each(&mut *visit);
        for node in &self.nodes {
            for attribute in &node.attributes {
                if let AttributeValue::Tensor(tensor) = &attribute.value {
                    visit(tensor);
                }
            }
            node.graphs().for_each(|graph| graph.each_tensor(visit));
        }
    }
}

impl Graph {
    /// Calls `change` with every tensor, as [`Graph::each_tensor`] does.
    pub(crate) fn change_tensors(&mut self, change: &mut impl FnMut(&mut TensorProto)) {
        self.initializers.iter_mut().for_each(&mut *change);
        let attributes = self.nodes.iter_mut().flat_map(|node| &mut node.attributes);
        for attribute in attributes {
            match &mut attribute.value {
                AttributeValue::Tensor(tensor) => change(tensor),
                AttributeValue::Graph(graph) => graph.change_tensors(change),
                AttributeValue::Graphs(graphs) => {
                    graphs
                        .iter_mut()
                        .for_each(|graph| graph.change_tensors(change));
                }
                _ => {}
            }
        }
    }
}

impl Model {
    /// The version of ONNX's own operators; 1 where the model does not say.
    pub fn opset(&self) -> i64 {
        let is_own = |(domain, _): &&(String, i64)| domain.is_empty() || domain == "ai.onnx";
        self.opsets.iter().find(is_own).map_or(1, |one| one.1)
    }

    /// How often each operator stands in the model, those of inner graphs too.
    pub fn operators(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        self.graph
            .each_node(&mut |node| *counts.entry(node.qualified_operator()).or_default() += 1);
        counts
    }

    /// What the model takes and gives, by the contract of engines.
    ///
    /// # Errors
    /// [`OnnxError::Invalid`] where an input or output is no tensor, or of a type that the contract has not.
    pub fn info(
        &self,
        name: &str,
        hash: &str,
        platform: &str,
    ) -> Result<TensorModelInfo, OnnxError> {
        let inputs = self.graph.required_inputs().map(|one| one.info("input"));
        let outputs = self.graph.outputs.iter().map(|one| one.info("output"));
        Ok(TensorModelInfo {
            name: name.to_owned(),
            version: self.version.max(1).to_string(),
            hash: hash.to_owned(),
            platform: platform.to_owned(),
            inputs: inputs.collect::<Result<_, _>>()?,
            outputs: outputs.collect::<Result<_, _>>()?,
            is_batchable: self.is_batchable(),
        })
    }

    /// Whether all inputs and outputs have a free first axis, of one name where they are named.
    fn is_batchable(&self) -> bool {
        let ends = || self.graph.required_inputs().chain(&self.graph.outputs);
        let mut names = ends().map(|value| match value.dimensions()?.first()? {
            Dimension::Named(name) => Some(name.as_str()),
            Dimension::Unknown => Some(""),
            Dimension::Fixed(_) => None,
        });
        let first = names.next().flatten();
        first.is_some() && names.all(|name| name == first)
    }
}

impl ValueInfo {
    /// A tensor's name, type and shape.
    pub fn tensor(
        name: impl Into<String>,
        data_type: DataType,
        shape: impl IntoIterator<Item = Dimension>,
    ) -> Self {
        Self {
            name: name.into(),
            value_type: Some(ValueType::Tensor(
                data_type,
                Some(shape.into_iter().collect()),
            )),
        }
    }

    /// Its axes, where it is a tensor of which that is said.
    pub fn dimensions(&self) -> Option<&[Dimension]> {
        match self.value_type.as_ref()? {
            ValueType::Tensor(_, shape) => shape.as_deref(),
            _ => None,
        }
    }

    /// The type of its numbers, where it is a tensor.
    pub fn data_type(&self) -> Option<DataType> {
        match self.value_type.as_ref()? {
            ValueType::Tensor(data_type, _) => Some(*data_type),
            _ => None,
        }
    }

    fn info(&self, what: &'static str) -> Result<TensorInfo, OnnxError> {
        let invalid = |got: String| OnnxError::Invalid {
            what,
            name: self.name.clone(),
            expected: "a tensor of a type of the Open Inference Protocol".to_owned(),
            got,
        };
        let Some(data_type) = self.data_type() else {
            return Err(invalid(format!("{:?}", self.value_type)));
        };
        let tensor_type = data_type.tensor_type();
        let tensor_type = tensor_type.ok_or_else(|| invalid(data_type.to_string()))?;
        let size = |one: &Dimension| match one {
            Dimension::Fixed(size) => Some(*size),
            _ => None,
        };
        let shape = self.dimensions();
        Ok(TensorInfo {
            is_any_rank: shape.is_none(),
            shape: shape.unwrap_or_default().iter().map(size).collect(),
            ..TensorInfo::new(self.name.clone(), tensor_type, [])
        })
    }
}

//! Models made in Rust, node by node: for tests, tools and benchmarks.
//!
//! ```
//! use carnot_engine::Tensor;
//! use carnot_onnx::{DataType, Dimension, GraphBuilder};
//!
//! let mut builder = GraphBuilder::new("mlp", 21);
//! let batch = Dimension::Named("batch".to_owned());
//! builder.input("x", DataType::FLOAT, [batch.clone(), Dimension::Fixed(4)]);
//! builder.weight(&Tensor::from_f32("w", [4, 2], vec![0.5; 8])?);
//! builder.node("MatMul", &["x", "w"], &["h"]);
//! builder.node("Relu", &["h"], &["y"]);
//! builder.output("y", DataType::FLOAT, [batch, Dimension::Fixed(2)]);
//! let bytes = builder.finish().to_bytes();
//! # Ok::<(), carnot_engine::EngineError>(())
//! ```

use carnot_engine::{SharedBytes, Tensor};

use crate::model::{
    Attribute, AttributeValue, DataType, Dimension, Graph, Model, Node, TensorData, TensorProto,
    ValueInfo,
};

/// A graph that grows by one node at a time.
pub struct GraphBuilder {
    graph: Graph,
    opset: i64,
}

/// The node that was made last, to give it attributes.
pub struct NodeBuilder<'a>(&'a mut Node);

impl GraphBuilder {
    /// An empty graph; `opset` is the version of ONNX's operators, such as 21.
    pub fn new(name: &str, opset: i64) -> Self {
        let graph = Graph {
            name: name.to_owned(),
            ..Graph::default()
        };
        Self { graph, opset }
    }

    /// A value that goes in.
    pub fn input(
        &mut self,
        name: &str,
        data_type: DataType,
        shape: impl IntoIterator<Item = Dimension>,
    ) -> &mut Self {
        self.graph
            .inputs
            .push(ValueInfo::tensor(name, data_type, shape));
        self
    }

    /// A value that comes out.
    pub fn output(
        &mut self,
        name: &str,
        data_type: DataType,
        shape: impl IntoIterator<Item = Dimension>,
    ) -> &mut Self {
        self.graph
            .outputs
            .push(ValueInfo::tensor(name, data_type, shape));
        self
    }

    /// A constant; it shares the tensor's bytes.
    pub fn weight(&mut self, tensor: &Tensor) -> &mut Self {
        self.graph
            .initializers
            .push(TensorProto::from_tensor(tensor));
        self
    }

    /// A constant of which only the shape is said, for analyses: it has no values, and no engine will take it.
    pub fn shape_of_weight(&mut self, name: &str, shape: &[usize]) -> &mut Self {
        self.graph.initializers.push(TensorProto {
            name: name.to_owned(),
            data_type: DataType::FLOAT,
            shape: shape.to_vec(),
            data: TensorData::Raw(SharedBytes::from(Vec::new())),
        });
        self
    }

    /// A node of ONNX's own operators.
    pub fn node(&mut self, operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeBuilder<'_> {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        self.graph.nodes.push(Node {
            name: format!("{operator}_{}", self.graph.nodes.len()),
            operator: operator.to_owned(),
            inputs: names(inputs),
            outputs: names(outputs),
            ..Node::default()
        });
        let last = self.graph.nodes.last_mut();
        NodeBuilder(last.expect("a node was pushed just now"))
    }

    /// The model.
    pub fn finish(self) -> Model {
        Model {
            ir_version: 10,
            producer: "carnot".to_owned(),
            graph: self.graph,
            opsets: vec![(String::new(), self.opset)],
            ..Model::default()
        }
    }
}

impl NodeBuilder<'_> {
    /// Its name, which is its operator and number otherwise.
    pub fn named(&mut self, name: &str) -> &mut Self {
        name.clone_into(&mut self.0.name);
        self
    }

    /// Whose operator it is.
    pub fn of_domain(&mut self, domain: &str) -> &mut Self {
        domain.clone_into(&mut self.0.domain);
        self
    }

    /// A parameter of any kind.
    pub fn attribute(&mut self, name: &str, value: AttributeValue) -> &mut Self {
        self.0.attributes.push(Attribute {
            name: name.to_owned(),
            value,
        });
        self
    }

    /// An integer.
    pub fn int(&mut self, name: &str, value: i64) -> &mut Self {
        self.attribute(name, AttributeValue::Int(value))
    }

    /// Integers.
    pub fn ints(&mut self, name: &str, values: &[i64]) -> &mut Self {
        self.attribute(name, AttributeValue::Ints(values.to_vec()))
    }

    /// A number with a fraction.
    pub fn float(&mut self, name: &str, value: f32) -> &mut Self {
        self.attribute(name, AttributeValue::Float(value))
    }

    /// A text.
    pub fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.attribute(name, AttributeValue::String(value.as_bytes().to_vec()))
    }
}

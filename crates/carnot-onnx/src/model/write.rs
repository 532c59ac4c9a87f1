//! Models to bytes: what [`Model::parse`] reads. Field numbers are those of `onnx.proto`.

use super::{
    Attribute, AttributeValue, DataType, Dimension, Function, Graph, Model, Node, TensorData,
    TensorProto, ValueInfo, ValueType,
};
use crate::wire::Writer;

impl Model {
    /// The model as an ONNX file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.int(1, self.ir_version);
        writer.text(2, &self.producer);
        writer.int_unless_zero(5, self.version);
        writer.message(7, |to| graph(to, &self.graph));
        opsets(&mut writer, 8, &self.opsets);
        for one in &self.functions {
            writer.message(25, |to| function(to, one));
        }
        writer.finish()
    }
}

impl TensorProto {
    /// The tensor as a file of its own.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        tensor(&mut writer, self);
        writer.finish()
    }
}

fn opsets(writer: &mut Writer, number: u64, opsets: &[(String, i64)]) {
    for (domain, version) in opsets {
        writer.message(number, |to| {
            to.text(1, domain);
            to.int(2, *version);
        });
    }
}

fn graph(writer: &mut Writer, graph: &Graph) {
    for one in &graph.nodes {
        writer.message(1, |to| node(to, one));
    }
    writer.text(2, &graph.name);
    for one in &graph.initializers {
        writer.message(5, |to| tensor(to, one));
    }
    for (number, values) in [
        (11, &graph.inputs),
        (12, &graph.outputs),
        (13, &graph.values),
    ] {
        for one in values {
            writer.message(number, |to| value_info(to, one));
        }
    }
    for _ in 0..graph.sparse_initializers {
        writer.message(15, |_| {});
    }
}

fn node(writer: &mut Writer, node: &Node) {
    // An input that was left out is an empty name, which has to be there.
    node.inputs
        .iter()
        .for_each(|name| writer.bytes(1, name.as_bytes()));
    node.outputs
        .iter()
        .for_each(|name| writer.bytes(2, name.as_bytes()));
    writer.text(3, &node.name);
    writer.text(4, &node.operator);
    for one in &node.attributes {
        writer.message(5, |to| attribute(to, one));
    }
    writer.text(7, &node.domain);
}

fn attribute(writer: &mut Writer, attribute: &Attribute) {
    writer.text(1, &attribute.name);
    let kind = match &attribute.value {
        AttributeValue::Float(value) => {
            writer.float(2, *value);
            1
        }
        AttributeValue::Int(value) => {
            writer.int(3, *value);
            2
        }
        AttributeValue::String(value) => {
            writer.bytes(4, value);
            3
        }
        AttributeValue::Tensor(value) => {
            writer.message(5, |to| tensor(to, value));
            4
        }
        AttributeValue::Graph(value) => {
            writer.message(6, |to| graph(to, value));
            5
        }
        AttributeValue::Floats(values) => {
            values.iter().for_each(|value| writer.float(7, *value));
            6
        }
        AttributeValue::Ints(values) => {
            values.iter().for_each(|value| writer.int(8, *value));
            7
        }
        AttributeValue::Strings(values) => {
            values.iter().for_each(|value| writer.bytes(9, value));
            8
        }
        AttributeValue::Graphs(values) => {
            for value in values {
                writer.message(11, |to| graph(to, value));
            }
            10
        }
        AttributeValue::Type(value) => {
            writer.message(14, |to| value_type(to, value));
            13
        }
        AttributeValue::Reference(name) => {
            writer.text(21, name);
            0
        }
        AttributeValue::Other => 0,
    };
    writer.int_unless_zero(20, kind);
}

fn tensor(writer: &mut Writer, tensor: &TensorProto) {
    let shape: Vec<i64> = tensor.shape.iter().map(|size| *size as i64).collect();
    // Not packed: so it is declared, and some readers take nothing else.
    shape.iter().for_each(|size| writer.int(1, *size));
    writer.int(2, tensor.data_type.0);
    match &tensor.data {
        TensorData::Raw(bytes) => writer.bytes(9, bytes),
        TensorData::Floats(values) => writer.floats(4, values),
        TensorData::Doubles(values) => {
            let packed: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            writer.bytes(10, &packed);
        }
        TensorData::Ints(values) => {
            let number = match tensor.data_type {
                DataType::INT64 => 7,
                DataType::UINT32 | DataType::UINT64 => 11,
                _ => 5,
            };
            writer.ints(number, values);
        }
        TensorData::Strings(values) => values.iter().for_each(|value| writer.bytes(6, value)),
        TensorData::External(external) => {
            let mut entry = |key: &str, value: &str| {
                writer.message(13, |to| {
                    to.text(1, key);
                    to.text(2, value);
                });
            };
            entry("location", &external.location);
            if external.offset > 0 {
                entry("offset", &external.offset.to_string());
            }
            if let Some(length) = external.length {
                entry("length", &length.to_string());
            }
            writer.int(14, 1);
        }
    }
    writer.text(8, &tensor.name);
}

fn value_info(writer: &mut Writer, info: &ValueInfo) {
    writer.text(1, &info.name);
    if let Some(one) = &info.value_type {
        writer.message(2, |to| value_type(to, one));
    }
}

fn value_type(writer: &mut Writer, one: &ValueType) {
    match one {
        ValueType::Tensor(data_type, shape) => writer.message(1, |to| {
            to.int(1, data_type.0);
            if let Some(shape) = shape {
                to.message(2, |to| shape.iter().for_each(|size| dimension(to, size)));
            }
        }),
        ValueType::Sequence(of) => writer.message(4, |to| to.message(1, |to| value_type(to, of))),
        ValueType::Optional(of) => writer.message(9, |to| to.message(1, |to| value_type(to, of))),
        ValueType::Other => {}
    }
}

fn dimension(writer: &mut Writer, size: &Dimension) {
    writer.message(1, |to| match size {
        Dimension::Fixed(size) => to.int(1, *size as i64),
        Dimension::Named(name) => to.text(2, name),
        Dimension::Unknown => {}
    });
}

fn function(writer: &mut Writer, function: &Function) {
    writer.text(1, &function.name);
    function
        .inputs
        .iter()
        .for_each(|name| writer.bytes(4, name.as_bytes()));
    function
        .outputs
        .iter()
        .for_each(|name| writer.bytes(5, name.as_bytes()));
    function
        .attributes
        .iter()
        .for_each(|name| writer.bytes(6, name.as_bytes()));
    for one in &function.nodes {
        writer.message(7, |to| node(to, one));
    }
    opsets(writer, 9, &function.opsets);
    writer.text(10, &function.domain);
    for one in &function.defaults {
        writer.message(11, |to| attribute(to, one));
    }
}

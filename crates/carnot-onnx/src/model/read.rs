//! Models from bytes. Field numbers are those of `onnx.proto`.

use std::cell::Cell;

use carnot_engine::SharedBytes;

use super::{
    Attribute, AttributeValue, DataType, Dimension, ExternalData, Function, Graph, Model, Node,
    TensorData, TensorProto, ValueInfo, ValueType,
};
use crate::OnnxError;
use crate::wire::Reader;

impl Model {
    /// Reads a model; its weights share the bytes. Weights in other files are left there.
    ///
    /// # Errors
    /// [`OnnxError::Malformed`] where the bytes are no model, [`OnnxError::Invalid`] where a shape cannot be.
    pub fn parse(bytes: impl Into<SharedBytes>) -> Result<Self, OnnxError> {
        let (bytes, items) = (bytes.into(), Cell::new(0));
        let mut model = Self::default();
        let mut has_graph = false;
        Reader::new(&bytes, &items, "model").each(|number, value| {
            match number {
                1 => model.ir_version = value.int("model.ir_version")?,
                2 => model.producer = value.text("model.producer_name")?,
                5 => model.version = value.int("model.model_version")?,
                7 => {
                    has_graph = true;
                    read_graph(value.message("model.graph")?, &mut model.graph)?;
                }
                8 => model
                    .opsets
                    .push(opset(value.message("model.opset_import")?)?),
                25 => model
                    .functions
                    .push(function(value.message("model.functions")?)?),
                _ => {}
            }
            Ok(())
        })?;
        if has_graph {
            return Ok(model);
        }
        Err(OnnxError::Malformed {
            what: "model",
            offset: bytes.len(),
            expected: "a graph".to_owned(),
            got: "the end".to_owned(),
        })
    }
}

impl TensorProto {
    /// Reads a tensor of a file of its own, such as the `.pb` files of ONNX's test cases.
    ///
    /// # Errors
    /// As [`Model::parse`].
    pub fn parse(bytes: impl Into<SharedBytes>) -> Result<Self, OnnxError> {
        let (bytes, items) = (bytes.into(), Cell::new(0));
        tensor(Reader::new(&bytes, &items, "tensor"))
    }
}

fn opset(reader: Reader<'_>) -> Result<(String, i64), OnnxError> {
    let mut opset = (String::new(), 0);
    reader.each(|number, value| {
        match number {
            1 => opset.0 = value.text("opset_import.domain")?,
            2 => opset.1 = value.int("opset_import.version")?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(opset)
}

/// Reads into what is there already: a message that comes in pieces is put together, as the format asks.
fn read_graph(reader: Reader<'_>, graph: &mut Graph) -> Result<(), OnnxError> {
    reader.each(|number, value| {
        match number {
            1 => graph.nodes.push(node(value.message("graph.node")?)?),
            2 => graph.name = value.text("graph.name")?,
            5 => graph
                .initializers
                .push(tensor(value.message("graph.initializer")?)?),
            11 => graph
                .inputs
                .push(value_info(value.message("graph.input")?)?),
            12 => graph
                .outputs
                .push(value_info(value.message("graph.output")?)?),
            13 => graph
                .values
                .push(value_info(value.message("graph.value_info")?)?),
            15 => graph.sparse_initializers += 1,
            _ => {}
        }
        Ok(())
    })
}

fn graph(reader: Reader<'_>) -> Result<Graph, OnnxError> {
    let mut graph = Graph::default();
    read_graph(reader, &mut graph)?;
    Ok(graph)
}

fn node(reader: Reader<'_>) -> Result<Node, OnnxError> {
    let mut node = Node::default();
    reader.each(|number, value| {
        match number {
            1 => node.inputs.push(value.text("node.input")?),
            2 => node.outputs.push(value.text("node.output")?),
            3 => node.name = value.text("node.name")?,
            4 => node.operator = value.text("node.op_type")?,
            5 => node
                .attributes
                .push(attribute(value.message("node.attribute")?)?),
            7 => node.domain = value.text("node.domain")?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(node)
}

/// The fields of an attribute, before it is known which of them counts.
#[derive(Default)]
struct Parts {
    kind: i64,
    reference: String,
    float: f32,
    int: i64,
    string: Vec<u8>,
    tensor: Option<TensorProto>,
    graph: Option<Graph>,
    floats: Vec<f32>,
    ints: Vec<i64>,
    strings: Vec<Vec<u8>>,
    graphs: Vec<Graph>,
    value_type: Option<ValueType>,
    seen: i64,
}

fn attribute(reader: Reader<'_>) -> Result<Attribute, OnnxError> {
    let mut name = String::new();
    let mut parts = Parts::default();
    reader.each(|number, value| {
        // What old writers leave out: the type, which is then that of the field that is there.
        let kind = match number {
            2..=10 => number as i64 - 1,
            14 => 13,
            _ => parts.seen,
        };
        parts.seen = kind;
        match number {
            1 => name = value.text("attribute.name")?,
            2 => parts.float = value.float("attribute.f")?,
            3 => parts.int = value.int("attribute.i")?,
            4 => parts.string = value.bytes("attribute.s")?.to_vec()?,
            5 => parts.tensor = Some(tensor(value.message("attribute.t")?)?),
            6 => parts.graph = Some(graph(value.message("attribute.g")?)?),
            7 => value.floats("attribute.floats", &mut parts.floats)?,
            8 => value.ints("attribute.ints", &mut parts.ints)?,
            9 => parts
                .strings
                .push(value.bytes("attribute.strings")?.to_vec()?),
            11 => parts
                .graphs
                .push(graph(value.message("attribute.graphs")?)?),
            14 => parts.value_type = Some(value_type(value.message("attribute.tp")?)?),
            20 => parts.kind = value.int("attribute.type")?,
            21 => parts.reference = value.text("attribute.ref_attr_name")?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(Attribute {
        name,
        value: parts.value(),
    })
}

impl Parts {
    fn value(self) -> AttributeValue {
        use AttributeValue as Value;
        if !self.reference.is_empty() {
            return Value::Reference(self.reference);
        }
        match if self.kind == 0 { self.seen } else { self.kind } {
            1 => Value::Float(self.float),
            2 => Value::Int(self.int),
            3 => Value::String(self.string),
            4 => self.tensor.map_or(Value::Other, Value::Tensor),
            5 => self.graph.map_or(Value::Other, Value::Graph),
            6 => Value::Floats(self.floats),
            7 => Value::Ints(self.ints),
            8 => Value::Strings(self.strings),
            10 => Value::Graphs(self.graphs),
            13 => self.value_type.map_or(Value::Other, Value::Type),
            _ => Value::Other,
        }
    }
}

fn tensor(reader: Reader<'_>) -> Result<TensorProto, OnnxError> {
    let mut shape = Vec::new();
    let (mut name, mut data_type, mut is_external) = (String::new(), 0, false);
    let mut raw = None;
    let (mut floats, mut doubles) = (Vec::new(), Vec::new());
    let (mut ints, mut strings) = (Vec::new(), Vec::new());
    let mut external = Vec::new();
    reader.each(|number, value| {
        match number {
            1 => value.ints("tensor.dims", &mut shape)?,
            2 => data_type = value.int("tensor.data_type")?,
            4 => value.floats("tensor.float_data", &mut floats)?,
            5 => value.ints("tensor.int32_data", &mut ints)?,
            6 => strings.push(value.bytes("tensor.string_data")?.to_vec()?),
            7 => value.ints("tensor.int64_data", &mut ints)?,
            8 => name = value.text("tensor.name")?,
            9 => raw = Some(value.bytes("tensor.raw_data")?.shared()),
            10 => value.doubles("tensor.double_data", &mut doubles)?,
            11 => value.ints("tensor.uint64_data", &mut ints)?,
            13 => external.push(entry(value.message("tensor.external_data")?)?),
            14 => is_external = value.int("tensor.data_location")? == 1,
            _ => {}
        }
        Ok(())
    })?;
    let data = if is_external {
        TensorData::External(external_data(&name, &external)?)
    } else if let Some(raw) = raw {
        TensorData::Raw(raw)
    } else if !floats.is_empty() {
        TensorData::Floats(floats)
    } else if !doubles.is_empty() {
        TensorData::Doubles(doubles)
    } else if data_type == DataType::STRING.0 {
        TensorData::Strings(strings)
    } else {
        TensorData::Ints(ints)
    };
    let shape = sizes(&name, &shape)?;
    Ok(TensorProto {
        name,
        data_type: DataType(data_type),
        shape,
        data,
    })
}

fn sizes(name: &str, shape: &[i64]) -> Result<Vec<usize>, OnnxError> {
    let sizes: Result<Vec<usize>, _> = shape.iter().map(|size| usize::try_from(*size)).collect();
    sizes.map_err(|_| OnnxError::Invalid {
        what: "tensor",
        name: name.to_owned(),
        expected: "sizes of 0 or more".to_owned(),
        got: format!("{shape:?}"),
    })
}

fn entry(reader: Reader<'_>) -> Result<(String, String), OnnxError> {
    let mut entry = (String::new(), String::new());
    reader.each(|number, value| {
        match number {
            1 => entry.0 = value.text("external_data.key")?,
            2 => entry.1 = value.text("external_data.value")?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(entry)
}

fn external_data(name: &str, entries: &[(String, String)]) -> Result<ExternalData, OnnxError> {
    let text = |key: &str| {
        let found = entries.iter().find(|(entry, _)| entry == key);
        found.map(|(_, value)| value.as_str())
    };
    let number = |key: &str| {
        let invalid = |got: &str| OnnxError::Invalid {
            what: "external tensor",
            name: name.to_owned(),
            expected: format!("a number of bytes as its {key}"),
            got: got.to_owned(),
        };
        let value = text(key).map(|got| got.parse::<u64>().map_err(|_| invalid(got)));
        value.transpose()
    };
    Ok(ExternalData {
        location: text("location").unwrap_or_default().to_owned(),
        offset: number("offset")?.unwrap_or(0),
        length: number("length")?,
    })
}

fn value_info(reader: Reader<'_>) -> Result<ValueInfo, OnnxError> {
    let mut info = ValueInfo::default();
    reader.each(|number, value| {
        match number {
            1 => info.name = value.text("value.name")?,
            2 => info.value_type = Some(value_type(value.message("value.type")?)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(info)
}

fn value_type(reader: Reader<'_>) -> Result<ValueType, OnnxError> {
    let mut found = ValueType::Other;
    reader.each(|number, value| {
        found = match number {
            1 => tensor_type(value.message("type.tensor_type")?)?,
            4 => ValueType::Sequence(Box::new(element(value.message("type.sequence_type")?)?)),
            9 => ValueType::Optional(Box::new(element(value.message("type.optional_type")?)?)),
            _ => return Ok(()),
        };
        Ok(())
    })?;
    Ok(found)
}

fn element(reader: Reader<'_>) -> Result<ValueType, OnnxError> {
    let mut found = ValueType::Other;
    reader.each(|number, value| {
        if number == 1 {
            found = value_type(value.message("type.elem_type")?)?;
        }
        Ok(())
    })?;
    Ok(found)
}

fn tensor_type(reader: Reader<'_>) -> Result<ValueType, OnnxError> {
    let (mut data_type, mut shape) = (0, None);
    reader.each(|number, value| {
        match number {
            1 => data_type = value.int("tensor_type.elem_type")?,
            2 => {
                let shape = shape.get_or_insert_with(Vec::new);
                value.message("tensor_type.shape")?.each(|number, value| {
                    if number == 1 {
                        shape.push(dimension(value.message("shape.dim")?)?);
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(ValueType::Tensor(DataType(data_type), shape))
}

/// A size; writers say -1, too, where any will do.
fn dimension(reader: Reader<'_>) -> Result<Dimension, OnnxError> {
    let mut found = Dimension::Unknown;
    reader.each(|number, value| {
        found = match number {
            1 => match usize::try_from(value.int("dim.dim_value")?) {
                Ok(size) => Dimension::Fixed(size),
                Err(_) => Dimension::Unknown,
            },
            2 => match value.text("dim.dim_param")? {
                name if name.is_empty() => Dimension::Unknown,
                name => Dimension::Named(name),
            },
            _ => return Ok(()),
        };
        Ok(())
    })?;
    Ok(found)
}

fn function(reader: Reader<'_>) -> Result<Function, OnnxError> {
    let mut function = Function::default();
    reader.each(|number, value| {
        match number {
            1 => function.name = value.text("function.name")?,
            4 => function.inputs.push(value.text("function.input")?),
            5 => function.outputs.push(value.text("function.output")?),
            6 => function.attributes.push(value.text("function.attribute")?),
            7 => function.nodes.push(node(value.message("function.node")?)?),
            9 => function
                .opsets
                .push(opset(value.message("function.opset_import")?)?),
            10 => function.domain = value.text("function.domain")?,
            11 => function
                .defaults
                .push(attribute(value.message("function.attribute_proto")?)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(function)
}

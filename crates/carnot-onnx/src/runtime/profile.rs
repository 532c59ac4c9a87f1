//! What ONNX Runtime's own profiler wrote: when each node ran, and for how long.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::OnnxError;
use crate::model::DataType;

/// What the profiler recorded since the session was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeProfile {
    /// Every run of the model: when it began and how long it took, in nanoseconds, by their beginnings.
    pub runs: Vec<(u64, u64)>,
    /// Every run of a node, by their beginnings.
    pub nodes: Vec<NodeRun>,
}

/// A node at work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRun {
    /// The node's name; fused nodes have names of their own.
    pub name: String,
    /// The operator, such as `Conv` or the fused `FusedConv`.
    pub operator: String,
    /// What computed it, such as `CPUExecutionProvider`.
    pub provider: String,
    /// When it began, in nanoseconds since the profile did; the profiler counts microseconds.
    pub start_ns: u64,
    /// How long it took, in nanoseconds.
    pub duration_ns: u64,
    /// Its inputs; weights that the runtime keeps in an order of its own are not among them.
    pub inputs: Vec<SeenValue>,
    /// Its outputs.
    pub outputs: Vec<SeenValue>,
}

/// A value that a node took or gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenValue {
    /// The type of its numbers.
    pub data_type: DataType,
    /// Its size along each axis.
    pub shape: Vec<usize>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    ts: i64,
    #[serde(default)]
    dur: i64,
    #[serde(default)]
    args: Arguments,
}

#[derive(Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    op_name: String,
    #[serde(default)]
    provider: String,
    #[serde(default)]
    input_type_shape: Vec<BTreeMap<String, Vec<i64>>>,
    #[serde(default)]
    output_type_shape: Vec<BTreeMap<String, Vec<i64>>>,
}

impl RuntimeProfile {
    /// Reads what the profiler wrote; what it says of threads and of loading is passed over.
    ///
    /// # Errors
    /// [`OnnxError::Runtime`] where it is no such profile.
    pub fn parse(json: &str) -> Result<Self, OnnxError> {
        const KERNEL: &str = "_kernel_time";
        let entries: Vec<Entry> =
            serde_json::from_str(json).map_err(|error| OnnxError::Runtime {
                runtime: "the profile of ONNX Runtime",
                message: error.to_string(),
            })?;
        let nanoseconds =
            |microseconds: i64| microseconds.max(0).cast_unsigned().saturating_mul(1000);
        let mut profile = Self::default();
        for entry in entries {
            let (start_ns, duration_ns) = (nanoseconds(entry.ts), nanoseconds(entry.dur));
            if entry.cat == "Session" && entry.name == "model_run" {
                profile.runs.push((start_ns, duration_ns));
            }
            if let ("Node", Some(name)) = (entry.cat.as_str(), entry.name.strip_suffix(KERNEL)) {
                profile.nodes.push(NodeRun {
                    name: name.to_owned(),
                    operator: entry.args.op_name,
                    provider: entry.args.provider,
                    start_ns,
                    duration_ns,
                    inputs: seen(&entry.args.input_type_shape),
                    outputs: seen(&entry.args.output_type_shape),
                });
            }
        }
        profile.runs.sort_unstable();
        profile.nodes.sort_by_key(|node| node.start_ns);
        Ok(profile)
    }
}

fn seen(values: &[BTreeMap<String, Vec<i64>>]) -> Vec<SeenValue> {
    let value = |(name, shape): (&String, &Vec<i64>)| {
        let shape = shape.iter().map(|size| usize::try_from(*size).ok());
        Some(SeenValue {
            data_type: data_type(name),
            shape: shape.collect::<Option<_>>()?,
        })
    };
    values.iter().flatten().filter_map(value).collect()
}

/// The runtime names types as protocol buffers and C++ do.
fn data_type(name: &str) -> DataType {
    match name {
        "float" => DataType::FLOAT,
        "uint8" => DataType::UINT8,
        "int8" => DataType::INT8,
        "uint16" => DataType::UINT16,
        "int16" => DataType::INT16,
        "int32" => DataType::INT32,
        "int64" => DataType::INT64,
        "string" => DataType::STRING,
        "bool" => DataType::BOOL,
        "float16" => DataType::FLOAT16,
        "double" => DataType::DOUBLE,
        "uint32" => DataType::UINT32,
        "uint64" => DataType::UINT64,
        "bfloat16" => DataType::BFLOAT16,
        _ => DataType::UNDEFINED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_among_what_else_is_said() {
        let json = r#"[
            {"cat":"Session","pid":1,"tid":1,"dur":99,"ts":0,"ph":"X","name":"model_run","args":{}},
            {"cat":"Node","pid":1,"tid":1,"dur":7,"ts":20,"ph":"X","name":"b_kernel_time",
             "args":{"op_name":"Relu","provider":"CPUExecutionProvider","node_index":"1",
                     "input_type_shape":[{"float":[1,64]},{"int64":[]}],"output_type_shape":[{"float":[1,-1]}]}},
            {"cat":"Node","pid":1,"tid":1,"dur":5,"ts":10,"ph":"X","name":"a_kernel_time",
             "args":{"op_name":"Conv","provider":"CPUExecutionProvider"}},
            {"cat":"Node","dur":1,"ts":9,"name":"a_fence_before"}
        ]"#;
        let profile = RuntimeProfile::parse(json).expect("a profile");
        let told: Vec<_> = profile
            .nodes
            .iter()
            .map(|one| (one.name.as_str(), one.start_ns, one.duration_ns))
            .collect();
        assert_eq!(told, [("a", 10_000, 5_000), ("b", 20_000, 7_000)]);
        assert_eq!(profile.runs, [(0, 99_000)]);
        let relu = &profile.nodes[1];
        assert_eq!(relu.operator, "Relu");
        assert_eq!((relu.inputs.len(), relu.outputs.len()), (2, 0));
        assert_eq!(relu.inputs[0].shape, [1, 64]);
        assert_eq!(relu.inputs[1].data_type, DataType::INT64);
        assert!(RuntimeProfile::parse("{").is_err());
    }
}

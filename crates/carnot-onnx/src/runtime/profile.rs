//! What ONNX Runtime's own profiler wrote: when each node ran, and for how long.

use serde::Deserialize;

use crate::OnnxError;

/// A node at work.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// The nodes of a profile, in the order in which they began; what the profiler says of sessions and threads is passed over.
///
/// # Errors
/// [`OnnxError::Runtime`] where it is no such profile.
pub fn parse_profile(json: &str) -> Result<Vec<NodeRun>, OnnxError> {
    const KERNEL: &str = "_kernel_time";
    let entries: Vec<Entry> = serde_json::from_str(json).map_err(|error| OnnxError::Runtime {
        runtime: "the profile of ONNX Runtime",
        message: error.to_string(),
    })?;
    let nanoseconds = |microseconds: i64| microseconds.max(0).cast_unsigned().saturating_mul(1000);
    let node = |entry: Entry| {
        let name = entry.name.strip_suffix(KERNEL)?.to_owned();
        (entry.cat == "Node").then(|| NodeRun {
            name,
            operator: entry.args.op_name,
            provider: entry.args.provider,
            start_ns: nanoseconds(entry.ts),
            duration_ns: nanoseconds(entry.dur),
        })
    };
    let mut nodes: Vec<NodeRun> = entries.into_iter().filter_map(node).collect();
    nodes.sort_by_key(|node| node.start_ns);
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_among_what_else_is_said() {
        let json = r#"[
            {"cat":"Session","pid":1,"tid":1,"dur":99,"ts":0,"ph":"X","name":"model_run","args":{}},
            {"cat":"Node","pid":1,"tid":1,"dur":7,"ts":20,"ph":"X","name":"b_kernel_time",
             "args":{"op_name":"Relu","provider":"CPUExecutionProvider","node_index":"1"}},
            {"cat":"Node","pid":1,"tid":1,"dur":5,"ts":10,"ph":"X","name":"a_kernel_time",
             "args":{"op_name":"Conv","provider":"CPUExecutionProvider"}},
            {"cat":"Node","dur":1,"ts":9,"name":"a_fence_before"}
        ]"#;
        let nodes = parse_profile(json).expect("a profile");
        let told: Vec<_> = nodes
            .iter()
            .map(|one| (one.name.as_str(), one.start_ns, one.duration_ns))
            .collect();
        assert_eq!(told, [("a", 10_000, 5_000), ("b", 20_000, 7_000)]);
        assert_eq!(nodes[1].operator, "Relu");
        assert!(parse_profile("{").is_err());
    }
}

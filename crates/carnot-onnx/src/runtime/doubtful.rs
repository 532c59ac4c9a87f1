//! Operators that the embedded engine takes and computes otherwise than ONNX says: whoever lets it run a model should be told.
//!
//! Found by ONNX's own test cases: `crates/carnot-conformance/expected/embedded.txt` has those that fail. What depends on shapes or values
//! that only a run knows is named wherever it may happen; `MatMul` of four axes and one is not, for it is in every model.

use std::collections::BTreeSet;

use crate::model::{Model, Node};

/// What of a model the embedded engine is known to compute otherwise than ONNX says, a line for each operator.
pub fn doubtful_operators(model: &Model) -> Vec<String> {
    let mut found = BTreeSet::new();
    model.graph.each_node(&mut |node| {
        if let Some(what) = doubt(node) {
            found.insert(format!("the embedded engine differs from ONNX at {what}"));
        }
    });
    found.into_iter().collect()
}

fn doubt(node: &Node) -> Option<&'static str> {
    if !node.domain.is_empty() {
        return None;
    }
    match node.operator.as_str() {
        "Resize" if node.text("mode") == Some("cubic") => Some("Resize in mode cubic"),
        "Resize" if node.text("coordinate_transformation_mode") == Some("align_corners") => {
            Some("Resize with align_corners")
        }
        "NonMaxSuppression" => {
            Some("NonMaxSuppression of several classes or batches, or of flipped boxes")
        }
        "ArgMax" => Some("ArgMax among equal values: another of them"),
        "Sign" => Some("Sign of 0"),
        "DynamicQuantizeLinear" => Some("DynamicQuantizeLinear: other roundings"),
        "DFT" => Some("DFT"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GraphBuilder;

    #[test]
    fn what_differs_is_named_once() {
        let mut builder = GraphBuilder::new("some", 17);
        for _ in 0..2 {
            builder.node("Resize", &["x"], &["y"]).text("mode", "cubic");
        }
        builder
            .node("Resize", &["x"], &["y"])
            .text("mode", "nearest");
        builder.node("Sign", &["x"], &["y"]).of_domain("other");
        builder.node("NonMaxSuppression", &["x"], &["y"]);
        let found = doubtful_operators(&builder.finish());
        assert_eq!(
            found,
            [
                "the embedded engine differs from ONNX at NonMaxSuppression of several classes or batches, or of flipped boxes",
                "the embedded engine differs from ONNX at Resize in mode cubic"
            ]
        );
    }
}

//! One row for each layer of the model: layers do the same work, so they should look alike.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{operations::OperationGroup, statistics::ratio};

/// All operations of one layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LayerRow {
    /// The layer.
    pub layer: u32,
    /// Executions of operations.
    pub count: u64,
    /// Time of its operations, with waiting.
    pub total_ns: u64,
    /// The mean of the threads' busy time.
    pub busy_ns: u64,
    /// The least time.
    pub floor_ns: u64,
    /// Arithmetic operations.
    pub flops: u64,
    /// Bytes that had to be moved.
    pub bytes: u64,
    /// `total_ns` over the accounted wall time.
    pub share: f64,
    /// `floor_ns` over `total_ns`.
    pub efficiency: f64,
    /// The operation that loses most time over its floor in this layer.
    pub largest_loss: String,
}

/// Layers in order, from operations that are grouped by name and layer.
pub(crate) fn layers(operations: &[OperationGroup], wall_ns: u64) -> Vec<LayerRow> {
    let mut by_layer: BTreeMap<u32, Vec<&OperationGroup>> = BTreeMap::new();
    for operation in operations {
        if let Some(layer) = operation.layer {
            by_layer.entry(layer).or_default().push(operation);
        }
    }
    by_layer
        .into_iter()
        .map(|(layer, operations)| row(layer, &operations, wall_ns))
        .collect()
}

fn row(layer: u32, operations: &[&OperationGroup], wall_ns: u64) -> LayerRow {
    let sum = |field: fn(&OperationGroup) -> u64| {
        operations.iter().fold(0, |sum: u64, operation| {
            sum.saturating_add(field(operation))
        })
    };
    let total_ns = sum(OperationGroup::total_ns);
    let floor_ns = sum(|operation| operation.floor_ns);
    let largest = operations
        .iter()
        .max_by_key(|operation| operation.total_ns() as i64 - operation.floor_ns as i64);
    LayerRow {
        layer,
        count: sum(|operation| operation.times.count),
        total_ns,
        busy_ns: sum(|operation| operation.busy_ns),
        floor_ns,
        flops: sum(|operation| operation.flops),
        bytes: sum(|operation| operation.bytes),
        share: ratio(total_ns as f64, wall_ns as f64),
        efficiency: ratio(floor_ns as f64, total_ns as f64),
        largest_loss: largest
            .map(|operation| operation.name.clone())
            .unwrap_or_default(),
    }
}

//! Operations by time, and layers: the first and the last, since those between are mostly alike.

use carnot_analyze::{Analysis, LayerRow, OperationGroup};

use super::Colour;
use crate::{
    table::{Align::Left, Align::Right, Column, row},
    units,
};

const TOP_OPERATIONS: usize = 10;
const FIRST_AND_LAST_LAYERS: usize = 5;

pub(super) fn operations(analysis: &Analysis, colour: Colour) -> Vec<String> {
    const COLUMNS: [Column; 9] = [
        (Left, 26),
        (Left, 8),
        (Right, 7),
        (Right, 9),
        (Right, 7),
        (Right, 6),
        (Right, 6),
        (Right, 6),
        (Left, 8),
    ];
    let all = &analysis.operations_by_phase;
    if all.is_empty() {
        return Vec::new();
    }
    let titles = [
        "operation",
        "phase",
        "count",
        "time",
        "share",
        "GB/s",
        "GOP/s",
        "limit",
        "bound",
    ];
    let mut lines = vec![colour.dim(&row(&COLUMNS, &titles))];
    let cells = |o: &OperationGroup| {
        row(
            &COLUMNS,
            &[
                &o.name,
                o.phase.as_deref().unwrap_or_default(),
                &units::count(o.times.count),
                &units::duration(o.total_ns() as f64),
                &units::percent(o.share),
                &units::digits(o.bytes_per_s() / 1e9),
                &units::digits(o.flops_per_s() / 1e9),
                &units::whole_percent(o.efficiency),
                o.bound.name(),
            ],
        )
    };
    lines.extend(all.iter().take(TOP_OPERATIONS).map(cells));
    if all.len() > TOP_OPERATIONS {
        let rest: f64 = all[TOP_OPERATIONS..]
            .iter()
            .map(|operation| operation.share)
            .sum();
        let (left, share) = (all.len() - TOP_OPERATIONS, units::percent(rest));
        lines.push(colour.dim(&format!("… {left} more, {share} together")));
    }
    lines
}

pub(super) fn layers(analysis: &Analysis, colour: Colour) -> Vec<String> {
    const COLUMNS: [Column; 7] = [
        (Right, 5),
        (Right, 9),
        (Right, 7),
        (Right, 7),
        (Right, 7),
        (Right, 6),
        (Left, 40),
    ];
    let layers = &analysis.layers;
    if layers.is_empty() {
        return Vec::new();
    }
    let titles = [
        "layer",
        "time",
        "share",
        "GB/s",
        "GOP/s",
        "limit",
        "largest loss",
    ];
    let mut lines = vec![colour.dim(&row(&COLUMNS, &titles))];
    let cells = |layer: &LayerRow| {
        let rate = |amount: u64| units::digits(amount as f64 / layer.total_ns.max(1) as f64);
        row(
            &COLUMNS,
            &[
                &layer.layer.to_string(),
                &units::duration(layer.total_ns as f64),
                &units::percent(layer.share),
                &rate(layer.bytes),
                &rate(layer.flops),
                &units::whole_percent(layer.efficiency),
                &layer.largest_loss,
            ],
        )
    };
    let omitted = layers.len().saturating_sub(2 * FIRST_AND_LAST_LAYERS);
    if omitted == 0 {
        lines.extend(layers.iter().map(cells));
        return lines;
    }
    lines.extend(layers[..FIRST_AND_LAST_LAYERS].iter().map(cells));
    lines.push(colour.dim(&format!("    … {omitted} omitted")));
    lines.extend(layers[FIRST_AND_LAST_LAYERS + omitted..].iter().map(cells));
    lines
}

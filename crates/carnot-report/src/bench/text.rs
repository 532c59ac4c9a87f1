//! What a benchmark measured, for a terminal.

use carnot_record::BenchRecord;

use super::rows;
use crate::table::{
    Align::{Left, Right},
    Column, bar, row,
};
use crate::text::Colour;
use crate::units;

const COLUMNS: [Column; 7] = [
    (Left, 30),
    (Right, 13),
    (Right, 13),
    (Right, 13),
    (Right, 8),
    (Right, 13),
    (Right, 8),
];
const LOSS_COLUMNS: [Column; 3] = [(Left, 30), (Right, 13), (Right, 8)];
const PLACE_COLUMNS: [Column; 5] = [(Right, 10), (Right, 8), (Right, 10), (Left, 56), (Left, 56)];
const BAR: usize = 20;

/// The report, each line ended.
pub fn render(record: &BenchRecord, colour: Colour) -> String {
    let mut lines = vec![format!(
        "carnot bench {}   {}",
        record.suite,
        rows::subject(record)
    )];
    let conditions: Vec<String> = record
        .conditions
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    lines.push(colour.dim(&conditions.join(" · ")));
    lines.push(String::new());
    let heading = ["", "median", "p95", "p99", "spread", "limit", "of it"];
    lines.push(colour.dim(&row(&COLUMNS, &heading)));
    for metric in &record.metrics {
        let of = rows::metric(metric);
        let [p95, p99] = &of.tail;
        lines.push(row(
            &COLUMNS,
            &[
                &of.name,
                &of.median,
                p95,
                p99,
                &of.spread,
                &of.limit,
                &of.of_limit,
            ],
        ));
    }
    let losses = rows::losses(record);
    if !losses.is_empty() {
        lines.push(String::new());
        let heading = ["where the time went", "median", "share"];
        lines.push(colour.dim(&row(&LOSS_COLUMNS, &heading)));
    }
    let most = losses.iter().map(|loss| loss.share).fold(0.0, f64::max);
    for loss in &losses {
        let share = units::percent(loss.share);
        let line = row(&LOSS_COLUMNS, &[&loss.name, &loss.time, &share]);
        lines.push(format!("{line}  {}", bar(loss.share / most, BAR)));
    }
    for places in rows::places(record) {
        lines.push(String::new());
        lines.push(colour.dim(&row(&PLACE_COLUMNS, &places.headings)));
        let cells =
            |cells: &[String; 5]| row(&PLACE_COLUMNS, &cells.each_ref().map(String::as_str));
        lines.extend(places.rows.iter().map(cells));
    }
    for warning in &record.warnings {
        lines.push(format!("\nwarning: {warning}"));
    }
    if let Some(why) = &record.void {
        lines.push(format!("\nvoid: {why}"));
    }
    lines.join("\n") + "\n"
}

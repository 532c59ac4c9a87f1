//! What a benchmark measured as Markdown, for a comment or a file.

use std::fmt::Write as _;

use carnot_record::BenchRecord;

use super::rows;
use crate::markdown::escaped;
use crate::units;

/// The report.
pub fn render(record: &BenchRecord) -> String {
    let mut out = format!("# carnot bench {}\n\n", escaped(&record.suite));
    let _ = writeln!(out, "{}\n", escaped(&rows::subject(record)));
    if let Some(why) = &record.void {
        let _ = writeln!(out, "**Void**: {}\n", escaped(why));
    }
    out.push_str(
        "| metric | median | p95 | p99 | spread | limit | of it |\n|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for metric in &record.metrics {
        let of = rows::metric(metric);
        let [p95, p99] = &of.tail;
        let _ = writeln!(
            out,
            "| {} | {} | {p95} | {p99} | {} | {} | {} |",
            escaped(&of.name),
            of.median,
            of.spread,
            of.limit,
            of.of_limit
        );
    }
    let losses = rows::losses(record);
    if !losses.is_empty() {
        out.push_str("\n| where the time went | median | share |\n|---|--:|--:|\n");
    }
    for loss in losses {
        let share = units::percent(loss.share);
        let _ = writeln!(out, "| {} | {} | {share} |", escaped(&loss.name), loss.time);
    }
    for places in rows::places(record) {
        let _ = writeln!(
            out,
            "\n| {} |\n|--:|--:|--:|---|---|",
            places.headings.join(" | ")
        );
        for cells in places.rows {
            let _ = writeln!(out, "| {} |", cells.map(|cell| escaped(&cell)).join(" | "));
        }
    }
    for warning in &record.warnings {
        let _ = writeln!(out, "\nWarning: {}", escaped(warning));
    }
    out
}

//! What benchmarks measured as one HTML file: tables, distributions, values over time, curves, and losses side by side.
//!
//! As [the report of a profile](crate::html): no network, no library, data as one block of JSON; it shares its style sheet and scripts.

use carnot_record::BenchRecord;

use crate::html::{DRAW, FORMAT, STYLE, fill};

const TEMPLATE: &str = include_str!("html/bench.html");
pub(crate) const PLOT: &str = include_str!("html/plot.js");
const OWN_STYLE: &str = include_str!("html/bench.css");

/// In order: each may use those before it.
const SCRIPTS: [&str; 5] = [
    FORMAT,
    DRAW,
    PLOT,
    include_str!("html/tables.js"),
    include_str!("html/main.js"),
];

/// A page of all `records`, in their order.
pub fn render(records: &[BenchRecord]) -> String {
    let data = serde_json::to_string(records).expect("strings and numbers are JSON");
    // A name could hold the end of a script element, or the start of a comment.
    let data = data.replace('<', "\\u003c");
    fill(
        TEMPLATE,
        &[
            ("{{style}}", &[STYLE, OWN_STYLE].concat()),
            ("{{script}}", &SCRIPTS.concat()),
            ("{{data}}", &data),
        ],
    )
}

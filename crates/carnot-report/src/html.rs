//! The report as one HTML file: no network, no library, light and dark.
//!
//! The page is a template, a style sheet and a few scripts from `html/`, with the analysis as one block of JSON. The scripts
//! only draw; every figure comes from here. Text reaches the page as text, never as markup, and a content security policy
//! forbids whatever would leave the file.

mod timeline;

use carnot_analyze::{Analysis, Trace};
use serde::Serialize;

use timeline::Timeline;

const TEMPLATE: &str = include_str!("html/report.html");
pub(crate) const STYLE: &str = include_str!("html/report.css");
pub(crate) const FORMAT: &str = include_str!("html/format.js");
pub(crate) const DRAW: &str = include_str!("html/draw.js");
pub(crate) const TIMELINE: &str = include_str!("html/timeline.js");
pub(crate) const TABLES: &str = include_str!("html/tables.js");

/// In order: each may use those before it.
const SCRIPTS: [&str; 11] = [
    FORMAT,
    DRAW,
    include_str!("html/summary.js"),
    include_str!("html/waterfall.js"),
    include_str!("html/roofline.js"),
    TIMELINE,
    include_str!("html/flame.js"),
    include_str!("html/layers.js"),
    include_str!("html/memory.js"),
    TABLES,
    include_str!("html/main.js"),
];

#[derive(Serialize)]
struct Page<'a> {
    analysis: &'a Analysis,
    timeline: Timeline<'a>,
}

/// The report.
pub fn render(analysis: &Analysis, trace: &Trace) -> String {
    let page = Page {
        analysis,
        timeline: Timeline::new(trace),
    };
    let data = serde_json::to_string(&page).expect("strings and numbers are JSON");
    // A name could hold the end of a script element, or the start of a comment.
    let data = data.replace('<', "\\u003c");
    fill(
        TEMPLATE,
        &[
            ("{{style}}", STYLE),
            ("{{script}}", &SCRIPTS.concat()),
            ("{{data}}", &data),
        ],
    )
}

/// Fills each place once, from left to right, so that data which looks like a place is left alone.
pub(crate) fn fill(template: &str, places: &[(&str, &str)]) -> String {
    let mut page = String::new();
    let mut rest = template;
    for (place, text) in places {
        let (before, after) = rest
            .split_once(place)
            .expect("the template has each place, in order");
        page.push_str(before);
        page.push_str(text);
        rest = after;
    }
    page.push_str(rest);
    page
}

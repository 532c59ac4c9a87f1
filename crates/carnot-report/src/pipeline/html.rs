//! The report as one HTML file, from the parts of [the report of a profile](crate::html): no network, no library, data as one block of JSON.

use carnot_analyze::pipeline::{PipelineAnalysis, Ranks};
use serde::Serialize;

use super::timeline::Timeline;
use crate::html::{DRAW, FORMAT, STYLE, TABLES, TIMELINE, fill};

const TEMPLATE: &str = include_str!("html/pipeline.html");

#[derive(Serialize)]
struct Page<'a> {
    analysis: &'a PipelineAnalysis,
    ranks: Option<&'a Ranks>,
    timeline: &'a Timeline,
    source: Option<&'a str>,
}

pub(super) fn render(
    analysis: &PipelineAnalysis,
    ranks: Option<&Ranks>,
    timeline: &Timeline,
    source: Option<&str>,
) -> String {
    // In order: each may use those before it.
    let scripts = [
        FORMAT,
        DRAW,
        crate::bench::PLOT,
        TABLES,
        TIMELINE,
        include_str!("html/sections.js"),
        include_str!("html/main.js"),
    ];
    let page = Page {
        analysis,
        ranks,
        timeline,
        source,
    };
    let data = serde_json::to_string(&page).expect("strings and numbers are JSON");
    // A name could hold the end of a script element, or the start of a comment.
    let data = data.replace('<', "\\u003c");
    // Only a page that somebody serves may ask for more.
    let connect = if source.is_some() {
        "; connect-src 'self'"
    } else {
        ""
    };
    fill(
        TEMPLATE,
        &[
            ("{{connect}}", connect),
            ("{{style}}", STYLE),
            ("{{script}}", &scripts.concat()),
            ("{{data}}", &data),
        ],
    )
}

//! A speedscope file: one evented profile for each thread, in nanoseconds.
//!
//! Schema: <https://www.speedscope.app/file-format-schema.json>. Opens and closes balance because they come from clipped
//! spans.

use std::collections::HashMap;

use carnot_analyze::{Analysis, SpanTree};
use carnot_record::Trace;
use serde::Serialize;

use crate::stacks::{Edge, edges, shown, threads};

#[derive(Serialize)]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    exporter: &'static str,
    name: &'a str,
    shared: Shared<'a>,
    profiles: Vec<Profile>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: Vec<Frame<'a>>,
}

#[derive(Serialize)]
struct Frame<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    r#type: &'static str,
    name: String,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    events: Vec<Event>,
}

#[derive(Serialize)]
struct Event {
    r#type: char,
    frame: u32,
    at: u64,
}

/// The trace as the text of a `.speedscope.json` file.
pub fn render(analysis: &Analysis, trace: &Trace) -> String {
    let file = File {
        schema: "https://www.speedscope.app/file-format-schema.json",
        exporter: "carnot",
        name: &analysis.run.model.name,
        shared: Shared {
            frames: frames(trace),
        },
        profiles: profiles(trace),
    };
    serde_json::to_string(&file).expect("strings and numbers are JSON") + "\n"
}

/// One frame for each site, and one more for spans that have none.
fn frames(trace: &Trace) -> Vec<Frame<'_>> {
    let of_sites = trace.sites.iter().map(|site| Frame {
        name: shown(&site.name),
        file: &site.file,
        line: (site.line > 0).then_some(site.line),
    });
    of_sites
        .chain([Frame {
            name: "(unnamed)",
            file: "",
            line: None,
        }])
        .collect()
}

fn profiles(trace: &Trace) -> Vec<Profile> {
    let tree = SpanTree::new(trace);
    let mut events: HashMap<u32, Vec<Event>> = HashMap::new();
    for edge in edges(&tree) {
        let (r#type, index, at) = match edge {
            Edge::Open(index) => ('O', index, tree.start_ns(index)),
            Edge::Close(index) => ('C', index, tree.end_ns(index)),
        };
        let span = &trace.spans[index as usize];
        let frame = span.site.min(trace.sites.len() as u32);
        events
            .entry(span.thread)
            .or_default()
            .push(Event { r#type, frame, at });
    }
    let profile = |(id, name): (u32, String)| {
        let events = events.remove(&id)?;
        let (start_value, end_value) = (events.first()?.at, events.last()?.at);
        let (r#type, unit) = ("evented", "nanoseconds");
        Some(Profile {
            r#type,
            name,
            unit,
            start_value,
            end_value,
            events,
        })
    };
    threads(trace).into_iter().filter_map(profile).collect()
}

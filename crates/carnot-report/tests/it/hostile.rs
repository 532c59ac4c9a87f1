//! Names that hold what each form is made of come out as names.

use carnot_analyze::Analysis;
use carnot_record::{
    Arithmetic, CounterSample, Instant, MemoryEvent, Site, Span, SpanKind, Thread, Trace,
};
use carnot_report::{
    Form, chrome, collapsed, csv, flamegraph, html, json, markdown, speedscope, text,
};
use serde_json::Value;

use crate::fixture;

/// One for each syntax, and all at once.
pub const NAMES: [&str; 12] = [
    "</script><script>document.documentElement.dataset.broken=1</script>",
    "<img src=x onerror=\"document.documentElement.dataset.broken=1\">",
    "<!--<script>",
    "quote \" apostrophe ' backslash \\ backtick `",
    "semicolon; comma, tab\tline\nreturn\r",
    "control \u{0}\u{1}\u{1b}[31m\u{7f}\u{85}\u{fffe}",
    "unicode ünï 漢字 🦀 \u{202e}right to left\u{2028}",
    "{{data}} {{script}} $& $1",
    "]]> &amp; &#x41; <![CDATA[",
    "=HYPERLINK(\"x\")|*bold*_under_[a](b)",
    "# 12 %s",
    "",
];

pub fn profile() -> (Analysis, Trace) {
    let mut trace = fixture::trace();
    let all = NAMES.concat();
    let mut now_ns = trace.duration_ns;
    let phase = trace.spans.len() as u32;
    trace.sites.push(Site {
        name: NAMES[0].into(),
        kind: SpanKind::Phase,
        ..Site::default()
    });
    trace.spans.push(Span {
        site: trace.sites.len() as u32 - 1,
        start_ns: now_ns,
        end_ns: now_ns + 2 * NAMES.len() as u64 * 900_000,
        tokens: 5,
        ..Span::default()
    });
    for (index, name) in NAMES.iter().flat_map(|name| [name, name]).enumerate() {
        let kind = if index % 2 == 0 {
            SpanKind::Operation
        } else {
            SpanKind::Engine
        };
        trace.sites.push(Site {
            name: (*name).into(),
            kind,
            file: all.clone(),
            line: 1,
        });
        trace.spans.push(Span {
            site: trace.sites.len() as u32 - 1,
            parent: Some(phase),
            start_ns: now_ns,
            end_ns: now_ns + 900_000,
            flops: 9_000_000,
            bytes: 9_000_000,
            arithmetic: Arithmetic::F32,
            ..Span::default()
        });
        now_ns += 900_000;
        trace.instants.push(Instant {
            name: (*name).into(),
            thread: 0,
            time_ns: 1,
        });
        let value = if index == 0 { f64::NAN } else { 1.0 };
        trace.counters.push(CounterSample {
            name: (*name).into(),
            time_ns: 1,
            value,
            unit: all.clone(),
        });
        trace.memory.push(MemoryEvent {
            time_ns: 1,
            owner: (*name).into(),
            bytes: 1,
            id: None,
        });
    }
    trace.threads.push(Thread {
        id: 7,
        name: all.clone(),
        ..Thread::default()
    });
    trace.spans.push(Span {
        thread: 7,
        end_ns: 3,
        site: trace.sites.len() as u32 - 24,
        ..Span::default()
    });
    let mut run = fixture::run();
    run.model.name.clone_from(&all);
    run.instructions.clone_from(&all);
    run.files = vec![all.clone()];
    let mut machine = fixture::machine();
    machine.cpu.model = all;
    (carnot_analyze::analyze(&trace, &machine, &run), trace)
}

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

fn holds_all_names(json: &str) {
    let value: Value = serde_json::from_str(json).expect("it is JSON");
    let mut found = Vec::new();
    texts(&value, &mut found);
    for name in NAMES.iter().filter(|name| !name.is_empty()) {
        assert!(found.iter().any(|text| text == name), "{name:?} is lost");
    }
}

#[test]
fn json_forms_keep_every_name() {
    let (analysis, trace) = profile();
    holds_all_names(&chrome::render(&trace));
    holds_all_names(&speedscope::render(&analysis, &trace));
    let json = json::render(&analysis);
    assert!(serde_json::from_str::<Value>(&json).is_ok());
    assert!(
        !chrome::render(&trace)
            .chars()
            .any(|c| c.is_control() && c != '\n' && c != '\u{7f}' && c != '\u{85}')
    );
}

#[test]
fn the_page_keeps_every_name_as_data() {
    let (analysis, trace) = profile();
    let page = html::render(&analysis, &trace);
    let (_, rest) = page.split_once("id=\"carnot-data\">").unwrap();
    let (data, after) = rest.split_once("</script>").unwrap();
    holds_all_names(data);
    assert!(!data.contains('<'));
    assert_eq!(after.trim(), "</body>\n</html>");
}

#[test]
fn text_moves_no_cursor() {
    let (analysis, _) = profile();
    for form in [
        text::render(&analysis, text::Colour::Never),
        markdown::render(&analysis),
    ] {
        let odd: Vec<char> = form
            .chars()
            .filter(|c| c.is_control() && *c != '\n')
            .collect();
        assert!(odd.is_empty(), "{odd:?}");
    }
    assert!(!markdown::render(&analysis).contains("<script"));
}

#[test]
fn stacks_keep_one_line_for_each_path() {
    let (analysis, _) = profile();
    let expected = analysis
        .call_tree
        .nodes
        .iter()
        .filter(|node| node.self_ns > 0);
    let stacks = collapsed::render(&analysis);
    for (line, node) in stacks.lines().zip(expected.clone()) {
        let (path, weight) = line.rsplit_once(' ').unwrap();
        assert_eq!(weight.parse::<u64>().unwrap(), node.self_ns);
        assert_eq!(path.split(';').count(), node.depth as usize + 1, "{line}");
        assert!(!line.starts_with('#'));
    }
    assert_eq!(stacks.lines().count(), expected.count());
}

#[test]
fn spreadsheets_see_as_many_rows_as_there_are_operations() {
    let (analysis, _) = profile();
    let csv = csv::render(&analysis);
    // A field ends outside of quotes; doubled quotes inside change nothing of that.
    let (mut quoted, mut rows, mut cells) = (false, 0, 1);
    for character in csv.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => cells += 1,
            '\n' if !quoted => {
                assert_eq!(cells, 18, "row {rows}");
                (rows, cells) = (rows + 1, 1);
            }
            _ => {}
        }
    }
    assert_eq!(rows, analysis.operations_by_layer.len() + 1);
}

#[test]
fn the_flame_graph_is_xml() {
    let (analysis, _) = profile();
    let svg = flamegraph::render(&analysis);
    assert!(!svg.contains("<img") && !svg.contains("onerror=\""));
    assert_eq!(svg.matches("<script>").count(), 1);
    assert_eq!(svg.matches("]]>").count(), 1);
    assert!(
        !svg.chars()
            .any(|c| (c.is_control() && c != '\n') || c == '\u{fffe}')
    );
}

#[test]
fn every_form_has_contents_and_a_name_of_its_own() {
    let (analysis, trace) = profile();
    let mut names = std::collections::HashSet::new();
    for form in Form::ALL {
        assert!(
            !form.render(&analysis, &trace).is_empty(),
            "{}",
            form.name()
        );
        assert!(names.insert(form.name()) && names.insert(form.file_name()));
        assert_eq!(Form::from_name(form.name()), Some(form));
    }
    assert_eq!(Form::from_name("pdf"), None);
}

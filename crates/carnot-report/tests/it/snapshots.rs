//! The forms that people and scripts read, whole.

use carnot_report::{csv, json, markdown, text};

use crate::fixture;

#[test]
fn text_report() {
    insta::assert_snapshot!(text::render(&fixture::analysis(), text::Colour::Never));
}

#[test]
fn markdown_report() {
    insta::assert_snapshot!(markdown::render(&fixture::analysis()));
}

#[test]
fn json_summary() {
    insta::assert_snapshot!(json::render(&fixture::analysis()));
}

#[test]
fn csv_operations() {
    insta::assert_snapshot!(csv::render(&fixture::analysis()));
}

#[test]
fn colour_adds_nothing_but_escape_sequences() {
    let analysis = fixture::analysis();
    let coloured = text::render(&analysis, text::Colour::Always);
    let plain: String = coloured
        .split('\u{1b}')
        .enumerate()
        .map(|(i, part)| {
            if i == 0 {
                part
            } else {
                &part[part.find('m').unwrap() + 1..]
            }
        })
        .collect();
    assert_eq!(plain, text::render(&analysis, text::Colour::Never));
    assert!(coloured.contains("\u{1b}["));
}

#[test]
fn no_line_is_longer_than_a_hundred_characters() {
    let mut run = fixture::run();
    run.model.name = "a model with a name of more than a hundred characters ".repeat(3);
    run.files = vec!["x".repeat(200)];
    let long = carnot_analyze::analyze(&fixture::trace(), &fixture::machine(), &run);
    for analysis in [fixture::analysis(), long] {
        for line in text::render(&analysis, text::Colour::Never).lines() {
            assert!(line.chars().count() <= text::WIDTH, "{line}");
        }
    }
}

/// Thirty layers, three repetitions, a machine that is slower than its own run.
#[test]
fn text_report_of_an_odd_run() {
    let mut trace = fixture::trace();
    for span in trace.spans.iter_mut().filter(|span| span.layer.is_some()) {
        span.layer = span.sequence.map(|sequence| (sequence % 30) as u32);
    }
    let count = trace.spans.len() as u32;
    for repetition in 1..3 {
        let later = repetition * (trace.duration_ns + 1_000);
        let again = fixture::trace()
            .spans
            .into_iter()
            .map(|span| carnot_record::Span {
                parent: span.parent.map(|parent| parent + repetition as u32 * count),
                sequence: span.sequence.map(|sequence| sequence + repetition * 10_000),
                layer: span.layer.map(|_| (span.sequence.unwrap_or(0) % 30) as u32),
                start_ns: span.start_ns + later,
                end_ns: span.end_ns + later,
                ..span
            });
        trace.spans.extend(again);
    }
    trace.dropped = 12;
    let mut machine = fixture::machine();
    machine.bandwidth[1]
        .points
        .iter_mut()
        .for_each(|point| point.bytes_per_s /= 3.0);
    let analysis = carnot_analyze::analyze(&trace, &machine, &fixture::run());
    insta::assert_snapshot!(text::render(&analysis, text::Colour::Never));
}

#[test]
fn text_report_of_nothing() {
    let analysis = carnot_analyze::analyze(
        &carnot_record::Trace::default(),
        &carnot_record::MachineProfile::default(),
        &carnot_analyze::RunInfo::default(),
    );
    insta::assert_snapshot!(text::render(&analysis, text::Colour::Never));
}

/// Every field of the summary is on the page that defines it.
#[test]
fn the_documentation_names_every_field() {
    fn fields(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(object) => {
                for (name, value) in object {
                    found.push(name.clone());
                    fields(value, found);
                }
            }
            serde_json::Value::Array(values) => {
                for value in values {
                    fields(value, found);
                }
            }
            _ => {}
        }
    }
    let page = include_str!("../../../../docs/profile-json.md");
    let mut found = Vec::new();
    fields(
        &serde_json::from_str(&json::render(&fixture::analysis())).unwrap(),
        &mut found,
    );
    for field in found {
        let named = ["`", "[]`"].map(|end| format!("{field}{end}"));
        assert!(
            named.iter().any(|name| page.contains(name.as_str())),
            "docs/profile-json.md lacks {field}"
        );
    }
}

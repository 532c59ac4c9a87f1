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

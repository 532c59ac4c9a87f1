//! As Markdown: headings, and tables that every renderer knows.

use std::fmt::Write as _;

use super::document::{Document, Table};

pub(super) fn render(document: &Document) -> String {
    let mut text = format!("# {}\n", plain(&document.title));
    for fact in &document.facts {
        let _ = write!(text, "\n{}\n", plain(fact));
    }
    for section in &document.sections {
        let _ = write!(text, "\n## {}\n", plain(&section.title));
        for line in &section.lines {
            let _ = write!(text, "\n{}\n", plain(line));
        }
        if let Some(of) = &section.table {
            text += &table(of);
        }
        for line in &section.after {
            let _ = write!(text, "\n{}\n", plain(line));
        }
    }
    text
}

fn table(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule = (0..table.heads.len())
        .map(|column| if column < table.left { "---" } else { "---:" }.to_owned());
    let mut text = "\n".to_owned();
    text += &line(table.heads.iter().map(|head| (*head).to_owned()).collect());
    text += &line(rule.collect());
    for row in &table.rows {
        text += &line(row.iter().map(|cell| plain(cell)).collect());
    }
    text
}

/// Names that somebody chose may hold what would end a cell or begin markup.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '<' | '*' | '_' | '`' | '[' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

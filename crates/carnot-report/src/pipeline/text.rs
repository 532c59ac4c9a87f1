//! For a terminal: a rule of 70 columns above and below each title, tables as wide as they must be and no wider than they may.

use super::document::{Document, Section, Table};
use crate::table::{Align, Column, cut, row, wrap};

const RULE: usize = 70;
/// The last column may be wider than the others.
const WIDEST: usize = 34;
const LINE: usize = 118;

pub(super) fn render(document: &Document) -> String {
    let mut lines = vec![cut(&document.title, LINE)];
    lines.extend(document.facts.iter().flat_map(|fact| wrap(fact, LINE)));
    for section in &document.sections {
        lines.extend(section_lines(section));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn section_lines(section: &Section) -> Vec<String> {
    let rule = "=".repeat(RULE);
    let mut lines = vec![String::new(), rule.clone(), cut(&section.title, LINE), rule];
    lines.extend(section.lines.iter().flat_map(|line| wrap(line, LINE)));
    lines.extend(section.table.iter().flat_map(table));
    lines.extend(section.after.iter().flat_map(|line| wrap(line, LINE)));
    lines
}

fn table(table: &Table) -> Vec<String> {
    let last = table.heads.len() - 1;
    let width = |column: usize| {
        let cells = table.rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(table.heads[column].chars().count())
    };
    let mut columns: Vec<Column> = (0..=last)
        .map(|column| {
            let align = if column < table.left {
                Align::Left
            } else {
                Align::Right
            };
            (
                align,
                if column == last {
                    width(column)
                } else {
                    width(column).min(WIDEST)
                },
            )
        })
        .collect();
    let before: usize = columns[..last].iter().map(|(_, width)| width + 2).sum();
    let room = LINE.saturating_sub(before).max(WIDEST);
    let is_prose = table.left > last;
    if table.ends_in_words {
        columns[last].0 = Align::Left;
    }
    columns[last].1 = columns[last].1.min(room);
    let mut lines = vec![row(&columns, &table.heads)];
    for cells in &table.rows {
        let mut cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        let prose = if is_prose {
            wrap(cells[last], room)
        } else {
            vec![cut(cells[last], room)]
        };
        for (at, line) in prose.iter().enumerate() {
            if at > 0 {
                cells.iter_mut().for_each(|cell| *cell = "");
            }
            cells[last] = line;
            lines.push(row(&columns, &cells));
        }
    }
    lines
}

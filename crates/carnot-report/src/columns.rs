//! A table of cells, for a terminal or as Markdown: whoever has rows and no report of their own.

pub use crate::markdown::escaped;
use crate::table::{Align, Column, cut, row};

/// The widest that a column is on a terminal.
const WIDEST: usize = 56;

/// Rows under titles. A title that ends in a colon heads a column that is aligned to the right.
#[derive(Clone, Debug)]
pub struct Columns {
    titles: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// No rows yet.
    pub fn new(titles: &[&str]) -> Self {
        Self {
            titles: titles.iter().map(|title| (*title).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// One row more, a cell for each title.
    pub fn push<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Lines for a terminal, each column as wide as its widest cell.
    pub fn text(&self) -> String {
        let titles: Vec<String> = self.heads().map(|(title, _)| title.to_owned()).collect();
        let lines = || std::iter::once(&titles).chain(&self.rows);
        let column = |(index, (_, align)): (usize, (&str, Align))| -> Column {
            let widths = lines().filter_map(|cells| Some(cells.get(index)?.chars().count()));
            (align, widths.max().unwrap_or(0).min(WIDEST))
        };
        let columns: Vec<Column> = self.heads().enumerate().map(column).collect();
        let line = |cells: &Vec<String>| {
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            row(&columns, &cells) + "\n"
        };
        lines().map(line).collect()
    }

    /// The table as Markdown, in which no cell is markup.
    pub fn markdown(&self) -> String {
        let joined = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let titles = self.heads().map(|(title, _)| title.to_owned()).collect();
        let aligned = self.heads().map(|(_, align)| match align {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        });
        let rows = self
            .rows
            .iter()
            .map(|cells| joined(cells.iter().map(|cell| escaped(cell)).collect()));
        joined(titles) + &joined(aligned.collect()) + &rows.collect::<String>()
    }

    fn heads(&self) -> impl Iterator<Item = (&str, Align)> {
        self.titles
            .iter()
            .map(|title| match title.strip_suffix(':') {
                None => (title.as_str(), Align::Left),
                Some(title) => (title, Align::Right),
            })
    }
}

/// Text of a line without what could move the cursor, change colours or turn the direction of writing.
pub fn plain(text: &str) -> String {
    cut(text, usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_table_stands_in_both_forms() {
        let mut columns = Columns::new(&["metric", "value:"]);
        assert!(columns.is_empty());
        columns.push(["decode".to_owned(), "30.1".to_owned()]);
        columns.push(["a|b\u{1b}".to_owned(), "7".to_owned()]);
        assert_eq!(
            columns.text(),
            "metric  value\ndecode   30.1\na|b�        7\n"
        );
        assert_eq!(
            columns.markdown(),
            "| metric | value |\n| --- | ---: |\n| decode | 30.1 |\n| a\\|b  | 7 |\n"
        );
        assert_eq!(plain("x\u{1b}[31m"), "x�[31m");
    }
}

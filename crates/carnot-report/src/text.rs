//! The report for a terminal: at most 100 columns, in colour only when asked.

mod sections;
mod style;

use carnot_analyze::Analysis;

pub use style::Colour;

/// No line is longer, in characters.
pub const WIDTH: usize = 100;

/// The report.
pub fn render(analysis: &Analysis, colour: Colour) -> String {
    let sections = [
        sections::header(analysis, colour),
        sections::phases(analysis, colour),
        sections::losses(analysis, colour),
        sections::operations(analysis, colour),
        sections::layers(analysis, colour),
        sections::bottlenecks(analysis, colour),
        sections::warnings(analysis, colour),
        sections::files(analysis),
    ];
    let mut text = String::new();
    for lines in sections.into_iter().filter(|lines| !lines.is_empty()) {
        if !text.is_empty() {
            text.push('\n');
        }
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

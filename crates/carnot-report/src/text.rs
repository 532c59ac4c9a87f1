//! The report for a terminal: at most 100 columns, in colour only when asked.

mod header;
mod losses;
mod operations;
mod style;
mod tensors;
mod verdict;

use carnot_analyze::Analysis;

pub use style::Colour;

/// No line is longer, in characters.
pub const WIDTH: usize = 100;

/// The report.
pub fn render(analysis: &Analysis, colour: Colour) -> String {
    let mut sections = vec![
        header::header(analysis, colour),
        tensors::about(analysis),
        header::phases(analysis, colour),
        losses::losses(analysis, colour),
    ];
    if analysis.tensors.is_some() {
        sections.extend(tensors::sections(analysis, colour));
    } else {
        sections.push(operations::operations(analysis, colour));
        sections.push(operations::layers(analysis, colour));
    }
    sections.extend([
        verdict::bottlenecks(analysis, colour),
        verdict::warnings(analysis, colour),
        verdict::files(analysis),
    ]);
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

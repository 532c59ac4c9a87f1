//! The report as one HTML file that needs no network.

use carnot_analyze::{Analysis, Trace};

/// The report.
pub fn render(analysis: &Analysis, _trace: &Trace) -> String {
    let text = crate::text::render(analysis, crate::text::Colour::Never);
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>carnot profile</title><pre>{text}</pre>\n"
    )
}

//! What was learnt from a pipeline's session, in all forms.
//!
//! ```text
//! document   the sections, once: titles, lines and tables ─▶ text, markdown
//! json       the sections under the names that other profilers gave them, and the whole analysis beside them
//! html       one file: findings, losses, stages, streams, layers, memory, caches, curves, a timeline that zooms
//! timeline   the spans that a screen can show
//! perfetto   all of it, span by span, as it is read
//! ```

mod document;
mod html;
mod json;
mod markdown;
mod perfetto;
mod text;
mod timeline;

pub use document::Template;
pub use perfetto::PerfettoStream;
pub use timeline::{Timeline, TimelineBuilder};

use carnot_analyze::pipeline::{PipelineAnalysis, Ranks};

/// For a terminal.
pub fn text(analysis: &PipelineAnalysis, ranks: Option<&Ranks>, template: Template) -> String {
    text::render(&document::document(analysis, ranks, template))
}

/// For a page that somebody reads.
pub fn markdown(analysis: &PipelineAnalysis, ranks: Option<&Ranks>, template: Template) -> String {
    markdown::render(&document::document(analysis, ranks, template))
}

/// For programs. `docs/pipelines.md` names each field.
pub fn json(analysis: &PipelineAnalysis, ranks: Option<&Ranks>) -> String {
    json::render(analysis, ranks)
}

/// For a browser: one file, no network. `source` is where spans that the timeline has not can be asked for, if anybody answers.
pub fn html(
    analysis: &PipelineAnalysis,
    ranks: Option<&Ranks>,
    timeline: &Timeline,
    source: Option<&str>,
) -> String {
    html::render(analysis, ranks, timeline, source)
}

//! What a benchmark measured, one file per output form: for people in a terminal, on a page, in a comment; for spreadsheets.

pub mod csv;
pub mod html;
pub mod markdown;
mod rows;
pub(crate) use html::PLOT;
pub mod text;

#[doc(no_inline)]
pub use carnot_record::{BenchRecord, Metric};

//! The summary as JSON: stable, documented field by field in `docs/profile-json.md`.

use carnot_analyze::Analysis;
use carnot_record::Record;

/// The summary of an analysis.
pub fn render(analysis: &Analysis) -> String {
    analysis.summary().to_json()
}

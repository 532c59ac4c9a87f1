//! What can be wrong with a record that is read.

use thiserror::Error as ThisError;

/// Why a record could not be read.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The text is not JSON, or a field is missing or of the wrong type.
    #[error("{schema}: {source}")]
    Json {
        /// The schema that was expected.
        schema: &'static str,
        /// What the JSON reader said, with line and column.
        source: serde_json::Error,
    },
    /// The file holds another kind of record.
    #[error("expected a record of schema \"{expected}\", found \"{found}\"")]
    WrongSchema {
        /// The schema that was asked for.
        expected: &'static str,
        /// The schema that the file names.
        found: String,
    },
    /// The file was written by a newer Carnot.
    #[error(
        "{schema}: the file has version {found}, the newest that this carnot reads is {newest}; a newer carnot reads it"
    )]
    NewerVersion {
        /// The schema of the record.
        schema: &'static str,
        /// The version that the file names.
        found: u32,
        /// The newest version known here.
        newest: u32,
    },
    /// A field has the right type and an impossible value.
    #[error("{schema}: {field}: expected {expected}, found {found}")]
    Invalid {
        /// The schema of the record.
        schema: &'static str,
        /// The field, with its index where it is one of many.
        field: String,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },
}

//! What can be wrong with a model's files, with the file, the field, what was expected and what was found.

use std::path::PathBuf;

/// The error of every function of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file breaks its own format, or disagrees with itself.
    #[error("{file}: {field}: expected {expected}, found {found}")]
    Malformed {
        /// The file's name.
        file: String,
        /// Where in the file.
        field: String,
        /// What the format or the rest of the file asks for.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A file is sound but asks for something that is not implemented.
    #[error("{file}: {what} {found} is not supported ({supported})")]
    Unsupported {
        /// The file's name.
        file: String,
        /// The kind of thing.
        what: &'static str,
        /// The thing.
        found: String,
        /// What would be.
        supported: &'static str,
    },
    /// A tensor's storage type is not one that the kernels know.
    #[error("{file}: tensor {tensor} is stored as {found}, which is not supported")]
    UnsupportedTensorType {
        /// The file's name.
        file: String,
        /// The tensor's name in the file.
        tensor: String,
        /// The type's name, or its number if it has none.
        found: String,
    },
    /// A tensor that the architecture needs is absent.
    #[error("{file}: no tensor {tensor}")]
    MissingTensor {
        /// The file's name.
        file: String,
        /// The tensor's canonical name.
        tensor: String,
    },
    /// A JSON file does not parse.
    #[error("{file}: {source}")]
    Json {
        /// The file's name.
        file: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The tokenizer cannot be built, or fails on a text.
    #[error("{file}: tokenizer: {source}")]
    Tokenizer {
        /// The file's name.
        file: String,
        /// What the tokenizer library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The chat template does not parse or does not render.
    #[error("{file}: chat template: {}", describe(source))]
    ChatTemplate {
        /// The file's name.
        file: String,
        /// Where and why.
        source: minijinja::Error,
    },
    /// Writing a model failed.
    #[error("writing: {0}")]
    Write(#[from] std::io::Error),
}

/// What a template says when it refuses its input is in the detail, not in the kind of error.
fn describe(error: &minijinja::Error) -> String {
    error
        .detail()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// The name of a file, to make errors with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File<'a>(pub &'a str);

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers hand over numbers, texts and types alike, without marks"
)]
impl File<'_> {
    pub fn malformed(
        self,
        field: impl Into<String>,
        expected: impl ToString,
        found: impl ToString,
    ) -> Error {
        let (expected, found) = (expected.to_string(), found.to_string());
        Error::Malformed {
            file: self.0.to_owned(),
            field: field.into(),
            expected,
            found,
        }
    }

    pub fn unsupported(
        self,
        what: &'static str,
        found: impl ToString,
        supported: &'static str,
    ) -> Error {
        Error::Unsupported {
            file: self.0.to_owned(),
            what,
            found: found.to_string(),
            supported,
        }
    }

    pub fn json(self, source: serde_json::Error) -> Error {
        Error::Json {
            file: self.0.to_owned(),
            source,
        }
    }

    pub fn tokenizer(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Tokenizer {
            file: self.0.to_owned(),
            source: source.into(),
        }
    }
}

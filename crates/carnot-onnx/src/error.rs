//! Why a model cannot be read, analysed or run.

use std::path::PathBuf;

use carnot_engine::EngineError;
use thiserror::Error;

/// What is wrong with a model, its files or a runtime.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// A file cannot be read.
    #[error("reading {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The bytes are no ONNX model.
    #[error("not an ONNX model: {what} at byte {offset}: expected {expected}, got {got}")]
    Malformed {
        /// The message or field.
        what: &'static str,
        /// Where, in bytes from the beginning.
        offset: usize,
        /// What would have been right.
        expected: String,
        /// What was found.
        got: String,
    },
    /// A part of the model contradicts another, or itself.
    #[error("{what} {name}: expected {expected}, got {got}")]
    Invalid {
        /// Such as `initializer`.
        what: &'static str,
        /// Its name in the model.
        name: String,
        /// What would have been right.
        expected: String,
        /// What was found.
        got: String,
    },
    /// Weights beside the model lie where they must not.
    #[error(
        "weights {name} lie in {location}, expected a file in the model's own folder, without `..` and not absolute"
    )]
    EscapingPath {
        /// The tensor.
        name: String,
        /// The path that the model names.
        location: String,
    },
    /// The embedded engine has not all of a model's operators.
    #[error(
        "the embedded engine has no {}; ONNX Runtime may have: `pip install onnxruntime`",
        operators.join(", ")
    )]
    UnsupportedOperators {
        /// The operators, with their domain where it is not that of ONNX.
        operators: Vec<String>,
    },
    /// There is no ONNX Runtime, or none of a version that fits.
    #[error(
        "no ONNX Runtime, expected a library of version {expected} or newer; searched: {}; to get one: `pip install onnxruntime`",
        searched.join("; ")
    )]
    NoLibrary {
        /// The oldest version that fits.
        expected: String,
        /// Each place, and what was found there.
        searched: Vec<String>,
    },
    /// This process has another ONNX Runtime already.
    #[error(
        "ONNX Runtime {} is loaded already and a process has one; expected it to be {}",
        loaded.display(),
        wanted.display()
    )]
    OtherLibrary {
        /// The one that is there.
        loaded: PathBuf,
        /// The one that was asked for.
        wanted: PathBuf,
    },
    /// An execution provider that the library was not built with.
    #[error("no execution provider {name}, expected one of: {}", available.join(", "))]
    NoProvider {
        /// What was asked for.
        name: String,
        /// What there is.
        available: Vec<String>,
    },
    /// The runtime's own failure.
    #[error("{runtime}: {message}")]
    Runtime {
        /// Whose.
        runtime: &'static str,
        /// What it says.
        message: String,
    },
    /// A tensor that is not what it says.
    #[error(transparent)]
    Tensor(#[from] EngineError),
}

impl From<OnnxError> for EngineError {
    fn from(error: OnnxError) -> Self {
        match error {
            OnnxError::Tensor(error) => error,
            other => Self::Engine(Box::new(other)),
        }
    }
}

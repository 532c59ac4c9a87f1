//! Why a model cannot be loaded or run.

use thiserror::Error as ThisError;

use crate::memory_need::{Bytes, MemoryNeed};

/// Why a model cannot be loaded or run.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The file is not one that runs here.
    #[error(transparent)]
    Format(#[from] carnot_formats::Error),
    /// Loading would take more memory than there is.
    #[error("loading {file} needs {need}, available are {}", Bytes(*.available))]
    Memory {
        /// The model's file.
        file: String,
        /// What loading takes.
        need: MemoryNeed,
        /// Bytes that may be taken.
        available: u64,
    },
    /// The draft model has other tokens than the model.
    #[error(
        "the draft model {draft}: token {id}: expected {expected:?} as the model has it, got {got:?}"
    )]
    DraftVocabulary {
        /// The draft model.
        draft: String,
        /// The first token that differs.
        id: u32,
        /// What it is to the model.
        expected: String,
        /// What it is to the draft model.
        got: String,
    },
    /// The model has a shape that the kernels do not take.
    #[error("{what}: expected {expected}, got {got}")]
    Shape {
        /// The dimension.
        what: &'static str,
        /// What the kernels take.
        expected: &'static str,
        /// What the model has.
        got: usize,
    },
}

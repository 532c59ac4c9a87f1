//! Running models: by ONNX Runtime, whose library is loaded when it is asked for, or by the embedded engine, which is always there.

mod doubtful;
mod embedded;
mod engine;
mod library;
mod onnx_runtime;
mod profile;

pub use doubtful::doubtful_operators;
pub use embedded::{EmbeddedEngine, missing_operators};
pub use engine::{Choice, Engine, EngineKind, Options};
pub use library::{LibrarySearch, LoadedLibrary};
pub use onnx_runtime::OnnxRuntimeEngine;
pub use profile::{NodeRun, RuntimeProfile, SeenValue};

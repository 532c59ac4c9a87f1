//! ONNX models: read, written, analysed, and run.

mod analysis;
mod builder;
mod error;
mod model;
mod runtime;
mod weights;
mod wire;

pub use analysis::{Analysis, InputGiven, NodeAnalysis, Work, analyze};
pub use builder::{GraphBuilder, NodeBuilder};
pub use error::OnnxError;
pub use model::{
    Attribute, AttributeValue, DataType, Dimension, ExternalData, Function, Graph, Model, Node,
    TensorData, TensorProto, ValueInfo, ValueType,
};
pub use runtime::{
    Choice, EmbeddedEngine, Engine, EngineKind, LibrarySearch, LoadedLibrary, NodeRun,
    OnnxRuntimeEngine, Options, missing_operators, parse_profile,
};
pub use weights::{ExternalFiles, LoadedModel, content_hash};

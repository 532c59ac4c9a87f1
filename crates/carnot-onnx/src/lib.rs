//! ONNX models: read, written, analysed, and run.
//!
//! ```text
//! wire, model   bytes ⇄ graph, nodes, weights; within bounds, whatever the bytes are
//! builder       models made in Rust, node by node
//! networks      some of real shape, made so
//! weights       files beside a model, which must not lead out of its folder; the hash of all that it is
//! analysis      shapes and work of every node, without running it
//! runtime       ONNX Runtime, loaded when it is asked for, or the embedded engine, which is always there
//! ```
//!
//! ```
//! use carnot_engine::{Tensor, TensorEngine};
//! use carnot_onnx::{DataType, Dimension, Engine, EngineKind, GraphBuilder, Options};
//!
//! let mut builder = GraphBuilder::new("double", 17);
//! builder.input("x", DataType::FLOAT, [Dimension::Named("rows".to_owned())]);
//! builder.node("Add", &["x", "x"], &["y"]);
//! builder.output("y", DataType::FLOAT, [Dimension::Named("rows".to_owned())]);
//! let options = Options { engine: EngineKind::Embedded, ..Options::default() };
//! let (mut engine, choice) = Engine::from_bytes("double", builder.finish().to_bytes(), &options)?;
//! let outputs = engine.run(&[Tensor::from_f32("x", [2], vec![1.0, 2.5])?], None)?;
//! assert_eq!(*outputs[0].view::<f32>()?, [2.0, 5.0]);
//! assert_eq!(choice.why, "it was asked for");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod analysis;
mod builder;
mod error;
mod model;
mod networks;
mod runtime;
mod weights;
mod wire;

pub use analysis::{Analysis, InputGiven, NodeAnalysis, Work, analyze, analyze_seen};
pub use builder::{GraphBuilder, NodeBuilder};
pub use error::OnnxError;
pub use model::{
    Attribute, AttributeValue, DataType, Dimension, ExternalData, Function, Graph, Model, Node,
    TensorData, TensorProto, ValueInfo, ValueType,
};
pub use networks::{Network, Weights};
pub use runtime::{
    Choice, EmbeddedEngine, Engine, EngineKind, LibrarySearch, LoadedLibrary, NodeRun,
    OnnxRuntimeEngine, Options, RuntimeProfile, SeenValue, doubtful_operators, missing_operators,
};
pub use weights::{ExternalFiles, LoadedModel, content_hash};

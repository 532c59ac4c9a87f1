//! What running a tensor model takes.

use std::path::PathBuf;

use carnot_onnx::EngineKind;
use clap::{Args, ValueEnum};

/// What goes into an ONNX model, and what runs it.
#[derive(Debug, Args)]
#[command(next_help_heading = "ONNX models")]
pub struct TensorArguments {
    /// Shapes of inputs, such as `x:1x3x224x224,mask:1x8`, or an .npz file of them [default: random values of the declared shapes, 1 for what is free]
    #[arg(long, value_name = "INPUTS")]
    pub inputs: Option<String>,
    /// What runs the model
    #[arg(long, value_name = "ENGINE", value_enum, default_value_t)]
    pub engine: EngineArgument,
    /// ONNX Runtime's library [default: that of `ORT_DYLIB_PATH`, of Python's package `onnxruntime`, or of the system]
    #[arg(long, value_name = "FILE", env = "CARNOT_ONNXRUNTIME")]
    pub onnxruntime: Option<PathBuf>,
}

impl TensorArguments {
    /// Each flag with whether it was given.
    pub fn flags(&self) -> [(&'static str, bool); 3] {
        [
            ("--inputs", self.inputs.is_some()),
            ("--engine", self.engine != EngineArgument::Auto),
            ("--onnxruntime", self.onnxruntime.is_some()),
        ]
    }
}

/// Which engine runs an ONNX model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum EngineArgument {
    /// ONNX Runtime where its library is found, else the embedded one
    #[default]
    Auto,
    /// ONNX Runtime, which times every node
    Onnxruntime,
    /// The engine that is built in
    Embedded,
}

impl From<EngineArgument> for EngineKind {
    fn from(engine: EngineArgument) -> Self {
        match engine {
            EngineArgument::Auto => Self::Auto,
            EngineArgument::Onnxruntime => Self::OnnxRuntime,
            EngineArgument::Embedded => Self::Embedded,
        }
    }
}

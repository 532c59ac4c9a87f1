//! Tensor models: which files are some, what goes into them, the engine that runs them, and the trace of their runs.

mod inputs;
mod library;

pub use inputs::Inputs;
pub use library::search;

use inputs::inputs;

pub mod nodes;
pub mod runs;
pub mod session;
pub mod trace;

use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::Path;

use carnot_analyze::TensorRun;
use carnot_onnx::{DataType, LoadedModel, Model, Options};
use carnot_record::ModelSummary;

use crate::cli::TensorArguments;
use crate::wrong_usage::WrongUsage;

/// Whether a path is an ONNX model: by its ending, or where that says nothing by how it begins.
pub fn is_onnx(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    match extension.to_lowercase().as_str() {
        "onnx" => true,
        "gguf" | "safetensors" | "json" => false,
        _ => path.is_file() && begins_as_onnx(path),
    }
}

/// The version of the form, a small number, and behind it another field of a model's.
fn begins_as_onnx(path: &Path) -> bool {
    let mut head = [0; 3];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head[0] == 0x08 && (3..64).contains(&head[1]) && (head[2] & 7) == 2
}

/// Refuses flags that are for models of text, where this is none: each with whether it was given.
pub fn refuse(flags: &[(&str, bool)]) -> anyhow::Result<()> {
    match flags.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => Err(WrongUsage::error(format!(
            "{flag} is for models of text, and this is an ONNX model: expected --inputs, --engine, --iterations, --warmup or --threads"
        ))),
    }
}

/// Refuses flags that are for ONNX models, where this is none.
pub fn refuse_for_text(arguments: &TensorArguments) -> anyhow::Result<()> {
    match arguments.flags().iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => Err(WrongUsage::error(format!(
            "{flag} is for ONNX models, and this is a model of text"
        ))),
    }
}

/// A model, and what goes into it.
pub struct Subject {
    pub loaded: LoadedModel,
    pub inputs: Inputs,
}

impl Subject {
    /// Reads the model and makes its inputs.
    ///
    /// # Errors
    /// [`WrongUsage`] where the file is no such model, weights beside it are missing, or inputs do not fit.
    pub fn open(path: &Path, arguments: &TensorArguments) -> anyhow::Result<Self> {
        let loaded = open(path)?;
        let inputs = inputs(&loaded.model, arguments.inputs.as_deref())?;
        Ok(Self { loaded, inputs })
    }
}

/// How an engine is to run it.
pub fn options(arguments: &TensorArguments, threads: usize) -> Options {
    Options {
        engine: arguments.engine.into(),
        threads: NonZeroUsize::new(threads),
        library: search(arguments.onnxruntime.as_deref()),
        ..Options::default()
    }
}

/// The engine's name for people.
pub fn engine_name(run: &TensorRun) -> &'static str {
    if run.engine == "embedded" {
        "embedded ONNX engine"
    } else {
        "ONNX Runtime"
    }
}

/// Reads a model with the files beside it.
fn open(path: &Path) -> anyhow::Result<LoadedModel> {
    LoadedModel::open(path).map_err(|error| {
        let text = error.to_string();
        let name = path.display().to_string();
        WrongUsage::error(if text.contains(&name) {
            text
        } else {
            format!("{name}: {text}")
        })
    })
}

/// The model, as records describe it; `parameters` are those that the analysis counted.
pub fn summary(loaded: &LoadedModel, parameters: u64) -> ModelSummary {
    let (bytes, data_type) = weights(&loaded.model);
    ModelSummary {
        name: loaded.name.clone(),
        architecture: "onnx".to_owned(),
        parameters,
        file_type: data_type.map(|one| one.to_string()).unwrap_or_default(),
        bytes,
    }
}

/// Bytes of all weights, and the type that most of them have.
fn weights(model: &Model) -> (u64, Option<DataType>) {
    let mut by_type: Vec<(DataType, u64)> = Vec::new();
    model.graph.each_tensor(&mut |tensor| {
        let bytes = tensor.size_bytes() as u64;
        match by_type.iter_mut().find(|one| one.0 == tensor.data_type) {
            Some(known) => known.1 += bytes,
            None => by_type.push((tensor.data_type, bytes)),
        }
    });
    let most = by_type.iter().max_by_key(|one| one.1).map(|one| one.0);
    (by_type.iter().map(|one| one.1).sum(), most)
}

//! Models run by the embedded engine, the crate `rten`: pure Rust, always there.
//!
//! It was chosen over `tract`, which builds in 681 seconds of CPU against 115 at the same speed (measured on an AMD EPYC with two
//! cores, 2026-11-23). It computes in FP32, INT32, INT8 and UINT8 alone: FP16 and FP64 are FP32 within, INT64 and BOOL are INT32, and are
//! converted where they come and go. An INT64 input beyond INT32 is refused; what overflows within is not seen.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use carnot_engine::{EngineError, Tensor, TensorEngine, TensorInfo, TensorModelInfo, TensorType};
use half::f16;
use rten::{NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::prelude::*;

use super::Options;
use crate::OnnxError;
use crate::builder::GraphBuilder;
use crate::model::{Model, TensorData};
use crate::weights::LoadedModel;

const RUNTIME: &str = "the embedded engine";

/// A model in the embedded engine. Weights and threads are shared among duplicates.
#[derive(Clone)]
pub struct EmbeddedEngine {
    model: Arc<rten::Model>,
    pool: Arc<ThreadPool>,
    info: Arc<TensorModelInfo>,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
}

impl EmbeddedEngine {
    /// Reads a model into the engine; threads come from `options`, or are as many as the machine lets the process use.
    ///
    /// # Errors
    /// [`OnnxError::UnsupportedOperators`] that names all that the engine lacks; [`OnnxError::Invalid`] where an input or output is of a
    /// type that it lacks; [`OnnxError::Runtime`] where it refuses the model otherwise.
    pub fn open(loaded: &LoadedModel, options: &Options) -> Result<Self, OnnxError> {
        let info = loaded.model.info(&loaded.name, &loaded.hash, "rten_onnx")?;
        for end in info.inputs.iter().chain(&info.outputs) {
            check_type(end)?;
        }
        let missing = missing_operators(&loaded.model);
        if !missing.is_empty() {
            return Err(OnnxError::UnsupportedOperators { operators: missing });
        }
        let mut model_options = rten::ModelOptions::with_all_ops();
        model_options.prepack_weights(true);
        model_options.enable_optimization(options.is_optimized);
        let bytes = with_weights(loaded, &mut model_options);
        let model = guarded(|| model_options.load(bytes))?;
        let model = model.map_err(|error| failed(&error))?;
        let node = |end: &TensorInfo| model.node_id(&end.name).map_err(|error| failed(&error));
        let nodes = |ends: &[TensorInfo]| ends.iter().map(node).collect::<Result<Vec<_>, _>>();
        let threads = options.threads.map(std::num::NonZero::get);
        let threads = threads.unwrap_or_else(available_threads);
        Ok(Self {
            inputs: nodes(&info.inputs)?,
            outputs: nodes(&info.outputs)?,
            model: Arc::new(model),
            pool: Arc::new(ThreadPool::with_num_threads(threads)),
            info: Arc::new(info),
        })
    }
}

/// The model's bytes, its weights in other files given to the engine under names that it takes: it wants a file ending in `.data` in the
/// folder of the model, and a length.
fn with_weights(loaded: &LoadedModel, options: &mut rten::ModelOptions) -> Vec<u8> {
    if loaded.files.is_empty() {
        return loaded.bytes.to_vec();
    }
    let mut model = Model::clone(&loaded.model);
    for (index, (name, bytes)) in loaded.files.iter().enumerate() {
        let location = format!("{index}.data");
        options.external_data(&location, bytes.to_vec());
        model.graph.change_tensors(&mut |tensor| {
            let size = tensor.size_bytes() as u64;
            if let TensorData::External(external) = &mut tensor.data
                && external.location == name
            {
                external.location.clone_from(&location);
                external.length = Some(size);
            }
        });
    }
    model.to_bytes()
}

fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The operators of a model that the embedded engine lacks, each once, by trying each in a model of its own.
pub fn missing_operators(model: &Model) -> Vec<String> {
    let mut operators = BTreeSet::new();
    model.graph.each_node(&mut |node| {
        operators.insert((
            node.domain.clone(),
            node.operator.clone(),
            node.qualified_operator(),
        ));
    });
    let is_missing = |(domain, operator, _): &(String, String, String)| {
        let mut builder = GraphBuilder::new("one operator", model.opset());
        builder.node(operator, &[], &["y"]).of_domain(domain);
        let mut options = rten::ModelOptions::with_all_ops();
        options.enable_optimization(false);
        let result = guarded(|| options.load(builder.finish().to_bytes()));
        let Ok(Err(error)) = result else { return false };
        error.to_string().contains("not supported or not enabled")
    };
    let missing = operators.into_iter().filter(is_missing);
    missing.map(|(.., name)| name).collect()
}

impl TensorEngine for EmbeddedEngine {
    fn model(&self) -> &TensorModelInfo {
        &self.info
    }

    fn run(
        &mut self,
        inputs: &[Tensor],
        outputs: Option<&[String]>,
    ) -> Result<Vec<Tensor>, EngineError> {
        self.info.check_inputs(inputs)?;
        let wanted = self.info.check_outputs(outputs)?;
        let mut values: Vec<(NodeId, ValueOrView<'_>)> = Vec::with_capacity(inputs.len());
        let views = inputs
            .iter()
            .map(values_of)
            .collect::<Result<Vec<_>, _>>()?;
        for (input, view) in inputs.iter().zip(&views) {
            let at = self
                .info
                .inputs
                .iter()
                .position(|one| one.name == input.name());
            let at = at.expect("inputs were checked above");
            values.push((self.inputs[at], view.view(input.shape())));
        }
        let mut ids: Vec<NodeId> = wanted.iter().map(|index| self.outputs[*index]).collect();
        ids.sort_unstable();
        ids.dedup();
        let run = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.pool)));
        let result = guarded(|| self.model.run(values, &ids, Some(run)))?;
        let result = result.map_err(|error| failed(&error))?;
        let tensor = |index: &usize| {
            let at = ids.binary_search(&self.outputs[*index]);
            let value = at.ok().and_then(|at| result.get(at));
            let info = &self.info.outputs[*index];
            Ok(tensor_of(info, value.ok_or_else(|| other(info))?)?)
        };
        wanted.iter().map(tensor).collect()
    }

    fn duplicate(&self) -> Result<Box<dyn TensorEngine>, EngineError> {
        Ok(Box::new(self.clone()))
    }
}

/// The engine is somebody else's code that reads somebody else's files: a panic of it is an error of this model, not the end of the process.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, OnnxError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        OnnxError::Runtime {
            runtime: RUNTIME,
            message: format!("it panicked: {}", text.unwrap_or("for no reason given")),
        }
    })
}

fn failed(error: &dyn std::error::Error) -> OnnxError {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(one) = source {
        let more = one.to_string();
        if !message.contains(&more) {
            message = format!("{message}: {more}");
        }
        source = one.source();
    }
    OnnxError::Runtime {
        runtime: RUNTIME,
        message,
    }
}

fn check_type(end: &TensorInfo) -> Result<(), OnnxError> {
    use TensorType as T;
    match end.tensor_type {
        T::Fp32 | T::Fp64 | T::Fp16 | T::Int32 | T::Int64 | T::Bool | T::Int8 | T::Uint8 => Ok(()),
        got => Err(OnnxError::Invalid {
            what: "input or output",
            name: end.name.clone(),
            expected: "a type that the embedded engine has (FP32, FP64, FP16, INT64, INT32, INT8, UINT8, BOOL)".to_owned(),
            got: got.to_string(),
        }),
    }
}

/// An input's values as the engine has them: borrowed where type and alignment are the same.
enum InputValues<'a> {
    Floats(Cow<'a, [f32]>),
    Ints(Cow<'a, [i32]>),
    Bytes(Cow<'a, [i8]>),
    UnsignedBytes(Cow<'a, [u8]>),
}

impl InputValues<'_> {
    fn view<'b>(&'b self, shape: &[usize]) -> ValueOrView<'b> {
        use rten_tensor::TensorView;
        match self {
            Self::Floats(values) => TensorView::from_data(shape, &values[..]).into(),
            Self::Ints(values) => TensorView::from_data(shape, &values[..]).into(),
            Self::Bytes(values) => TensorView::from_data(shape, &values[..]).into(),
            Self::UnsignedBytes(values) => TensorView::from_data(shape, &values[..]).into(),
        }
    }
}

fn values_of(tensor: &Tensor) -> Result<InputValues<'_>, EngineError> {
    use InputValues as Values;
    Ok(match tensor.tensor_type() {
        TensorType::Fp32 => Values::Floats(tensor.view()?),
        TensorType::Fp64 => {
            let wide = tensor.view::<f64>()?;
            Values::Floats(wide.iter().map(|value| *value as f32).collect())
        }
        TensorType::Fp16 => {
            let short = tensor.view::<f16>()?;
            Values::Floats(short.iter().map(|value| value.to_f32()).collect())
        }
        TensorType::Int32 => Values::Ints(tensor.view()?),
        TensorType::Int64 => Values::Ints(narrowed(tensor)?),
        TensorType::Bool => {
            let bytes = tensor.bytes().unwrap_or_default();
            Values::Ints(bytes.iter().map(|value| i32::from(*value)).collect())
        }
        TensorType::Int8 => Values::Bytes(tensor.view()?),
        TensorType::Uint8 => Values::UnsignedBytes(tensor.view()?),
        got => {
            return Err(EngineError::InvalidTensor {
                tensor: tensor.name().to_owned(),
                what: "type",
                expected: "one that the embedded engine has".to_owned(),
                got: got.to_string(),
            });
        }
    })
}

fn narrowed(tensor: &Tensor) -> Result<Cow<'_, [i32]>, EngineError> {
    let wide = tensor.view::<i64>()?;
    let narrow = wide.iter().map(|value| {
        i32::try_from(*value).map_err(|_| EngineError::InvalidTensor {
            tensor: tensor.name().to_owned(),
            what: "value",
            expected: "one within INT32, in which the embedded engine computes".to_owned(),
            got: value.to_string(),
        })
    });
    narrow.collect::<Result<Vec<i32>, _>>().map(Cow::Owned)
}

/// An output as the model declares it.
fn tensor_of(info: &TensorInfo, value: &Value) -> Result<Tensor, OnnxError> {
    let name = info.name.as_str();
    let shape = value.shape().to_vec();
    let floats = |value: &Value| value.as_tensor_view::<f32>().map(|view| view.to_vec());
    let ints = |value: &Value| value.as_tensor_view::<i32>().map(|view| view.to_vec());
    let tensor = match info.tensor_type {
        TensorType::Fp32 => floats(value).map(|values| Tensor::from_vec(name, shape, values)),
        TensorType::Fp64 => floats(value).map(|values| {
            let wide: Vec<f64> = values.into_iter().map(f64::from).collect();
            Tensor::from_vec(name, shape, wide)
        }),
        TensorType::Fp16 => floats(value).map(|values| {
            let short: Vec<f16> = values.into_iter().map(f16::from_f32).collect();
            Tensor::from_vec(name, shape, short)
        }),
        TensorType::Int32 => ints(value).map(|values| Tensor::from_vec(name, shape, values)),
        TensorType::Int64 => ints(value).map(|values| {
            let wide: Vec<i64> = values.into_iter().map(i64::from).collect();
            Tensor::from_vec(name, shape, wide)
        }),
        TensorType::Bool => ints(value).map(|values| {
            let truths: Vec<bool> = values.into_iter().map(|value| value != 0).collect();
            Tensor::from_bools(name, shape, &truths)
        }),
        TensorType::Int8 => {
            let values = value.as_tensor_view::<i8>().map(|view| view.to_vec());
            values.map(|values| Tensor::from_vec(name, shape, values))
        }
        TensorType::Uint8 => {
            let values = value.as_tensor_view::<u8>().map(|view| view.to_vec());
            values.map(|values| Tensor::from_vec(name, shape, values))
        }
        _ => None,
    };
    Ok(tensor.ok_or_else(|| other(info))??)
}

fn other(info: &TensorInfo) -> OnnxError {
    OnnxError::Runtime {
        runtime: RUNTIME,
        message: format!(
            "output {} is not {}, as the model says",
            info.name, info.tensor_type
        ),
    }
}

impl std::fmt::Debug for EmbeddedEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedEngine")
            .field("model", &self.info.name)
            .finish_non_exhaustive()
    }
}

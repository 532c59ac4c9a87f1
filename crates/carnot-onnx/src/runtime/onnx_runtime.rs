//! Models run by ONNX Runtime.

use std::borrow::Cow;
use std::fs;

use carnot_engine::{
    Element, EngineError, SharedBytes, Tensor, TensorEngine, TensorModelInfo, TensorType,
};
use half::{bf16, f16};
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use ort::memory::MemoryInfo;
use ort::session::builder::{PrepackedWeights, SessionBuilder};
use ort::session::{
    HasSelectedOutputs, IoBinding, OutputSelector, RunOptions, Session, SessionInputValue,
};
use ort::value::{DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef};
use std::path::Path;

use super::library::{LibrarySearch, LoadedLibrary};
use super::{Options, RuntimeProfile};
use crate::OnnxError;
use crate::model::Model;
use crate::weights::LoadedModel;

/// The name under which it tells its failures.
const RUNTIME: &str = "ONNX Runtime";
/// The file in the profile's folder of the model as the runtime runs it.
const EXECUTED: &str = "executed.onnx";
/// Larger ones it cannot write, for they are one message of Protocol Buffers.
const MOST_EXECUTED_BYTES: usize = 1 << 30;

/// A model in a session of ONNX Runtime.
#[derive(Debug)]
pub struct OnnxRuntimeEngine {
    parts: Parts,
    session: Session,
    info: TensorModelInfo,
    binding: Option<IoBinding>,
    is_profiled: bool,
}

/// What a session is made of, and another like it; packed weights are shared among them.
#[derive(Clone, Debug)]
struct Parts {
    library: LoadedLibrary,
    loaded: LoadedModel,
    options: Options,
    weights: PrepackedWeights,
}

impl OnnxRuntimeEngine {
    /// Makes a session of a model. Threads, providers and the library come from `options`.
    ///
    /// # Errors
    /// As [`LibrarySearch::load`]; [`OnnxError::NoProvider`]; [`OnnxError::Runtime`] where the runtime refuses the model;
    /// [`OnnxError::Invalid`] where an input or output is none of the contract's tensors.
    pub fn open(loaded: &LoadedModel, options: &Options) -> Result<Self, OnnxError> {
        let library = options.library.load()?;
        Self::of(Parts {
            library,
            loaded: loaded.clone(),
            options: options.clone(),
            weights: PrepackedWeights::new(),
        })
    }

    fn of(parts: Parts) -> Result<Self, OnnxError> {
        let loaded = &parts.loaded;
        let info = loaded
            .model
            .info(&loaded.name, &loaded.hash, "onnxruntime_onnx")?;
        let profile = parts.options.profile_folder.as_deref();
        let providers = chosen_providers(&parts.options.providers)?;
        let mut builder = parts.builder(providers, profile).map_err(failed)?;
        let session = match (&loaded.path, loaded.files.is_empty()) {
            // The bytes that were hashed; from its path only what has files beside it.
            (Some(path), false) => builder.commit_from_file(path),
            _ => builder.commit_from_memory(&loaded.bytes),
        };
        Ok(Self {
            session: session.map_err(failed)?,
            info,
            is_profiled: profile.is_some(),
            parts,
            binding: None,
        })
    }

    /// The library that runs it.
    pub fn library(&self) -> &LoadedLibrary {
        &self.parts.library
    }

    /// The execution providers that the library was built with, of those that can be chosen here, by the names that it gives them.
    ///
    /// # Errors
    /// As [`LibrarySearch::load`].
    pub fn providers(search: &LibrarySearch) -> Result<Vec<String>, OnnxError> {
        search.load()?;
        let is_there = |(_, is_there, _): &(&str, bool, _)| *is_there;
        let known = known_providers().into_iter().filter(is_there);
        Ok(known.map(|(name, ..)| name.to_owned()).collect())
    }

    /// The model as the runtime runs it, after it fused and folded what it could: by its nodes' names the profile tells. None where no
    /// profile was asked for, or the model is too large to be written.
    ///
    /// # Errors
    /// [`OnnxError::Read`] and [`OnnxError::Malformed`] where the runtime's file of it is not what it should be.
    pub fn executed_model(&self) -> Result<Option<Model>, OnnxError> {
        let folder = self.parts.options.profile_folder.as_deref();
        let Some(path) = folder.filter(|_| self.parts.writes_model()) else {
            return Ok(None);
        };
        let path = path.join(EXECUTED);
        let bytes = fs::read(&path).map_err(|source| OnnxError::Read { path, source })?;
        Model::parse(bytes).map(Some)
    }

    /// What the runtime's profiler recorded of every node since the session was made; the session records nothing after that. The
    /// runtime's file of it is left in the folder.
    ///
    /// # Errors
    /// [`OnnxError::Runtime`] where [`Options::profile_folder`] was not set, or the profile cannot be read.
    pub fn take_profile(&mut self) -> Result<RuntimeProfile, OnnxError> {
        if !std::mem::take(&mut self.is_profiled) {
            let message = "no profile was asked for, or it was taken already".to_owned();
            return Err(OnnxError::Runtime {
                runtime: RUNTIME,
                message,
            });
        }
        let path = self.session.end_profiling().map_err(failed)?;
        let json = fs::read_to_string(&path);
        let json = json.map_err(|source| OnnxError::Read {
            path: path.into(),
            source,
        })?;
        RuntimeProfile::parse(&json)
    }

    /// Binds an input: it is copied once and stays for every [`OnnxRuntimeEngine::run_bound`] that follows, until it is bound again.
    ///
    /// # Errors
    /// [`EngineError::UnknownTensor`] and [`EngineError::InvalidTensor`] as the model's inputs say.
    pub fn bind_input(&mut self, input: &Tensor) -> Result<(), EngineError> {
        let info = self.info.inputs.iter().find(|one| one.name == input.name());
        match info {
            Some(info) => info.check(input)?,
            None => self.info.check_inputs(std::slice::from_ref(input))?,
        }
        let value = owned_value(input)?;
        let binding = self.binding()?;
        let bound = match &value {
            SessionInputValue::Owned(value) => binding.bind_input(input.name(), value),
            SessionInputValue::View(value) => binding.bind_input(input.name(), value),
            SessionInputValue::ViewMut(value) => binding.bind_input(input.name(), value),
        };
        bound.map_err(|error| failed(error).into())
    }

    /// Runs with what is bound. Every output is bound to memory of the runtime, without copies; clones of them are theirs.
    ///
    /// # Errors
    /// [`EngineError::Engine`] where an input is not bound, or the run fails.
    pub fn run_bound(&mut self) -> Result<Vec<Tensor>, EngineError> {
        let outputs = run_bound(self)?;
        let named = outputs.into_iter().zip(&self.info.outputs);
        named
            .map(|(value, info)| Ok(tensor_of(&info.name, value)?))
            .collect()
    }

    /// Runs with what is bound and makes outputs inputs of the next run, as pairs of (output, input), without copies: the steps of an iterative
    /// model. Returns all outputs.
    ///
    /// # Errors
    /// As [`OnnxRuntimeEngine::run_bound`], and [`EngineError::UnknownTensor`] for names that the model has not.
    pub fn step_bound(&mut self, feedback: &[(&str, &str)]) -> Result<Vec<Tensor>, EngineError> {
        let outputs = run_bound(self)?;
        for (output, input) in feedback {
            let index = self.info.check_outputs(Some(&[(*output).to_owned()]))?[0];
            let value = &outputs[index];
            self.binding()?.bind_input(*input, value).map_err(failed)?;
        }
        let named = outputs.into_iter().zip(&self.info.outputs);
        named
            .map(|(value, info)| Ok(tensor_of(&info.name, value)?))
            .collect()
    }

    fn binding(&mut self) -> Result<&mut IoBinding, OnnxError> {
        if self.binding.is_none() {
            self.binding = Some(self.session.create_binding().map_err(failed)?);
            self.bind_outputs()?;
        }
        Ok(self.binding.as_mut().expect("it was made just now"))
    }

    fn bind_outputs(&mut self) -> Result<(), OnnxError> {
        let Some(binding) = &mut self.binding else {
            return Ok(());
        };
        binding.clear_outputs();
        let memory = MemoryInfo::default();
        for output in &self.info.outputs {
            let bound = binding.bind_output_to_device(&output.name, &memory);
            bound.map_err(failed)?;
        }
        Ok(())
    }
}

fn run_bound(engine: &mut OnnxRuntimeEngine) -> Result<Vec<DynValue>, OnnxError> {
    // Outputs get memory of their own each time, for those of the last run may be held, or be inputs now.
    engine.bind_outputs()?;
    let Some(binding) = &engine.binding else {
        let message = "nothing is bound".to_owned();
        return Err(OnnxError::Runtime {
            runtime: RUNTIME,
            message,
        });
    };
    let mut outputs = engine.session.run_binding(binding).map_err(failed)?;
    let values = engine.info.outputs.iter().map(|info| {
        let value = outputs.remove(&info.name);
        value.ok_or_else(|| missing(&info.name))
    });
    values.collect()
}

impl Parts {
    fn writes_model(&self) -> bool {
        let beside: usize = self.loaded.files.iter().map(|(_, bytes)| bytes.len()).sum();
        self.loaded.bytes.len().saturating_add(beside) <= MOST_EXECUTED_BYTES
    }

    fn builder(
        &self,
        providers: Vec<ExecutionProviderDispatch>,
        profile: Option<&Path>,
    ) -> ort::Result<SessionBuilder> {
        let options = &self.options;
        let mut builder = Session::builder(&self.library.environment)?
            .with_inter_threads(1)?
            .with_prepacked_weights(&self.weights)?
            .with_intra_threads(options.threads.map_or(0, std::num::NonZero::get))?;
        if !options.is_optimized {
            let none = ort::session::builder::GraphOptimizationLevel::Disable;
            builder = builder.with_optimization_level(none)?;
        }
        if !providers.is_empty() {
            builder = builder.with_execution_providers(providers)?;
        }
        if let Some(folder) = profile {
            builder = builder.with_profiling(folder.join("profile"))?;
            if self.writes_model() {
                builder = builder.with_optimized_model_path(folder.join(EXECUTED))?;
            }
        }
        Ok(builder)
    }
}

/// Each provider that can be chosen: its name, whether the library has it, and how to ask for it.
fn known_providers() -> [(&'static str, bool, ExecutionProviderDispatch); 6] {
    fn row<E: ExecutionProvider>(
        build: ExecutionProviderDispatch,
    ) -> (&'static str, bool, ExecutionProviderDispatch) {
        (
            E::NAME,
            E::is_available().unwrap_or(false),
            build.error_on_failure(),
        )
    }
    [
        row::<ep::CPU>(ep::CPU::default().build()),
        row::<ep::CUDA>(ep::CUDA::default().build()),
        row::<ep::TensorRT>(ep::TensorRT::default().build()),
        row::<ep::OpenVINO>(ep::OpenVINO::default().build()),
        row::<ep::XNNPACK>(ep::XNNPACK::default().build()),
        row::<ep::CoreML>(ep::CoreML::default().build()),
    ]
}

/// Those of these names, in their order. `CUDAExecutionProvider`, `CUDA` and `cuda` name the same.
fn chosen_providers(names: &[String]) -> Result<Vec<ExecutionProviderDispatch>, OnnxError> {
    let known = known_providers();
    let short = |name: &str| name.trim_end_matches("ExecutionProvider").to_lowercase();
    let find = |name: &String| {
        let is_it = |row: &&(&str, bool, _)| row.1 && short(row.0) == short(name);
        let available = || known.iter().filter(|row| row.1).map(|row| row.0.to_owned());
        let found = known.iter().find(is_it).map(|row| row.2.clone());
        found.ok_or_else(|| OnnxError::NoProvider {
            name: name.clone(),
            available: available().collect(),
        })
    };
    names.iter().map(find).collect()
}

impl TensorEngine for OnnxRuntimeEngine {
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
        let values = inputs
            .iter()
            .map(|input| Ok((Cow::Borrowed(input.name()), input_value(input)?)))
            .collect::<Result<Vec<_>, EngineError>>()?;
        let names = wanted
            .iter()
            .map(|index| self.info.outputs[*index].name.as_str());
        let run_options = selected(names.clone())?;
        let result = self.session.run_with_options(values, &run_options);
        let mut result = result.map_err(failed)?;
        let mut tensors: Vec<Tensor> = Vec::with_capacity(wanted.len());
        for name in names {
            // A name that is asked for twice shares its values.
            let tensor = match tensors.iter().find(|tensor| tensor.name() == name) {
                Some(tensor) => tensor.clone(),
                None => tensor_of(name, result.remove(name).ok_or_else(|| missing(name))?)?,
            };
            tensors.push(tensor);
        }
        Ok(tensors)
    }

    fn duplicate(&self) -> Result<Box<dyn TensorEngine>, EngineError> {
        Ok(Box::new(Self::of(self.parts.clone())?))
    }
}

fn missing(name: &str) -> OnnxError {
    OnnxError::Runtime {
        runtime: RUNTIME,
        message: format!("no output {name}"),
    }
}

fn selected<'a>(
    names: impl Iterator<Item = &'a str>,
) -> Result<RunOptions<HasSelectedOutputs>, OnnxError> {
    let select = |selector: OutputSelector, name| selector.with(name);
    let selector = names.fold(OutputSelector::no_default(), select);
    Ok(RunOptions::new().map_err(failed)?.with_outputs(selector))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what `map_err` hands in"
)]
fn failed<T>(error: ort::Error<T>) -> OnnxError {
    OnnxError::Runtime {
        runtime: RUNTIME,
        message: error.to_string(),
    }
}

/// Calls a generic function with the Rust type of a tensor's numbers.
macro_rules! with_type {
    ($tensor_type:expr, $function:ident($($argument:expr),*), else $other:expr) => {
        match $tensor_type {
            TensorType::Uint8 => $function::<u8>($($argument),*),
            TensorType::Uint16 => $function::<u16>($($argument),*),
            TensorType::Uint32 => $function::<u32>($($argument),*),
            TensorType::Uint64 => $function::<u64>($($argument),*),
            TensorType::Int8 => $function::<i8>($($argument),*),
            TensorType::Int16 => $function::<i16>($($argument),*),
            TensorType::Int32 => $function::<i32>($($argument),*),
            TensorType::Int64 => $function::<i64>($($argument),*),
            TensorType::Fp16 => $function::<f16>($($argument),*),
            TensorType::Bf16 => $function::<bf16>($($argument),*),
            TensorType::Fp32 => $function::<f32>($($argument),*),
            TensorType::Fp64 => $function::<f64>($($argument),*),
            TensorType::Bool | TensorType::Bytes => $other,
        }
    };
}

/// The runtime's view of a tensor: it reads our memory, unless that is not aligned.
fn input_value(tensor: &Tensor) -> Result<SessionInputValue<'_>, EngineError> {
    with_type!(tensor.tensor_type(), numbers(tensor, false), else special(tensor, false))
}

/// A copy of a tensor that is the runtime's own.
fn owned_value(tensor: &Tensor) -> Result<SessionInputValue<'_>, EngineError> {
    with_type!(tensor.tensor_type(), numbers(tensor, true), else special(tensor, true))
}

fn numbers<T: Element + PrimitiveTensorElementType + std::fmt::Debug>(
    tensor: &Tensor,
    is_owned: bool,
) -> Result<SessionInputValue<'_>, EngineError> {
    value(tensor.shape(), tensor.view::<T>()?, is_owned)
}

fn value<'a, T: PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static>(
    shape: &'a [usize],
    numbers: Cow<'a, [T]>,
    is_owned: bool,
) -> Result<SessionInputValue<'a>, EngineError> {
    match numbers {
        Cow::Borrowed(numbers) if !is_owned => {
            let view = TensorRef::from_array_view((shape, numbers)).map_err(failed)?;
            Ok(SessionInputValue::from(view.into_dyn()))
        }
        numbers => {
            let owned = (shape.to_vec(), numbers.into_owned());
            let owned = ort::value::Tensor::from_array(owned).map_err(failed)?;
            Ok(SessionInputValue::from(owned))
        }
    }
}

/// Truth values and strings.
fn special(tensor: &Tensor, is_owned: bool) -> Result<SessionInputValue<'_>, EngineError> {
    let Some(strings) = tensor.strings() else {
        let bytes = tensor.bytes().unwrap_or_default();
        let truths: &[bool] = bytemuck::checked::cast_slice(bytes);
        return value(tensor.shape(), Cow::Borrowed(truths), is_owned);
    };
    let texts = strings.iter().map(|bytes| String::from_utf8(bytes.clone()));
    let texts = texts.collect::<Result<Vec<String>, _>>();
    let texts = texts.map_err(|_| EngineError::InvalidTensor {
        tensor: tensor.name().to_owned(),
        what: "BYTES",
        expected: "text in UTF-8, which is what ONNX has".to_owned(),
        got: "other bytes".to_owned(),
    })?;
    let value = ort::value::Tensor::from_string_array((tensor.shape(), texts.as_slice()));
    Ok(SessionInputValue::from(value.map_err(failed)?))
}

/// An output, which keeps the runtime's memory as long as somebody has it.
fn tensor_of(name: &str, value: DynValue) -> Result<Tensor, OnnxError> {
    let ort::value::ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(OnnxError::Runtime {
            runtime: RUNTIME,
            message: format!("output {name} is {}, expected a tensor", value.dtype()),
        });
    };
    let shape: Vec<usize> = shape.iter().map(|size| *size as usize).collect();
    let tensor_type = match ty {
        TensorElementType::Bool => TensorType::Bool,
        TensorElementType::Uint8 => TensorType::Uint8,
        TensorElementType::Uint16 => TensorType::Uint16,
        TensorElementType::Uint32 => TensorType::Uint32,
        TensorElementType::Uint64 => TensorType::Uint64,
        TensorElementType::Int8 => TensorType::Int8,
        TensorElementType::Int16 => TensorType::Int16,
        TensorElementType::Int32 => TensorType::Int32,
        TensorElementType::Int64 => TensorType::Int64,
        TensorElementType::Float16 => TensorType::Fp16,
        TensorElementType::Bfloat16 => TensorType::Bf16,
        TensorElementType::Float32 => TensorType::Fp32,
        TensorElementType::Float64 => TensorType::Fp64,
        TensorElementType::String => {
            let strings = value.try_extract_strings().map_err(failed)?.1;
            let strings = strings.into_iter().map(String::into_bytes).collect();
            return Ok(Tensor::from_strings(name, shape, strings)?);
        }
        other => {
            return Err(OnnxError::Runtime {
                runtime: RUNTIME,
                message: format!("output {name} is of {other}, which the contract has not"),
            });
        }
    };
    if shape.contains(&0) {
        return Ok(Tensor::from_bytes(name, tensor_type, shape, Vec::new())?);
    }
    let output = Output { value, tensor_type };
    let bytes = SharedBytes::new(output);
    Ok(Tensor::from_bytes(name, tensor_type, shape, bytes)?)
}

/// A value of the runtime, as the bytes that it is.
struct Output {
    value: DynValue,
    tensor_type: TensorType,
}

impl AsRef<[u8]> for Output {
    fn as_ref(&self) -> &[u8] {
        fn bytes<T: Element + PrimitiveTensorElementType>(value: &DynValue) -> &[u8] {
            let numbers = value.try_extract_tensor::<T>();
            numbers.map_or(&[], |(_, numbers)| bytemuck::cast_slice(numbers))
        }
        fn truths(value: &DynValue) -> &[u8] {
            let truths = value.try_extract_tensor::<bool>();
            truths.map_or(&[], |(_, truths)| bytemuck::cast_slice(truths))
        }
        with_type!(self.tensor_type, bytes(&self.value), else truths(&self.value))
    }
}

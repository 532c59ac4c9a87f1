//! Engines that turn tensors into tensors, and what their models take and give.
//!
//! ```
//! use carnot_engine::{EngineError, Tensor, TensorEngine};
//!
//! fn scores_of(engine: &mut dyn TensorEngine, pixels: Vec<f32>) -> Result<Vec<f32>, EngineError> {
//!     let input = engine.model().inputs[0].name.clone();
//!     let pixels = Tensor::from_f32(input, [1, 3, 224, 224], pixels)?;
//!     engine.model().check_inputs(std::slice::from_ref(&pixels))?;
//!     let outputs = engine.run(&[pixels], None)?;
//!     Ok(outputs[0].view::<f32>()?.into_owned())
//! }
//! ```

#[cfg(test)]
mod tests;

use std::fmt;

use crate::tensor::invalid;
use crate::{EngineError, Tensor, TensorType};

/// An engine that runs one tensor model. It keeps no state between runs.
pub trait TensorEngine: Send {
    /// What it runs.
    fn model(&self) -> &TensorModelInfo;

    /// Runs the model once. `inputs` come in any order; `outputs` names those that are wanted, which come back in that order, or
    /// none for all of them in the model's order.
    ///
    /// # Errors
    /// As [`TensorModelInfo::check_inputs`] and [`TensorModelInfo::check_outputs`], which engines call, and
    /// [`EngineError::Engine`] where the run itself fails. The engine can be used after every error.
    fn run(
        &mut self,
        inputs: &[Tensor],
        outputs: Option<&[String]>,
    ) -> Result<Vec<Tensor>, EngineError>;

    /// Another engine of the same model, to run beside this one; it shares the weights where the runtime can.
    ///
    /// # Errors
    /// [`EngineError::Engine`] where the runtime makes no second one.
    fn duplicate(&self) -> Result<Box<dyn TensorEngine>, EngineError>;
}

/// What a tensor model is, takes and gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TensorModelInfo {
    /// The model's name.
    pub name: String,
    /// Its version, such as `1`.
    pub version: String,
    /// A hash of its content, weights included, in hexadecimal: a part of every key of its cached results.
    pub hash: String,
    /// The form of the model and what runs it, such as `onnxruntime_onnx`.
    pub platform: String,
    /// What it takes, in its own order.
    pub inputs: Vec<TensorInfo>,
    /// What it gives, in its own order.
    pub outputs: Vec<TensorInfo>,
    /// Whether the first axis of every input and output is a free number of rows that have nothing to do with each other as far
    /// as the model says, so that the rows of several requests may share a run.
    pub is_batchable: bool,
}

/// An input or an output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub tensor_type: TensorType,
    /// Its size along each axis; none where any will do.
    pub shape: Vec<Option<usize>>,
    /// Whether the model says nothing of the shape, so that any number of axes will do; `shape` is empty then.
    pub is_any_rank: bool,
}

impl TensorInfo {
    /// An input or output of a known number of axes.
    pub fn new(
        name: impl Into<String>,
        tensor_type: TensorType,
        shape: impl Into<Vec<Option<usize>>>,
    ) -> Self {
        Self {
            name: name.into(),
            tensor_type,
            shape: shape.into(),
            is_any_rank: false,
        }
    }

    /// Whether a tensor may stand here, whatever it is called.
    ///
    /// # Errors
    /// [`EngineError::InvalidTensor`] where type, number of axes or a size is another.
    pub fn check(&self, tensor: &Tensor) -> Result<(), EngineError> {
        if tensor.tensor_type() != self.tensor_type {
            let got = tensor.tensor_type();
            return Err(invalid(&self.name, "type", self.tensor_type, got));
        }
        let fits =
            |(expected, got): (&Option<usize>, &usize)| expected.is_none_or(|one| one == *got);
        let is_rank_right = self.is_any_rank || tensor.shape().len() == self.shape.len();
        if is_rank_right && self.shape.iter().zip(tensor.shape()).all(fits) {
            return Ok(());
        }
        let got = format!("{:?}", tensor.shape());
        Err(invalid(&self.name, "shape", self.shape_text(), got))
    }

    /// The shape with `?` for what is free: `[?, 3, 224, 224]`.
    pub fn shape_text(&self) -> String {
        if self.is_any_rank {
            return "any".to_owned();
        }
        let size = |size: &Option<usize>| size.map_or("?".to_owned(), |size| size.to_string());
        let sizes: Vec<String> = self.shape.iter().map(size).collect();
        format!("[{}]", sizes.join(", "))
    }
}

impl TensorModelInfo {
    /// Whether a run can begin with these inputs: each of the model's, once, of its type and shape, and no other.
    ///
    /// # Errors
    /// [`EngineError::UnknownTensor`], [`EngineError::RepeatedTensor`], [`EngineError::MissingInput`] or
    /// [`EngineError::InvalidTensor`], whichever is found first.
    pub fn check_inputs(&self, inputs: &[Tensor]) -> Result<(), EngineError> {
        for (index, input) in inputs.iter().enumerate() {
            let known = self.inputs.iter().find(|info| info.name == input.name());
            let info = known.ok_or_else(|| self.unknown("input", input.name(), &self.inputs))?;
            if inputs[..index].iter().any(|one| one.name() == input.name()) {
                let tensor = input.name().to_owned();
                return Err(EngineError::RepeatedTensor { tensor });
            }
            info.check(input)?;
        }
        let is_given = |info: &&TensorInfo| inputs.iter().any(|input| input.name() == info.name);
        match self.inputs.iter().find(|info| !is_given(info)) {
            None => Ok(()),
            Some(missing) => Err(EngineError::MissingInput {
                input: missing.name.clone(),
                expected: format!("{} {}", missing.tensor_type, missing.shape_text()),
            }),
        }
    }

    /// Where the outputs of these names stand among the model's; all of them where none are named.
    ///
    /// # Errors
    /// [`EngineError::UnknownTensor`] where the model has no such output.
    pub fn check_outputs(&self, outputs: Option<&[String]>) -> Result<Vec<usize>, EngineError> {
        let Some(names) = outputs else {
            return Ok((0..self.outputs.len()).collect());
        };
        let position = |name: &String| {
            let found = self.outputs.iter().position(|info| info.name == *name);
            found.ok_or_else(|| self.unknown("output", name, &self.outputs))
        };
        names.iter().map(position).collect()
    }

    fn unknown(&self, what: &'static str, name: &str, known: &[TensorInfo]) -> EngineError {
        let known: Vec<&str> = known.iter().map(|info| info.name.as_str()).collect();
        EngineError::UnknownTensor {
            model: self.name.clone(),
            what,
            tensor: name.to_owned(),
            expected: known.join(", "),
        }
    }
}

/// How many rows each of `tensors` has where all have the same number, as the inputs of a request to a batchable model.
///
/// # Errors
/// [`EngineError::InvalidTensor`] where one is a scalar or has another number of rows than the first; none have 0.
pub fn common_rows(tensors: &[Tensor]) -> Result<usize, EngineError> {
    let mut common = None;
    for tensor in tensors {
        let rows = tensor.rows();
        let rows =
            rows.ok_or_else(|| invalid(tensor.name(), "rows", "a first axis", "a scalar"))?;
        let expected = *common.get_or_insert(rows);
        if rows != expected {
            return Err(invalid(tensor.name(), "rows", expected, rows));
        }
    }
    Ok(common.unwrap_or(0))
}

impl fmt::Debug for dyn TensorEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self.model();
        write!(f, "{} of {}", model.platform, model.name)
    }
}

//! Tensors by name: what goes into a tensor model and what comes out of it.
//!
//! The types are those of the Open Inference Protocol, version 2. Values are in row-major order, numbers little-endian as
//! in memory, and shared: a clone, a renamed tensor and a range of rows hold the same bytes.

mod element;
mod shared_bytes;
#[cfg(test)]
mod tests;
mod types;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

pub use element::Element;
pub use shared_bytes::SharedBytes;
pub use types::TensorType;

use crate::EngineError;

/// An array of numbers or of byte strings, with its name.
#[derive(Clone, Debug)]
pub struct Tensor {
    name: Arc<str>,
    kind: TensorType,
    shape: Vec<usize>,
    values: Values,
}

/// What a tensor holds.
#[derive(Clone, Debug)]
enum Values {
    /// Numbers, row by row.
    Numbers(SharedBytes),
    /// Byte strings of any length; the range is the tensor's part.
    Strings(Arc<Vec<Vec<u8>>>, Range<usize>),
}

impl Tensor {
    /// A tensor of numbers or truth values as they lie in memory: row-major, little-endian, a BOOL one byte of 0 or 1.
    ///
    /// # Errors
    /// [`EngineError::InvalidTensor`] where the type is BYTES, where `shape` × size is not the number of bytes, and where a
    /// BOOL is neither 0 nor 1.
    pub fn from_bytes(
        name: impl Into<Arc<str>>,
        tensor_type: TensorType,
        shape: impl Into<Vec<usize>>,
        bytes: impl Into<SharedBytes>,
    ) -> Result<Self, EngineError> {
        let (name, shape, bytes) = (name.into(), shape.into(), bytes.into());
        let Some(size) = tensor_type.size() else {
            return Err(invalid(&name, "type", "numbers", "BYTES"));
        };
        let expected = elements_of(&name, &shape)?.checked_mul(size);
        let expected = expected.ok_or_else(|| too_large(&name, &shape))?;
        if expected != bytes.len() {
            let expected = format!("{expected} bytes for {tensor_type} {shape:?}");
            return Err(invalid(&name, "values", expected, bytes.len()));
        }
        let is_bad = |value: &&u8| **value > 1;
        if tensor_type == TensorType::Bool
            && let Some(bad) = bytes.iter().find(is_bad)
        {
            return Err(invalid(&name, "BOOL", "0 or 1", bad));
        }
        Ok(Self {
            name,
            kind: tensor_type,
            shape,
            values: Values::Numbers(bytes),
        })
    }

    /// A tensor of the type that belongs to `T`, without a copy of `values`.
    ///
    /// # Errors
    /// [`EngineError::InvalidTensor`] where the shape does not hold as many values.
    pub fn from_vec<T: Element>(
        name: impl Into<Arc<str>>,
        shape: impl Into<Vec<usize>>,
        values: Vec<T>,
    ) -> Result<Self, EngineError> {
        let (name, shape) = (name.into(), shape.into());
        check_elements(&name, &shape, values.len())?;
        Ok(Self {
            name,
            kind: T::TYPE,
            shape,
            values: Values::Numbers(SharedBytes::from_vec(values)),
        })
    }

    /// A tensor of 32-bit floating-point numbers.
    ///
    /// # Errors
    /// As [`Tensor::from_vec`].
    pub fn from_f32(
        name: impl Into<Arc<str>>,
        shape: impl Into<Vec<usize>>,
        values: Vec<f32>,
    ) -> Result<Self, EngineError> {
        Self::from_vec(name, shape, values)
    }

    /// A tensor of 64-bit integers.
    ///
    /// # Errors
    /// As [`Tensor::from_vec`].
    pub fn from_i64(
        name: impl Into<Arc<str>>,
        shape: impl Into<Vec<usize>>,
        values: Vec<i64>,
    ) -> Result<Self, EngineError> {
        Self::from_vec(name, shape, values)
    }

    /// A tensor of truth values.
    ///
    /// # Errors
    /// As [`Tensor::from_vec`].
    pub fn from_bools(
        name: impl Into<Arc<str>>,
        shape: impl Into<Vec<usize>>,
        values: &[bool],
    ) -> Result<Self, EngineError> {
        let bytes: Vec<u8> = values.iter().map(|value| u8::from(*value)).collect();
        Self::from_bytes(name, TensorType::Bool, shape, bytes)
    }

    /// A tensor of byte strings, the type BYTES.
    ///
    /// # Errors
    /// As [`Tensor::from_vec`].
    pub fn from_strings(
        name: impl Into<Arc<str>>,
        shape: impl Into<Vec<usize>>,
        values: Vec<Vec<u8>>,
    ) -> Result<Self, EngineError> {
        let (name, shape) = (name.into(), shape.into());
        check_elements(&name, &shape, values.len())?;
        let range = 0..values.len();
        Ok(Self {
            name,
            kind: TensorType::Bytes,
            shape,
            values: Values::Strings(Arc::new(values), range),
        })
    }

    /// Its name among the inputs or outputs of a model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of its values.
    pub fn tensor_type(&self) -> TensorType {
        self.kind
    }

    /// How many values there are along each axis; none for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many values it holds.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// How many bytes its values take: of strings, those of their characters.
    pub fn size_bytes(&self) -> usize {
        match &self.values {
            Values::Numbers(bytes) => bytes.len(),
            Values::Strings(strings, range) => strings[range.clone()].iter().map(Vec::len).sum(),
        }
    }

    /// The numbers as they lie in memory; none for BYTES.
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.values {
            Values::Numbers(bytes) => Some(bytes),
            Values::Strings(..) => None,
        }
    }

    /// The numbers as they lie in memory, shared; none for BYTES.
    pub fn shared_bytes(&self) -> Option<SharedBytes> {
        match &self.values {
            Values::Numbers(bytes) => Some(bytes.clone()),
            Values::Strings(..) => None,
        }
    }

    /// The byte strings; none for numbers.
    pub fn strings(&self) -> Option<&[Vec<u8>]> {
        match &self.values {
            Values::Numbers(_) => None,
            Values::Strings(strings, range) => Some(&strings[range.clone()]),
        }
    }

    /// The values as numbers of type `T`: borrowed where they are aligned for it, copied where they are not.
    ///
    /// # Errors
    /// [`EngineError::InvalidTensor`] where the tensor is of another type.
    pub fn view<T: Element>(&self) -> Result<Cow<'_, [T]>, EngineError> {
        match &self.values {
            Values::Numbers(bytes) if self.kind == T::TYPE => Ok(element::view(bytes)),
            _ => Err(invalid(&self.name, "type", T::TYPE, self.kind)),
        }
    }

    /// The same values by another name.
    #[must_use]
    pub fn renamed(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// The same values in another shape.
    ///
    /// # Errors
    /// [`EngineError::InvalidTensor`] where the shape does not hold as many values.
    pub fn reshaped(mut self, shape: impl Into<Vec<usize>>) -> Result<Self, EngineError> {
        let shape = shape.into();
        check_elements(&self.name, &shape, self.elements())?;
        self.shape = shape;
        Ok(self)
    }

    /// How many rows it has: its size along the first axis; none for a scalar.
    pub fn rows(&self) -> Option<usize> {
        self.shape.first().copied()
    }

    /// Some of its rows, which share its values.
    ///
    /// # Errors
    /// [`EngineError::InvalidTensor`] for a scalar, and where the tensor has not these rows.
    pub fn row_range(&self, rows: Range<usize>) -> Result<Self, EngineError> {
        let Some(have) = self.rows() else {
            return Err(invalid(&self.name, "rows", "a first axis", "a scalar"));
        };
        if rows.start > rows.end || rows.end > have {
            let expected = format!("a range within {have}");
            return Err(invalid(&self.name, "rows", expected, format!("{rows:?}")));
        }
        let each: usize = self.shape[1..].iter().product();
        let elements = rows.start * each..rows.end * each;
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        let values = match &self.values {
            Values::Numbers(bytes) => {
                let size = self.kind.size().unwrap_or(1);
                Values::Numbers(bytes.range(elements.start * size..elements.end * size))
            }
            Values::Strings(strings, range) => {
                let part = range.start + elements.start..range.start + elements.end;
                Values::Strings(Arc::clone(strings), part)
            }
        };
        Ok(Self {
            name: Arc::clone(&self.name),
            kind: self.kind,
            shape,
            values,
        })
    }

    /// The tensor in pieces of so many rows each, in order; they share its values.
    ///
    /// # Errors
    /// [`EngineError::InvalidTensor`] for a scalar, and where `rows` do not add up to the tensor's.
    pub fn split_rows(&self, rows: &[usize]) -> Result<Vec<Self>, EngineError> {
        let total = rows.iter().try_fold(0_usize, |sum, n| sum.checked_add(*n));
        if total != self.rows() || total.is_none() {
            let expected = format!("{rows:?} rows in all");
            return Err(invalid(
                &self.name,
                "rows",
                expected,
                format!("{:?}", self.shape),
            ));
        }
        let mut start = 0;
        rows.iter()
            .map(|count| {
                let piece = self.row_range(start..start + count);
                start += count;
                piece
            })
            .collect()
    }

    /// The rows of all of `tensors`, one after the other, under the first's name. A single tensor shares its values; several
    /// are copied once.
    ///
    /// # Errors
    /// [`EngineError::InvalidTensor`] where there is none, where one is a scalar, and where types differ, or shapes behind the first axis.
    pub fn concat_rows(tensors: &[&Self]) -> Result<Self, EngineError> {
        let Some((first, rest)) = tensors.split_first() else {
            return Err(invalid("", "rows", "at least one tensor", "none"));
        };
        let Some(mut rows) = first.rows() else {
            return Err(invalid(&first.name, "rows", "a first axis", "a scalar"));
        };
        for other in rest {
            first.check_rows_fit(other)?;
            rows += other.shape[0];
        }
        if rest.is_empty() {
            return Ok((*first).clone());
        }
        let mut shape = first.shape.clone();
        shape[0] = rows;
        if first.kind == TensorType::Bytes {
            let parts = tensors.iter().filter_map(|tensor| tensor.strings());
            let strings = parts.flatten().cloned().collect();
            return Self::from_strings(Arc::clone(&first.name), shape, strings);
        }
        let parts = tensors.iter().filter_map(|tensor| tensor.bytes());
        let bytes = SharedBytes::concat(parts, tensors.iter().map(|part| part.size_bytes()).sum());
        Self::from_bytes(Arc::clone(&first.name), first.kind, shape, bytes)
    }

    /// Whether rows of `other` can follow this one's.
    fn check_rows_fit(&self, other: &Self) -> Result<(), EngineError> {
        if other.kind != self.kind {
            let (expected, got) = (self.kind, other.kind);
            return Err(invalid(&other.name, "type", expected, got));
        }
        if other.shape.is_empty() || other.shape[1..] != self.shape[1..] {
            let expected = format!("any rows of {:?}", &self.shape[1..]);
            return Err(invalid(
                &other.name,
                "shape",
                expected,
                format!("{:?}", other.shape),
            ));
        }
        Ok(())
    }
}

/// Tensors are equal by name, type, shape and bytes: a NaN equals itself, and −0 is not 0.
impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.kind == other.kind
            && self.shape == other.shape
            && self.bytes() == other.bytes()
            && self.strings() == other.strings()
    }
}

impl Eq for Tensor {}

/// How many values a shape holds.
fn elements_of(name: &str, shape: &[usize]) -> Result<usize, EngineError> {
    // A zero anywhere makes the product zero, but the other factors still have to be addressable, for views multiply them.
    let fold = |product: usize, size: &usize| product.checked_mul((*size).max(1));
    let bound = shape.iter().try_fold(1_usize, fold);
    match bound {
        Some(_) if shape.contains(&0) => Ok(0),
        Some(elements) => Ok(elements),
        None => Err(too_large(name, shape)),
    }
}

fn check_elements(name: &str, shape: &[usize], got: usize) -> Result<(), EngineError> {
    let expected = elements_of(name, shape)?;
    if expected == got {
        return Ok(());
    }
    let expected = format!("{expected} values for {shape:?}");
    Err(invalid(name, "values", expected, got))
}

fn too_large(name: &str, shape: &[usize]) -> EngineError {
    invalid(
        name,
        "shape",
        "one that can be addressed",
        format!("{shape:?}"),
    )
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers hand in texts, numbers and types that they made for this"
)]
pub(crate) fn invalid(
    tensor: &str,
    what: &'static str,
    expected: impl ToString,
    got: impl ToString,
) -> EngineError {
    EngineError::InvalidTensor {
        tensor: tensor.to_owned(),
        what,
        expected: expected.to_string(),
        got: got.to_string(),
    }
}

//! Weights and constants: where their values are and what they are.

use carnot_engine::{SharedBytes, Tensor};

use super::DataType;
use crate::OnnxError;

/// A tensor in a model.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorProto {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub data_type: DataType,
    /// Its size along each axis.
    pub shape: Vec<usize>,
    /// Its values.
    pub data: TensorData,
}

/// A tensor's values, in one of the forms that ONNX has.
#[derive(Clone, Debug)]
pub enum TensorData {
    /// As they lie in memory: row-major, little-endian; shared with the file.
    Raw(SharedBytes),
    /// Numbers of 32 bits with a fraction; pairs of them for complex ones.
    Floats(Vec<f32>),
    /// Numbers of 64 bits with a fraction.
    Doubles(Vec<f64>),
    /// Integers of whatever size, and the bits of FLOAT16 and BFLOAT16.
    Ints(Vec<i64>),
    /// Byte strings.
    Strings(Vec<Vec<u8>>),
    /// In a file beside the model.
    External(ExternalData),
}

/// Where values are that lie in a file beside the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalData {
    /// The file, relative to the model's folder.
    pub location: String,
    /// Where they begin.
    pub offset: u64,
    /// How many bytes they are; none for all that follow.
    pub length: Option<u64>,
}

impl PartialEq for TensorData {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Raw(a), Self::Raw(b)) => a[..] == b[..],
            (Self::Floats(a), Self::Floats(b)) => a
                .iter()
                .map(|value| value.to_bits())
                .eq(b.iter().map(|value| value.to_bits())),
            (Self::Doubles(a), Self::Doubles(b)) => a
                .iter()
                .map(|value| value.to_bits())
                .eq(b.iter().map(|value| value.to_bits())),
            (Self::Ints(a), Self::Ints(b)) => a == b,
            (Self::Strings(a), Self::Strings(b)) => a == b,
            (Self::External(a), Self::External(b)) => a == b,
            _ => false,
        }
    }
}

impl TensorProto {
    /// The contract's tensor as one of a model; shares its bytes.
    pub fn from_tensor(tensor: &Tensor) -> Self {
        let data = match (tensor.shared_bytes(), tensor.strings()) {
            (Some(bytes), _) => TensorData::Raw(bytes),
            (None, strings) => TensorData::Strings(strings.unwrap_or_default().to_vec()),
        };
        Self {
            name: tensor.name().to_owned(),
            data_type: tensor.tensor_type().into(),
            shape: tensor.shape().to_vec(),
            data,
        }
    }

    /// How many values it has; none where that cannot be counted.
    pub fn elements(&self) -> Option<usize> {
        let product = |product: usize, size: &usize| product.checked_mul(*size);
        self.shape.iter().try_fold(1_usize, product)
    }

    /// How many bytes its values take in memory: `elements` × their size, rounded up; 0 where that is not known.
    pub fn size_bytes(&self) -> usize {
        let bits = self.data_type.bits().unwrap_or(0);
        let bits = self.elements().and_then(|count| count.checked_mul(bits));
        bits.map_or(0, |bits| bits.div_ceil(8))
    }

    /// The tensor by the contract of engines. Raw values are shared, others converted.
    ///
    /// # Errors
    /// [`OnnxError::Invalid`] where the contract has not the type, the values are in another file or of another kind than the type says;
    /// [`OnnxError::Tensor`] where they do not fill the shape.
    pub fn to_tensor(&self) -> Result<Tensor, OnnxError> {
        let Some(tensor_type) = self.data_type.tensor_type() else {
            return Err(self.invalid("a type of the contract", self.data_type.to_string()));
        };
        let (name, shape) = (self.name.as_str(), self.shape.clone());
        let tensor = match &self.data {
            TensorData::Strings(strings) => Tensor::from_strings(name, shape, strings.clone()),
            TensorData::External(external) => {
                return Err(self.invalid("values that were read", external.location.clone()));
            }
            TensorData::Raw(bytes) => Tensor::from_bytes(name, tensor_type, shape, bytes.clone()),
            _ => Tensor::from_bytes(name, tensor_type, shape, self.raw_bytes()?),
        };
        Ok(tensor?)
    }

    /// Values that are listed number by number, as they would lie in memory.
    fn raw_bytes(&self) -> Result<Vec<u8>, OnnxError> {
        let mut bytes = Vec::new();
        match &self.data {
            TensorData::Floats(values) if self.data_type == DataType::FLOAT => {
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            TensorData::Doubles(values) if self.data_type == DataType::DOUBLE => {
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            TensorData::Ints(values)
                if self.data_type != DataType::FLOAT && self.data_type != DataType::DOUBLE =>
            {
                let size = self.data_type.bits().unwrap_or(0).div_ceil(8).min(8);
                let part = |value: &i64| value.to_le_bytes()[..size].to_vec();
                bytes.extend(values.iter().flat_map(part));
            }
            // Nothing at all is how an empty tensor is written, whatever its type.
            _ if self.elements() == Some(0) => {}
            _ => {
                let expected = format!("values of {}", self.data_type);
                return Err(self.invalid(&expected, "values of another kind".to_owned()));
            }
        }
        Ok(bytes)
    }

    pub(crate) fn invalid(&self, expected: &str, got: String) -> OnnxError {
        OnnxError::Invalid {
            what: "tensor",
            name: self.name.clone(),
            expected: expected.to_owned(),
            got,
        }
    }
}

//! The types of numbers that ONNX has, and which of them the contract of engines has.

use std::fmt;

use carnot_engine::TensorType;

/// A type of a tensor's values, by its number in `onnx.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DataType(pub i64);

#[expect(missing_docs, reason = "the names are those of ONNX")]
impl DataType {
    pub const UNDEFINED: Self = Self(0);
    pub const FLOAT: Self = Self(1);
    pub const UINT8: Self = Self(2);
    pub const INT8: Self = Self(3);
    pub const UINT16: Self = Self(4);
    pub const INT16: Self = Self(5);
    pub const INT32: Self = Self(6);
    pub const INT64: Self = Self(7);
    pub const STRING: Self = Self(8);
    pub const BOOL: Self = Self(9);
    pub const FLOAT16: Self = Self(10);
    pub const DOUBLE: Self = Self(11);
    pub const UINT32: Self = Self(12);
    pub const UINT64: Self = Self(13);
    pub const BFLOAT16: Self = Self(16);

    /// The contract's type; none for complex numbers and those of less than a byte, or of 8 bits with a fraction.
    pub fn tensor_type(self) -> Option<TensorType> {
        Some(match self {
            Self::FLOAT => TensorType::Fp32,
            Self::UINT8 => TensorType::Uint8,
            Self::INT8 => TensorType::Int8,
            Self::UINT16 => TensorType::Uint16,
            Self::INT16 => TensorType::Int16,
            Self::INT32 => TensorType::Int32,
            Self::INT64 => TensorType::Int64,
            Self::STRING => TensorType::Bytes,
            Self::BOOL => TensorType::Bool,
            Self::FLOAT16 => TensorType::Fp16,
            Self::DOUBLE => TensorType::Fp64,
            Self::UINT32 => TensorType::Uint32,
            Self::UINT64 => TensorType::Uint64,
            Self::BFLOAT16 => TensorType::Bf16,
            _ => return None,
        })
    }

    /// Bits that a value takes; none for strings and unknown types.
    pub fn bits(self) -> Option<usize> {
        Some(match self.0 {
            2 | 3 | 9 | 17..=20 | 24 => 8,
            4 | 5 | 10 | 16 => 16,
            1 | 6 | 12 => 32,
            7 | 11 | 13 | 14 => 64,
            15 => 128,
            21..=23 => 4,
            25 | 26 => 2,
            _ => return None,
        })
    }
}

impl From<TensorType> for DataType {
    fn from(tensor_type: TensorType) -> Self {
        match tensor_type {
            TensorType::Bool => Self::BOOL,
            TensorType::Uint8 => Self::UINT8,
            TensorType::Uint16 => Self::UINT16,
            TensorType::Uint32 => Self::UINT32,
            TensorType::Uint64 => Self::UINT64,
            TensorType::Int8 => Self::INT8,
            TensorType::Int16 => Self::INT16,
            TensorType::Int32 => Self::INT32,
            TensorType::Int64 => Self::INT64,
            TensorType::Fp16 => Self::FLOAT16,
            TensorType::Bf16 => Self::BFLOAT16,
            TensorType::Fp32 => Self::FLOAT,
            TensorType::Fp64 => Self::DOUBLE,
            TensorType::Bytes => Self::STRING,
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 27] = [
            "UNDEFINED",
            "FLOAT",
            "UINT8",
            "INT8",
            "UINT16",
            "INT16",
            "INT32",
            "INT64",
            "STRING",
            "BOOL",
            "FLOAT16",
            "DOUBLE",
            "UINT32",
            "UINT64",
            "COMPLEX64",
            "COMPLEX128",
            "BFLOAT16",
            "FLOAT8E4M3FN",
            "FLOAT8E4M3FNUZ",
            "FLOAT8E5M2",
            "FLOAT8E5M2FNUZ",
            "UINT4",
            "INT4",
            "FLOAT4E2M1",
            "FLOAT8E8M0",
            "UINT2",
            "INT2",
        ];
        let index = usize::try_from(self.0).ok();
        match index.and_then(|index| NAMES.get(index)) {
            Some(name) => f.write_str(name),
            None => write!(f, "data type {}", self.0),
        }
    }
}

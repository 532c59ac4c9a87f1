//! Small constants as numbers.

use carnot_engine::{Tensor, TensorType};
use half::f16;

use super::Fact;
use crate::model::{DataType, TensorData, TensorProto};

/// Most values that are followed: more than any shape has, and few enough to be nothing beside the model.
pub const MOST: usize = 4096;

/// What a weight is, with its values where they are few.
pub fn of_proto(proto: &TensorProto) -> Fact {
    let few = proto.elements().is_some_and(|count| count <= MOST);
    let is_here = !matches!(proto.data, TensorData::External(_));
    let tensor = (few && is_here).then(|| proto.to_tensor().ok()).flatten();
    Fact {
        values: tensor.and_then(|tensor| of_tensor(&tensor)),
        is_constant: true,
        ..Fact::new(proto.data_type, Some(proto.shape.clone()))
    }
}

/// The values of a tensor of few; none of strings.
pub fn of_tensor(tensor: &Tensor) -> Option<Vec<f64>> {
    macro_rules! of {
        ($number:ty, $convert:expr) => {
            Some(
                tensor
                    .view::<$number>()
                    .ok()?
                    .iter()
                    .map($convert)
                    .collect(),
            )
        };
    }
    if tensor.elements() > MOST {
        return None;
    }
    match tensor.tensor_type() {
        TensorType::Bool => Some(tensor.bytes()?.iter().map(|one| f64::from(*one)).collect()),
        TensorType::Uint8 => of!(u8, |one| f64::from(*one)),
        TensorType::Uint16 => of!(u16, |one| f64::from(*one)),
        TensorType::Uint32 => of!(u32, |one| f64::from(*one)),
        TensorType::Uint64 => of!(u64, |one| *one as f64),
        TensorType::Int8 => of!(i8, |one| f64::from(*one)),
        TensorType::Int16 => of!(i16, |one| f64::from(*one)),
        TensorType::Int32 => of!(i32, |one| f64::from(*one)),
        TensorType::Int64 => of!(i64, |one| *one as f64),
        TensorType::Fp16 => of!(f16, |one| one.to_f64()),
        TensorType::Fp32 => of!(f32, |one| f64::from(*one)),
        TensorType::Fp64 => of!(f64, |one| *one),
        TensorType::Bf16 | TensorType::Bytes => None,
    }
}

impl DataType {
    /// Whether its values are whole numbers or truth values.
    pub(crate) fn is_whole(self) -> bool {
        matches!(self.0, 2..=7 | 9 | 12 | 13 | 21 | 22 | 25 | 26)
    }
}

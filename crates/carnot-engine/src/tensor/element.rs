//! Numbers of Rust that are values of a tensor.

use std::borrow::Cow;

use bytemuck::Pod;
use half::{bf16, f16};

use super::TensorType;

/// A number that a tensor may hold. Truth values are bytes of 0 and 1, and no element.
pub trait Element: Pod + Send + Sync {
    /// The type of tensors that hold it.
    const TYPE: TensorType;
}

macro_rules! elements {
    ($($number:ty => $tensor_type:ident),* $(,)?) => {
        $(impl Element for $number {
            const TYPE: TensorType = TensorType::$tensor_type;
        })*
    };
}

elements! {
    u8 => Uint8,
    u16 => Uint16,
    u32 => Uint32,
    u64 => Uint64,
    i8 => Int8,
    i16 => Int16,
    i32 => Int32,
    i64 => Int64,
    f16 => Fp16,
    bf16 => Bf16,
    f32 => Fp32,
    f64 => Fp64,
}

/// Bytes as numbers: borrowed where they are aligned, copied where they are not. Bytes behind the last whole number are left out.
pub fn view<T: Element>(bytes: &[u8]) -> Cow<'_, [T]> {
    let whole = &bytes[..bytes.len() / size_of::<T>() * size_of::<T>()];
    match bytemuck::try_cast_slice(whole) {
        Ok(numbers) => Cow::Borrowed(numbers),
        Err(_) => Cow::Owned(bytemuck::allocation::pod_collect_to_vec(whole)),
    }
}

//! Whether a result is what was expected, as the `onnx` package compares.

use carnot_engine::{Tensor, TensorType};
use half::{bf16, f16};

/// What differs, if anything does: type, shape, or a value by more than `absolute + relative × |expected|`. NaN is NaN.
pub fn difference(expected: &Tensor, got: &Tensor, relative: f64, absolute: f64) -> Option<String> {
    if expected.tensor_type() != got.tensor_type() {
        let (expected, got) = (expected.tensor_type(), got.tensor_type());
        return Some(format!("type: expected {expected}, got {got}"));
    }
    if expected.shape() != got.shape() {
        let (expected, got) = (expected.shape(), got.shape());
        return Some(format!("shape: expected {expected:?}, got {got:?}"));
    }
    if let Some(strings) = expected.strings() {
        let is_same = Some(strings) == got.strings();
        return (!is_same).then(|| "strings: they differ".to_owned());
    }
    let (wanted, found) = (numbers(expected), numbers(got));
    let is_near = |wanted: f64, found: f64| {
        wanted == found
            || (wanted.is_nan() && found.is_nan())
            || (wanted.is_finite() && (wanted - found).abs() <= absolute + relative * wanted.abs())
    };
    let pairs = wanted.iter().zip(&found).enumerate();
    let differing: Vec<_> = pairs
        .filter(|(_, (wanted, found))| !is_near(**wanted, **found))
        .collect();
    let (at, (wanted, found)) = differing.first()?;
    let (count, all) = (differing.len(), expected.elements());
    Some(format!(
        "{count} of {all} values; at {at}: expected {wanted}, got {found}"
    ))
}

/// The values as numbers that can be subtracted.
fn numbers(tensor: &Tensor) -> Vec<f64> {
    macro_rules! of {
        ($number:ty, $convert:expr) => {
            tensor
                .view::<$number>()
                .map(|view| view.iter().map($convert).collect())
        };
    }
    let numbers = match tensor.tensor_type() {
        TensorType::Bool => Ok(tensor
            .bytes()
            .unwrap_or_default()
            .iter()
            .map(|one| f64::from(*one))
            .collect()),
        TensorType::Uint8 => of!(u8, |one| f64::from(*one)),
        TensorType::Uint16 => of!(u16, |one| f64::from(*one)),
        TensorType::Uint32 => of!(u32, |one| f64::from(*one)),
        TensorType::Uint64 => of!(u64, |one| *one as f64),
        TensorType::Int8 => of!(i8, |one| f64::from(*one)),
        TensorType::Int16 => of!(i16, |one| f64::from(*one)),
        TensorType::Int32 => of!(i32, |one| f64::from(*one)),
        TensorType::Int64 => of!(i64, |one| *one as f64),
        TensorType::Fp16 => of!(f16, |one| one.to_f64()),
        TensorType::Bf16 => of!(bf16, |one| one.to_f64()),
        TensorType::Fp32 => of!(f32, |one| f64::from(*one)),
        TensorType::Fp64 => of!(f64, |one| *one),
        TensorType::Bytes => Ok(Vec::new()),
    };
    numbers.expect("the type was looked at")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Tensor {
        Tensor::from_f32("x", [values.len()], values.to_vec()).expect("as many as there are")
    }

    #[track_caller]
    fn check(expected: &[f32], got: &[f32], differs: Option<&str>) {
        let found = difference(&floats(expected), &floats(got), 1e-3, 1e-7);
        assert_eq!(found.as_deref(), differs);
    }

    #[test]
    fn values_may_differ_by_the_tolerance_and_no_more() {
        check(
            &[1.0, f32::NAN, f32::INFINITY],
            &[1.0009, f32::NAN, f32::INFINITY],
            None,
        );
        check(
            &[1.0, 2.0],
            &[1.0, 2.1],
            Some("1 of 2 values; at 1: expected 2, got 2.0999999046325684"),
        );
        check(
            &[f32::INFINITY],
            &[f32::NEG_INFINITY],
            Some("1 of 1 values; at 0: expected inf, got -inf"),
        );
        check(
            &[0.0],
            &[f32::NAN],
            Some("1 of 1 values; at 0: expected 0, got NaN"),
        );
        check(&[0.0], &[0.0, 0.0], Some("shape: expected [1], got [2]"));
    }

    #[test]
    fn types_have_to_be_the_same() {
        let whole = Tensor::from_i64("x", [1], vec![1]).expect("one of one");
        let found = difference(&floats(&[1.0]), &whole, 1.0, 1.0);
        assert_eq!(found.as_deref(), Some("type: expected FP32, got INT64"));
    }
}

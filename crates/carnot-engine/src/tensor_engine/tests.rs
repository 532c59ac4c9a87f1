//! What inputs and outputs are refused, and what is said of them.

use super::*;

fn model() -> TensorModelInfo {
    TensorModelInfo {
        name: "mlp".to_owned(),
        inputs: vec![
            TensorInfo::new("x", TensorType::Fp32, [None, Some(2)]),
            TensorInfo::new("k", TensorType::Int64, []),
        ],
        outputs: vec![TensorInfo::new("y", TensorType::Fp32, [None])],
        ..TensorModelInfo::default()
    }
}

fn x(shape: [usize; 2]) -> Tensor {
    Tensor::from_f32("x", shape, vec![0.0; shape[0] * shape[1]]).expect("it fills the shape")
}

fn k() -> Tensor {
    Tensor::from_i64("k", [], vec![3]).expect("one of one")
}

#[track_caller]
fn check(inputs: &[Tensor], expected: &str) {
    let error = model()
        .check_inputs(inputs)
        .expect_err("it should be refused");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn inputs_in_any_order_and_number_of_rows_pass() {
    assert!(model().check_inputs(&[k(), x([7, 2])]).is_ok());
    assert!(model().check_inputs(&[x([0, 2]), k()]).is_ok());
}

#[test]
fn what_is_wrong_with_inputs_is_said() {
    check(&[x([1, 2])], "input k is missing, expected INT64 []");
    check(&[k()], "input x is missing, expected FP32 [?, 2]");
    check(&[k(), k(), x([1, 2])], "tensor k is given more than once");
    check(
        &[k().renamed("z")],
        "mlp has no input z, expected one of: x, k",
    );
    check(
        &[x([1, 3]), k()],
        "tensor x: shape: expected [?, 2], got [1, 3]",
    );
    check(
        &[k().renamed("x"), k()],
        "tensor x: type: expected FP32, got INT64",
    );
    let flat = x([1, 2]).reshaped([2]).expect("two are two");
    check(&[flat, k()], "tensor x: shape: expected [?, 2], got [2]");
}

#[test]
fn a_model_that_says_nothing_of_a_shape_takes_any() {
    let mut info = TensorInfo::new("x", TensorType::Fp32, []);
    assert!(info.check(&x([1, 2])).is_err());
    info.is_any_rank = true;
    assert!(info.check(&x([1, 2])).is_ok());
}

#[test]
fn outputs_are_found_by_name() {
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(model().check_outputs(None).expect("all"), [0]);
    assert_eq!(
        model()
            .check_outputs(Some(&names(&["y"])))
            .expect("it is one"),
        [0]
    );
    let error = model()
        .check_outputs(Some(&names(&["z"])))
        .expect_err("no output");
    assert_eq!(error.to_string(), "mlp has no output z, expected one of: y");
}

#[test]
fn rows_are_common_or_refused() {
    assert_eq!(common_rows(&[x([3, 2]), x([3, 1])]).expect("three each"), 3);
    assert!(common_rows(&[x([3, 2]), x([2, 2])]).is_err());
    assert!(common_rows(&[k()]).is_err());
}

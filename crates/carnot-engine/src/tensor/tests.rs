//! Tensors checked, split, joined and seen as numbers.

use proptest::prelude::*;

use super::*;

fn counted(rows: usize, columns: usize) -> Tensor {
    let values = (0..rows * columns).map(|value| value as f32).collect();
    Tensor::from_f32("x", [rows, columns], values).expect("as many values as the shape holds")
}

#[test]
fn types_have_the_names_and_sizes_of_the_protocol() {
    for one in TensorType::ALL {
        assert_eq!(TensorType::parse(one.name()), Some(one));
    }
    assert_eq!(TensorType::parse("FP8"), None);
    assert_eq!(TensorType::Bf16.size(), Some(2));
    assert_eq!(TensorType::Bytes.size(), None);
}

#[test]
fn values_that_do_not_fill_the_shape_are_refused() {
    let error = Tensor::from_f32("pixels", [2, 3], vec![0.0; 5]).expect_err("one is missing");
    assert_eq!(
        error.to_string(),
        "tensor pixels: values: expected 6 values for [2, 3], got 5"
    );
    let error = Tensor::from_bytes("x", TensorType::Int16, [3], vec![0; 5]).expect_err("odd");
    assert_eq!(
        error.to_string(),
        "tensor x: values: expected 6 bytes for INT16 [3], got 5"
    );
}

#[test]
fn shapes_that_cannot_be_addressed_are_refused_even_when_a_size_is_zero() {
    let huge = vec![usize::MAX, 2, 0];
    assert!(Tensor::from_f32("x", huge.clone(), Vec::new()).is_err());
    assert!(Tensor::from_strings("x", huge, Vec::new()).is_err());
    let wide = vec![usize::MAX / 2];
    assert!(Tensor::from_bytes("x", TensorType::Fp64, wide, Vec::new()).is_err());
}

#[test]
fn truth_is_zero_or_one() {
    let error = Tensor::from_bytes("mask", TensorType::Bool, [2], vec![1, 2]).expect_err("a 2");
    assert_eq!(
        error.to_string(),
        "tensor mask: BOOL: expected 0 or 1, got 2"
    );
    let mask = Tensor::from_bools("mask", [2], &[true, false]).expect("two of two");
    assert_eq!(mask.bytes(), Some(&[1, 0][..]));
}

#[test]
fn a_view_of_another_type_is_refused() {
    let error = counted(1, 1).view::<i64>().expect_err("it is FP32");
    assert_eq!(
        error.to_string(),
        "tensor x: type: expected INT64, got FP32"
    );
}

#[test]
fn unaligned_bytes_are_copied_and_aligned_ones_are_not() {
    let owner = SharedBytes::from_vec(vec![7_u64; 4]);
    let aligned = Tensor::from_bytes("x", TensorType::Fp32, [4], owner.range(0..16));
    let shifted = Tensor::from_bytes("x", TensorType::Fp32, [4], owner.range(1..17));
    let aligned = aligned.expect("16 bytes");
    let shifted = shifted.expect("16 bytes");
    assert!(matches!(aligned.view::<f32>(), Ok(Cow::Borrowed(_))));
    assert!(matches!(shifted.view::<f32>(), Ok(Cow::Owned(_))));
}

#[test]
fn rows_share_their_tensors_values() {
    let whole = counted(4, 3);
    let part = whole.row_range(1..3).expect("rows that there are");
    let (whole, part) = (
        whole.bytes().expect("numbers"),
        part.bytes().expect("numbers"),
    );
    assert_eq!(part.as_ptr(), whole[12..].as_ptr());
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let error = Tensor::concat_rows(&[&counted(1, 2), &counted(1, 3)]).expect_err("3 is not 2");
    assert_eq!(
        error.to_string(),
        "tensor x: shape: expected any rows of [2], got [1, 3]"
    );
    let other = Tensor::from_i64("y", [1, 2], vec![0, 0]).expect("two of two");
    assert!(Tensor::concat_rows(&[&counted(1, 2), &other]).is_err());
    let scalar = Tensor::from_f32("s", [], vec![1.0]).expect("one of one");
    assert!(Tensor::concat_rows(&[&scalar]).is_err());
    assert!(Tensor::concat_rows(&[]).is_err());
    assert!(counted(2, 1).split_rows(&[1]).is_err());
    assert!(counted(2, 1).split_rows(&[usize::MAX, 3]).is_err());
    assert!(scalar.split_rows(&[]).is_err());
    assert!(counted(2, 1).row_range(1..3).is_err());
}

#[test]
fn strings_have_rows_too() {
    let words = ["a", "bc", "", "def"].map(|word| word.as_bytes().to_vec());
    let words = Tensor::from_strings("words", [2, 2], words.to_vec()).expect("four of four");
    let pieces = words.split_rows(&[1, 1]).expect("two rows");
    assert_eq!(
        pieces[1].strings(),
        Some(&[Vec::new(), b"def".to_vec()][..])
    );
    assert_eq!(pieces[1].size_bytes(), 3);
    let again = Tensor::concat_rows(&[&pieces[0], &pieces[1]]).expect("they fit");
    assert_eq!(again, words);
}

proptest! {
    #[test]
    fn what_is_split_and_joined_is_what_it_was(
        rows in prop::collection::vec(0_usize..5, 1..6),
        columns in 0_usize..4,
        start in 0_usize..3,
    ) {
        let total: usize = rows.iter().sum();
        let bytes: Vec<u8> = (0..start + total * columns).map(|value| value as u8).collect();
        let bytes = SharedBytes::from(bytes).range(start..start + total * columns);
        let whole = Tensor::from_bytes("x", TensorType::Uint8, [total, columns], bytes)?;
        let pieces = whole.split_rows(&rows)?;
        for (piece, rows) in pieces.iter().zip(&rows) {
            prop_assert_eq!(piece.shape(), &[*rows, columns]);
        }
        let pieces: Vec<&Tensor> = pieces.iter().collect();
        prop_assert_eq!(Tensor::concat_rows(&pieces)?, whole);
    }

    #[test]
    fn numbers_come_back_from_any_alignment(values: Vec<i32>, shift in 0_usize..4) {
        let mut bytes = vec![0; shift];
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let end = bytes.len();
        let bytes = SharedBytes::from(bytes).range(shift..end);
        let tensor = Tensor::from_bytes("x", TensorType::Int32, [values.len()], bytes)?;
        prop_assert_eq!(tensor.view::<i32>()?.into_owned(), values);
    }

    #[test]
    fn no_shape_makes_it_panic(shape in prop::collection::vec(prop_oneof![0..3_usize, any::<usize>()], 0..5)) {
        if let Ok(tensor) = Tensor::from_bytes("x", TensorType::Fp32, shape, vec![0_u8; 8]) {
            prop_assert_eq!(tensor.elements(), 2);
        }
    }
}

//! Matmul: every type, awkward shapes, every instruction set.

use carnot_kernels::blocks::{dequantize, quantize};
use carnot_kernels::{
    Activations, BlockType, Compute, Forms, InstructionSet, PackedMatrix, Product,
};

use crate::{machines, noise};

struct Case {
    dtype: BlockType,
    outputs: usize,
    inputs: usize,
    rows: usize,
}

impl Case {
    fn weights(&self) -> Vec<u8> {
        let values = noise(1 + self.inputs as u64, self.outputs * self.inputs);
        let mut bytes = vec![0; self.outputs * self.dtype.row_bytes(self.inputs)];
        quantize(self.dtype, &values, &mut bytes);
        bytes
    }

    fn run(&self, compute: &Compute) -> Vec<f32> {
        let packed = PackedMatrix::pack(
            compute.pool(),
            self.dtype,
            self.outputs,
            self.inputs,
            &self.weights(),
        );
        let mut x = Activations::new(self.rows, self.inputs);
        compute.copy_into(
            &noise(2, self.rows * self.inputs),
            Forms::of([&packed]),
            &mut x,
        );
        let mut out = vec![f32::NAN; self.rows * self.outputs];
        compute.matmul(
            &x,
            &mut [Product {
                weights: &packed,
                out: &mut out,
            }],
        );
        out
    }

    /// The product in `f64`, and for each output how much rounding the activations to int8 may change it.
    fn truth(&self) -> Vec<(f64, f64)> {
        let mut weights = vec![0.0; self.outputs * self.inputs];
        dequantize(self.dtype, &self.weights(), &mut weights);
        let x = noise(2, self.rows * self.inputs);
        let step = if self.dtype.is_quantized() {
            0.5 / 127.0
        } else {
            0.0
        };
        let one = |row: &[f32], weights: &[f32]| {
            let pairs = || {
                row.iter()
                    .zip(weights)
                    .map(|(x, w)| (f64::from(*x), f64::from(*w)))
            };
            (
                pairs().map(|(x, w)| x * w).sum(),
                pairs().map(|(_, w)| w.abs() * (step + 1e-6)).sum(),
            )
        };
        x.chunks(self.inputs)
            .flat_map(|row| weights.chunks(self.inputs).map(move |w| one(row, w)))
            .collect()
    }
}

fn cases() -> impl Iterator<Item = Case> {
    BlockType::ALL.into_iter().flat_map(|dtype| {
        let block = dtype.block_len().max(8);
        [
            (1, 1, 1),
            (16, 2, 2),
            (17, 3, 3),
            (40, 1, 4),
            (33, 2, 5),
            (64, 5, 7),
            (50, 9, 13),
            (16, 3, 30),
        ]
        .map(|(outputs, blocks, rows)| Case {
            dtype,
            outputs,
            inputs: blocks * block,
            rows,
        })
    })
}

#[test]
fn scalar_matches_plain_arithmetic() {
    let scalar = Compute::with_instruction_set(1, InstructionSet::Scalar);
    for case in cases() {
        for (index, (got, (expected, tolerance))) in
            case.run(&scalar).into_iter().zip(case.truth()).enumerate()
        {
            let error = (f64::from(got) - expected).abs();
            assert!(
                error <= tolerance,
                "{} {}×{} rows {} output {index}: {got} for {expected}, off by {error} of {tolerance}",
                case.dtype,
                case.outputs,
                case.inputs,
                case.rows
            );
        }
    }
}

#[test]
fn every_instruction_set_matches_scalar() {
    let scalar = Compute::with_instruction_set(1, InstructionSet::Scalar);
    for compute in machines() {
        for case in cases() {
            let expected = case.run(&scalar);
            let scale = expected
                .iter()
                .fold(1.0_f32, |largest, x| largest.max(x.abs()));
            for (got, expected) in case.run(&compute).into_iter().zip(expected) {
                assert!(
                    (got - expected).abs() <= 2e-5 * scale,
                    "{} {} {}×{} rows {}: {got} for {expected}",
                    compute.instruction_set(),
                    case.dtype,
                    case.outputs,
                    case.inputs,
                    case.rows
                );
            }
        }
    }
}

#[test]
fn a_fused_group_equals_its_parts() {
    let compute = Compute::new(3);
    let cases = [
        (BlockType::Q8_0, 48),
        (BlockType::Q4K, 33),
        (BlockType::F16, 16),
    ]
    .map(|(dtype, outputs)| Case {
        dtype,
        outputs,
        inputs: 256,
        rows: 6,
    });
    let packed = cases.each_ref().map(|case| {
        PackedMatrix::pack(
            compute.pool(),
            case.dtype,
            case.outputs,
            case.inputs,
            &case.weights(),
        )
    });
    let mut x = Activations::new(6, 256);
    compute.copy_into(&noise(2, 6 * 256), Forms::BOTH, &mut x);
    let mut outs = cases
        .each_ref()
        .map(|case| vec![f32::NAN; 6 * case.outputs]);
    let mut products: Vec<_> = packed
        .iter()
        .zip(&mut outs)
        .map(|(weights, out)| Product { weights, out })
        .collect();
    compute.matmul(&x, &mut products);
    for (case, out) in cases.iter().zip(outs) {
        assert_eq!(out, case.run(&compute), "{}", case.dtype);
    }
}

#[test]
fn nan_and_infinity_in_the_activations_do_not_escape_their_row() {
    for compute in machines() {
        let weights = noise(3, 32 * 64);
        let bytes: Vec<u8> = weights.iter().flat_map(|x| x.to_le_bytes()).collect();
        let packed = PackedMatrix::pack(compute.pool(), BlockType::F32, 32, 64, &bytes);
        let mut values = noise(4, 3 * 64);
        values[64] = f32::NAN;
        let mut x = Activations::new(3, 64);
        compute.copy_into(&values, Forms::of([&packed]), &mut x);
        let mut out = vec![0.0; 3 * 32];
        compute.matmul(
            &x,
            &mut [Product {
                weights: &packed,
                out: &mut out,
            }],
        );
        assert!(out[..32].iter().chain(&out[64..]).all(|x| x.is_finite()));
        assert!(out[32..64].iter().all(|x| x.is_nan()));
    }
}

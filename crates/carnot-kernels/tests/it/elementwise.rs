//! Norm, gate, softmax, rotation, arg-max.

use carnot_kernels::{Activations, Forms, Rotation};

use crate::{machines, noise};

const LENGTHS: [usize; 6] = [1, 15, 16, 33, 256, 700];

fn close(got: f32, expected: f64, tolerance: f64) {
    let error = (f64::from(got) - expected).abs();
    assert!(
        error <= tolerance * expected.abs().max(1.0),
        "{got} for {expected}"
    );
}

#[test]
fn rms_norm_matches_its_formula() {
    for compute in machines() {
        for length in LENGTHS {
            let (x, weight) = (noise(1, 3 * length), noise(2, length));
            let mut out = Activations::new(3, length);
            compute.rms_norm_into(&x, &weight, 1e-5, Forms::BOTH, &mut out);
            for (row, x) in x.chunks(length).enumerate() {
                let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / length as f64;
                for (index, got) in out.row(row).iter().enumerate() {
                    close(
                        *got,
                        f64::from(x[index]) / (mean + 1e-5).sqrt() * f64::from(weight[index]),
                        1e-5,
                    );
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "weights of a norm")]
fn a_norm_with_too_few_weights_is_refused() {
    let compute = carnot_kernels::Compute::new(1);
    compute.rms_norm_into(
        &[1.0; 64],
        &[1.0; 16],
        1e-5,
        Forms::BOTH,
        &mut Activations::new(1, 64),
    );
}

#[test]
fn silu_gate_matches_its_formula() {
    for compute in machines() {
        for length in LENGTHS {
            let gate: Vec<f32> = noise(1, length).iter().map(|x| x * 30.0).collect();
            let up = noise(2, length);
            let mut out = Activations::new(1, length);
            compute.silu_gate_into(&gate, &up, Forms::BOTH, &mut out);
            for (index, got) in out.row(0).iter().enumerate() {
                let x = f64::from(gate[index]);
                close(*got, x / (1.0 + (-x).exp()) * f64::from(up[index]), 1e-5);
            }
        }
    }
}

#[test]
fn softmax_sums_to_one_and_returns_the_log_sum() {
    for compute in machines() {
        for length in LENGTHS {
            let x: Vec<f32> = noise(5, length).iter().map(|x| x * 20.0).collect();
            let expected: f64 = x.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
            let mut probabilities = x.clone();
            let log_sum = compute.softmax(&mut probabilities);
            close(log_sum, expected, 1e-5);
            close(probabilities.iter().sum(), 1.0, 1e-4);
            for (p, x) in probabilities.iter().zip(&x) {
                close(*p, (f64::from(*x) - expected).exp(), 1e-5);
            }
        }
    }
}

#[test]
fn scaled_exponentials_are_relative_to_the_largest() {
    for compute in machines() {
        for length in LENGTHS {
            let mut x: Vec<f32> = noise(5, length).iter().map(|x| x * 9.0).collect();
            x[length / 2] = f32::NEG_INFINITY;
            let largest = compute.largest(&x);
            let mut out = vec![0.0; length];
            let sum = compute.exp_scaled(&x, largest.max(-1e9), 2.5, &mut out);
            for (weight, x) in out.iter().zip(&x) {
                let expected = (f64::from(*x - largest.max(-1e9)) * 2.5).exp();
                close(*weight, expected, 2e-5);
            }
            close(sum, out.iter().map(|weight| f64::from(*weight)).sum(), 1e-5);
        }
    }
}

#[test]
fn arg_max_is_the_first_largest() {
    for compute in machines() {
        for length in LENGTHS {
            let mut x = noise(6, length);
            x[length / 2] = 7.0;
            x[length - 1] = 7.0;
            assert_eq!(compute.arg_max(&x), length / 2);
        }
        assert_eq!(compute.arg_max(&[]), 0);
    }
}

#[test]
fn rotation_keeps_lengths_and_follows_the_angles() {
    for compute in machines() {
        for interleaved in [false, true] {
            let x = noise(7, 2 * 3 * 8);
            let angles = [0.1_f32, 0.2, 0.3, 0.0, 1.0, 2.0];
            let (cos, sin): (Vec<f32>, Vec<f32>) =
                angles.iter().map(|a| (a.cos(), a.sin())).unzip();
            let mut y = x.clone();
            compute.rotate(
                &mut y,
                3,
                8,
                &Rotation {
                    cos: &cos,
                    sin: &sin,
                    half: 3,
                    interleaved,
                },
            );
            for (at, (x, y)) in x.chunks(8).zip(y.chunks(8)).enumerate() {
                let row = at / 3;
                for i in 0..3 {
                    let (a, b) = if interleaved {
                        (2 * i, 2 * i + 1)
                    } else {
                        (i, i + 3)
                    };
                    let angle = f64::from(angles[row * 3 + i]);
                    close(
                        y[a],
                        f64::from(x[a]) * angle.cos() - f64::from(x[b]) * angle.sin(),
                        1e-6,
                    );
                    close(
                        y[b],
                        f64::from(x[a]) * angle.sin() + f64::from(x[b]) * angle.cos(),
                        1e-6,
                    );
                }
                assert_eq!(x[6..], y[6..], "dimensions past the rotated ones stay");
            }
        }
    }
}

#[test]
fn addition_covers_every_element() {
    for compute in machines() {
        for length in [1, 100, 40_003] {
            let (mut x, y) = (noise(8, length), noise(9, length));
            let expected: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
            compute.add(&mut x, &y);
            assert_eq!(x, expected);
        }
    }
}

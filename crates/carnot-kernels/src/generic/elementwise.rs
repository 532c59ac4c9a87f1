//! Row operations: RMS norm, SiLU-gate, addition, softmax, arg-max, rotary embedding.

use crate::simd::{LANES, Simd, exp};

/// Plain loops over whole vectors and over what is left; closures would not inherit the target features.
macro_rules! each {
    ($length:expr, |$at:ident| $body:expr, |$rest:ident| $tail:expr $(,)?) => {
        let length = $length;
        let whole = length / LANES * LANES;
        let mut $at = 0;
        while $at < whole {
            $body;
            $at += LANES;
        }
        for $rest in whole..length {
            $tail;
        }
    };
}

/// `out = x / rms(x) · weight`, `rms² = mean(x²) + epsilon` (Zhang and Sennrich, 2019).
///
/// # Safety
/// The processor must have the instruction set; the slices must be of one length.
#[inline(always)]
pub(crate) unsafe fn rms_norm<S: Simd>(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    // SAFETY: offsets stay below the common length.
    unsafe {
        let mut squares = S::splat(0.0);
        let mut tail = 0.0;
        each!(
            x.len(),
            |at| {
                let values = S::load(x.as_ptr().add(at));
                squares = S::fma(values, values, squares);
            },
            |at| tail += x[at] * x[at],
        );
        let mean = (S::sum(squares) + tail) / x.len() as f32;
        let inverse = 1.0 / (mean + epsilon).sqrt();
        let to = out.as_mut_ptr();
        each!(
            x.len(),
            |at| {
                let scaled = S::mul(S::load(x.as_ptr().add(at)), S::splat(inverse));
                S::store(to.add(at), S::mul(scaled, S::load(weight.as_ptr().add(at))));
            },
            |at| *to.add(at) = x[at] * inverse * weight[at],
        );
    }
}

/// `out = silu(gate) · up`, `silu(x) = x / (1 + e^−x)`.
///
/// # Safety
/// The processor must have the instruction set; the slices must be of one length.
#[inline(always)]
pub(crate) unsafe fn silu_gate<S: Simd>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    // SAFETY: offsets stay below the common length.
    unsafe {
        let to = out.as_mut_ptr();
        each!(
            gate.len(),
            |at| {
                let x = S::load(gate.as_ptr().add(at));
                let denominator = S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), x)));
                S::store(
                    to.add(at),
                    S::mul(S::div(x, denominator), S::load(up.as_ptr().add(at))),
                );
            },
            |at| *to.add(at) = gate[at] / (1.0 + (-gate[at]).exp()) * up[at],
        );
    }
}

/// `x += y`.
///
/// # Safety
/// The processor must have the instruction set; the slices must be of one length.
#[inline(always)]
pub(crate) unsafe fn add<S: Simd>(x: &mut [f32], y: &[f32]) {
    // SAFETY: offsets stay below the common length.
    unsafe {
        let to = x.as_mut_ptr();
        each!(
            y.len(),
            |at| {
                S::store(
                    to.add(at),
                    S::add(S::load(to.add(at)), S::load(y.as_ptr().add(at))),
                );
            },
            |at| *to.add(at) += y[at],
        );
    }
}

/// The largest value; negative infinity of none.
///
/// # Safety
/// The processor must have the instruction set.
#[inline(always)]
pub(crate) unsafe fn largest<S: Simd>(x: &[f32]) -> f32 {
    // SAFETY: offsets stay below the length.
    unsafe {
        let mut lanes = S::splat(f32::NEG_INFINITY);
        let mut tail = f32::NEG_INFINITY;
        each!(
            x.len(),
            |at| lanes = S::max(S::load(x.as_ptr().add(at)), lanes),
            |at| tail = tail.max(x[at]),
        );
        S::largest(lanes).max(tail)
    }
}

/// `x = e^(x − max)`; returns the sum. Dividing by it is the caller's affair (softmax, log-sum-exp).
///
/// # Safety
/// The processor must have the instruction set.
#[inline(always)]
pub(crate) unsafe fn exp_minus<S: Simd>(x: &mut [f32], max: f32) -> f32 {
    // SAFETY: offsets stay below the length.
    unsafe {
        let from = x.as_mut_ptr();
        let (mut sums, mut tail) = (S::splat(0.0), 0.0);
        each!(
            x.len(),
            |at| {
                let value = exp::<S>(S::sub(S::load(from.add(at)), S::splat(max)));
                sums = S::add(sums, value);
                S::store(from.add(at), value);
            },
            |at| {
                let value = (*from.add(at) - max).exp();
                tail += value;
                *from.add(at) = value;
            },
        );
        S::sum(sums) + tail
    }
}

/// `x *= factor`.
///
/// # Safety
/// The processor must have the instruction set.
#[inline(always)]
pub(crate) unsafe fn scale<S: Simd>(x: &mut [f32], factor: f32) {
    // SAFETY: offsets stay below the length.
    unsafe {
        let from = x.as_mut_ptr();
        each!(
            x.len(),
            |at| {
                S::store(
                    from.add(at),
                    S::mul(S::load(from.add(at)), S::splat(factor)),
                );
            },
            |at| *from.add(at) *= factor,
        );
    }
}

/// `out = x`, rounded to half floats.
///
/// # Safety
/// The processor must have the instruction set; the slices must be of one length, a multiple of 16.
#[inline(always)]
pub(crate) unsafe fn narrow<S: Simd>(x: &[f32], out: &mut [u16]) {
    // SAFETY: offsets stay below the common length.
    unsafe {
        for at in (0..x.len()).step_by(LANES) {
            S::store_f16(out.as_mut_ptr().add(at), S::load(x.as_ptr().add(at)));
        }
    }
}

/// Rotates every head of `head_dim` values of a row by the angles of its position: halves `(i, i + d/2)` or neighbours `(2i, 2i + 1)`.
///
/// `cos` and `sin` hold `d/2` values; what follows the rotated dimensions stays as it is (Su et al., 2021). Plain loops: the compiler
/// makes vectors of them with the instructions of whoever instantiates this.
///
/// # Safety
/// The slices must hold `d/2` angles each, and a head at least `d` values.
#[inline(always)]
pub(crate) unsafe fn rope(
    row: &mut [f32],
    head_dim: usize,
    (cos, sin): (&[f32], &[f32]),
    interleaved: bool,
) {
    let half = cos.len();
    let mut head = 0;
    while head + head_dim <= row.len() {
        // SAFETY: a head has `2 * half` values, the slices of angles have `half`.
        unsafe {
            let from = row.as_mut_ptr().add(head);
            if interleaved {
                rotate_pairs::<2>(from, 1, (cos, sin));
            } else {
                rotate_pairs::<1>(from, half, (cos, sin));
            }
        }
        head += head_dim;
    }
}

/// # Safety
/// As of [`rope`].
#[inline(always)]
unsafe fn rotate_pairs<const STEP: usize>(
    head: *mut f32,
    apart: usize,
    (cos, sin): (&[f32], &[f32]),
) {
    let (cos, sin, half) = (cos.as_ptr(), sin.as_ptr(), cos.len());
    let mut pair = 0;
    while pair < half {
        // SAFETY: the caller's.
        unsafe {
            let (first, second) = (head.add(STEP * pair), head.add(STEP * pair + apart));
            let (x, y) = (*first, *second);
            let (c, s) = (*cos.add(pair), *sin.add(pair));
            *first = x * c - y * s;
            *second = x * s + y * c;
        }
        pair += 1;
    }
}

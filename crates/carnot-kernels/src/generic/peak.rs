//! Loops that do nothing but reach a limit: reading memory, int8 dot products, f32 multiply-adds.

use crate::simd::Simd;

/// Independent accumulators, enough to hide the latency of the instruction.
const CHAINS: usize = 16;
/// Bytes per step of [`read`].
const STEP: usize = 8 * 64;

/// Operations per round of [`int8`]: a multiply and an add for each of 64 codes.
pub(crate) const INT8_OPERATIONS: u64 = (CHAINS * 64 * 2) as u64;
/// Operations per round of [`f32`]: a multiply and an add for each of 16 lanes.
pub(crate) const F32_OPERATIONS: u64 = (CHAINS * 16 * 2) as u64;

/// Reads `bytes` once (whole steps of 512); the result keeps the reads from being optimised away.
///
/// # Safety
/// The processor must have the instruction set.
#[inline(always)]
pub(crate) unsafe fn read<S: Simd>(bytes: &[u8]) -> f32 {
    // SAFETY: every step lies inside `bytes`.
    unsafe {
        let mut sums = [S::splat(0.0); 8];
        for at in (0..bytes.len() / STEP * STEP).step_by(STEP) {
            for (chain, sum) in sums.iter_mut().enumerate() {
                *sum = S::max(*sum, S::load(bytes.as_ptr().add(at + chain * 64).cast()));
            }
        }
        sums.into_iter()
            .map(|sum| S::largest(sum))
            .fold(0.0, f32::max)
    }
}

/// `rounds` rounds of [`INT8_OPERATIONS`] in registers.
///
/// # Safety
/// The processor must have the instruction set.
#[inline(always)]
pub(crate) unsafe fn int8<S: Simd>(rounds: u64) -> f32 {
    // SAFETY: the arrays are as long as the loads.
    unsafe {
        let codes = S::load_codes(std::hint::black_box(&[3_u8; 64]).as_ptr());
        let quad = std::hint::black_box([1_i8, -1, 2, -2]);
        let mut sums = [S::int_splat(0); CHAINS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = S::dot(*sum, codes, quad.as_ptr());
            }
        }
        sums.into_iter()
            .map(|sum| S::sum(S::int_to_float(sum)))
            .sum()
    }
}

/// `rounds` rounds of [`F32_OPERATIONS`] in registers.
///
/// # Safety
/// The processor must have the instruction set.
#[inline(always)]
pub(crate) unsafe fn f32<S: Simd>(rounds: u64) -> f32 {
    // SAFETY: registers only.
    unsafe {
        let a = S::splat(std::hint::black_box(0.999_9));
        let b = S::splat(std::hint::black_box(1e-3));
        let mut sums = [S::splat(0.0); CHAINS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = S::fma(*sum, a, b);
            }
        }
        sums.into_iter().map(|sum| S::sum(sum)).sum()
    }
}

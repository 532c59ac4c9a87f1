//! The smallest trait that makes instruction sets equal: sixteen `f32`, sixteen `i32`, sixty-four bytes of weight codes.
//!
//! Algorithms are written once over [`Simd`] (`generic/`); `x86_64/` and `reference/` only instantiate them.
//! Every method is `#[inline(always)]`, so that it becomes part of a caller compiled with the right target features.

use crate::activations::TileRows;

/// Number of `f32` or `i32` in a vector: also the number of weight rows in a panel.
pub(crate) const LANES: usize = 16;

/// Vector operations of one instruction set.
///
/// # Safety
/// Every method requires that the processor has the instruction set, and that pointers are valid for what the method
/// reads or writes: 16 elements, or 64 bytes for [`Simd::load_codes`]. No alignment is required.
pub(crate) trait Simd: Copy {
    /// Sixteen `f32`.
    type F: Copy;
    /// Sixteen `i32`.
    type I: Copy;
    /// Sixty-four unsigned bytes: for each of 16 lanes, four consecutive codes.
    type C: Copy;

    /// Rows of an int8 tile whose accumulators fit the register file: few beside one panel, most beside two.
    const TILE: TileRows;
    /// The same for float tiles.
    const FLOAT_TILE: TileRows;

    unsafe fn splat(value: f32) -> Self::F;
    unsafe fn load(from: *const f32) -> Self::F;
    unsafe fn load_f16(from: *const u16) -> Self::F;
    unsafe fn load_bf16(from: *const u16) -> Self::F;
    unsafe fn load_u8(from: *const u8) -> Self::F;
    unsafe fn load_i8(from: *const i8) -> Self::F;
    unsafe fn store(to: *mut f32, value: Self::F);
    unsafe fn store_f16(to: *mut u16, value: Self::F);
    /// Rounds to nearest and stores as sixteen `i8`; values must lie in -128..=127.
    unsafe fn store_i8(to: *mut i8, value: Self::F);
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where the hardware can.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`.
    unsafe fn fnma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    unsafe fn abs(a: Self::F) -> Self::F;
    /// Rounds to the nearest integer, ties to even.
    unsafe fn round(a: Self::F) -> Self::F;
    /// `a * 2^n` for integral `n` in -126..=127.
    unsafe fn scale_by_power_of_two(a: Self::F, n: Self::F) -> Self::F;
    unsafe fn sum(a: Self::F) -> f32;
    unsafe fn largest(a: Self::F) -> f32;

    unsafe fn int_splat(value: i32) -> Self::I;
    unsafe fn int_to_float(a: Self::I) -> Self::F;

    unsafe fn load_codes(from: *const u8) -> Self::C;
    unsafe fn store_codes(to: *mut u8, codes: Self::C);
    unsafe fn low_nibbles(codes: Self::C) -> Self::C;
    unsafe fn high_nibbles(codes: Self::C) -> Self::C;
    /// Shifts every byte left by `N` of at most 4; the lower `N` bits are unspecified.
    unsafe fn shift_left<const N: u32>(codes: Self::C) -> Self::C;
    /// Shifts every byte right by `N` of at most 4; the upper `N` bits are unspecified.
    unsafe fn shift_right<const N: u32>(codes: Self::C) -> Self::C;
    /// `codes | bits & mask`.
    unsafe fn or_masked(codes: Self::C, bits: Self::C, mask: u8) -> Self::C;
    /// Adds `value` to every code; no sum may exceed 255.
    unsafe fn add_codes(codes: Self::C, value: u8) -> Self::C;
    /// Adds to each lane the dot product of its four unsigned codes with the four signed bytes at `quad`, exactly.
    unsafe fn dot(sums: Self::I, codes: Self::C, quad: *const i8) -> Self::I;
}

/// `e^x`, within 2 units in the last place for -87 < x < 88; 0 or infinity are not reached outside, the ends are.
///
/// Range reduction by powers of two and a degree-6 polynomial (coefficients of the Taylor series, |r| ≤ ln 2 / 2).
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the caller promises the instruction set; no pointers here.
    unsafe {
        let x = S::min(S::max(x, S::splat(-87.0)), S::splat(88.0));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fnma(n, S::splat(0.693_145_75), x);
        let r = S::fnma(n, S::splat(1.428_606_8e-6), r);
        let mut p = S::splat(1.0 / 720.0);
        for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = S::fma(p, r, S::splat(c));
        }
        S::scale_by_power_of_two(p, n)
    }
}

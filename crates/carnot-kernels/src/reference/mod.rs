//! The scalar instruction set: plain Rust, the truth that every other one is tested against.

use half::{bf16, f16};

use crate::activations::TileRows;
use crate::simd::{LANES, Simd};

/// Vectors as arrays.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

type F = [f32; LANES];

#[inline(always)]
fn map(a: F, f: impl Fn(f32) -> f32) -> F {
    a.map(f)
}

#[inline(always)]
fn zip(a: F, b: F, f: impl Fn(f32, f32) -> f32) -> F {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

/// # Safety
/// `from` must be valid for reads of `LANES` elements.
#[inline(always)]
unsafe fn lanes<T: Copy, const N: usize>(from: *const T) -> [T; N] {
    // SAFETY: promised by the caller; no alignment is assumed.
    unsafe { from.cast::<[T; N]>().read_unaligned() }
}

impl Simd for Scalar {
    type F = F;
    type I = [i32; LANES];
    type C = [u8; 64];

    const TILE: TileRows = TileRows { few: 4, most: 2 };
    const FLOAT_TILE: TileRows = TileRows { few: 4, most: 3 };

    #[inline(always)]
    unsafe fn splat(value: f32) -> F {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> F {
        // SAFETY: as the trait demands.
        unsafe { lanes(from) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> F {
        // SAFETY: as the trait demands.
        unsafe { lanes::<u16, LANES>(from) }.map(|bits| f16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> F {
        // SAFETY: as the trait demands.
        unsafe { lanes::<u16, LANES>(from) }.map(|bits| bf16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> F {
        // SAFETY: as the trait demands.
        unsafe { lanes::<u8, LANES>(from) }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> F {
        // SAFETY: as the trait demands.
        unsafe { lanes::<i8, LANES>(from) }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: F) {
        // SAFETY: as the trait demands.
        unsafe { to.cast::<F>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn store_f16(to: *mut u16, value: F) {
        let halves = value.map(|x| f16::from_f32(x).to_bits());
        // SAFETY: as the trait demands.
        unsafe { to.cast::<[u16; LANES]>().write_unaligned(halves) }
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, value: F) {
        // SAFETY: as the trait demands.
        unsafe {
            to.cast::<[i8; LANES]>()
                .write_unaligned(value.map(|x| x.round_ties_even() as i8));
        }
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }
    #[inline(always)]
    unsafe fn fnma(a: F, b: F, c: F) -> F {
        std::array::from_fn(|lane| c[lane] - a[lane] * b[lane])
    }
    #[inline(always)]
    unsafe fn abs(a: F) -> F {
        map(a, f32::abs)
    }
    #[inline(always)]
    unsafe fn round(a: F) -> F {
        map(a, f32::round_ties_even)
    }
    #[inline(always)]
    unsafe fn scale_by_power_of_two(a: F, n: F) -> F {
        zip(a, n, |a, n| {
            a * f32::from_bits(((n as i32 + 127) as u32) << 23)
        })
    }
    #[inline(always)]
    unsafe fn sum(a: F) -> f32 {
        a.iter().sum()
    }
    #[inline(always)]
    unsafe fn largest(a: F) -> f32 {
        a.iter().copied().fold(
            f32::NEG_INFINITY,
            |largest, x| if x > largest { x } else { largest },
        )
    }
    #[inline(always)]
    unsafe fn int_splat(value: i32) -> Self::I {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn int_to_float(a: Self::I) -> F {
        a.map(|x| x as f32)
    }
    #[inline(always)]
    unsafe fn load_codes(from: *const u8) -> Self::C {
        // SAFETY: as the trait demands.
        unsafe { lanes(from) }
    }
    #[inline(always)]
    unsafe fn store_codes(to: *mut u8, codes: Self::C) {
        // SAFETY: as the trait demands.
        unsafe { to.cast::<Self::C>().write_unaligned(codes) }
    }
    #[inline(always)]
    unsafe fn low_nibbles(codes: Self::C) -> Self::C {
        codes.map(|code| code & 15)
    }
    #[inline(always)]
    unsafe fn high_nibbles(codes: Self::C) -> Self::C {
        codes.map(|code| code >> 4)
    }
    #[inline(always)]
    unsafe fn shift_left<const N: u32>(codes: Self::C) -> Self::C {
        codes.map(|code| code << N)
    }
    #[inline(always)]
    unsafe fn shift_right<const N: u32>(codes: Self::C) -> Self::C {
        codes.map(|code| code >> N)
    }
    #[inline(always)]
    unsafe fn or_masked(codes: Self::C, bits: Self::C, mask: u8) -> Self::C {
        std::array::from_fn(|i| codes[i] | bits[i] & mask)
    }
    #[inline(always)]
    unsafe fn add_codes(codes: Self::C, value: u8) -> Self::C {
        codes.map(|code| code + value)
    }
    #[inline(always)]
    unsafe fn dot(sums: Self::I, codes: Self::C, quad: *const i8) -> Self::I {
        // SAFETY: as the trait demands.
        let quad: [i8; 4] = unsafe { lanes(quad) };
        std::array::from_fn(|lane| {
            let products = (0..4).map(|i| i32::from(codes[lane * 4 + i]) * i32::from(quad[i]));
            sums[lane] + products.sum::<i32>()
        })
    }
}

//! AVX2 with FMA and F16C, with and without 256-bit VNNI: two registers are one vector.

use std::arch::x86_64::*;

use crate::activations::TileRows;
use crate::simd::Simd;

/// AVX2, FMA, F16C; `VNNI` adds the 256-bit dot-product instruction.
#[derive(Clone, Copy)]
pub(crate) struct Avx2<const VNNI: bool>;

type F = [__m256; 2];
type I = [__m256i; 2];

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// Adds the exact dot products of four unsigned codes with four signed bytes, per 32-bit lane, without VNNI.
///
/// `maddubs` would saturate at 16 bits, so even and odd bytes are widened and multiplied apart.
#[inline(always)]
unsafe fn dot_by_halves(sums: __m256i, codes: __m256i, quad: __m256i) -> __m256i {
    // SAFETY: the caller promises AVX2.
    unsafe {
        let even_codes = _mm256_and_si256(codes, _mm256_set1_epi16(0xff));
        let odd_codes = _mm256_srli_epi16::<8>(codes);
        let even_quad = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(quad));
        let odd_quad = _mm256_srai_epi16::<8>(quad);
        let even = _mm256_madd_epi16(even_codes, even_quad);
        let odd = _mm256_madd_epi16(odd_codes, odd_quad);
        _mm256_add_epi32(sums, _mm256_add_epi32(even, odd))
    }
}

#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every block only forwards the contract of the trait to one or two intrinsics"
)]
impl<const VNNI: bool> Simd for Avx2<VNNI> {
    type F = F;
    type I = I;
    type C = I;

    const TILE: TileRows = TileRows { few: 4, most: 2 };
    const FLOAT_TILE: TileRows = TileRows { few: 4, most: 3 };

    #[inline(always)]
    unsafe fn splat(value: f32) -> F {
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> F {
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> F {
        unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast())),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> F {
        unsafe {
            let half = |from: *const u16| {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            };
            [half(from), half(from.add(8))]
        }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> F {
        unsafe {
            let half = |from: *const u8| {
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())))
            };
            [half(from), half(from.add(8))]
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> F {
        unsafe {
            let half = |from: *const i8| {
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast())))
            };
            [half(from), half(from.add(8))]
        }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: F) {
        unsafe {
            _mm256_storeu_ps(to, value[0]);
            _mm256_storeu_ps(to.add(8), value[1]);
        }
    }
    #[inline(always)]
    unsafe fn store_f16(to: *mut u16, value: F) {
        unsafe {
            _mm_storeu_si128(
                to.cast(),
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value[0]),
            );
            _mm_storeu_si128(
                to.add(8).cast(),
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value[1]),
            );
        }
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, value: F) {
        unsafe {
            let pair =
                _mm256_packs_epi32(_mm256_cvtps_epi32(value[0]), _mm256_cvtps_epi32(value[1]));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(pair);
            let bytes = _mm_packs_epi16(
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            _mm_storeu_si128(to.cast(), bytes);
        }
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        unsafe { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        unsafe {
            [
                _mm256_fmadd_ps(a[0], b[0], c[0]),
                _mm256_fmadd_ps(a[1], b[1], c[1]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn fnma(a: F, b: F, c: F) -> F {
        unsafe {
            [
                _mm256_fnmadd_ps(a[0], b[0], c[0]),
                _mm256_fnmadd_ps(a[1], b[1], c[1]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn abs(a: F) -> F {
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            [_mm256_andnot_ps(sign, a[0]), _mm256_andnot_ps(sign, a[1])]
        }
    }
    #[inline(always)]
    unsafe fn round(a: F) -> F {
        unsafe {
            [
                _mm256_round_ps::<NEAREST>(a[0]),
                _mm256_round_ps::<NEAREST>(a[1]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn scale_by_power_of_two(a: F, n: F) -> F {
        unsafe {
            let half = |a, n| {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
            };
            [half(a[0], n[0]), half(a[1], n[1])]
        }
    }
    #[inline(always)]
    unsafe fn sum(a: F) -> f32 {
        unsafe {
            let eight = _mm256_add_ps(a[0], a[1]);
            let four = _mm_add_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn largest(a: F) -> f32 {
        unsafe {
            let eight = _mm256_max_ps(a[0], a[1]);
            let four = _mm_max_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn int_splat(value: i32) -> I {
        unsafe { [_mm256_set1_epi32(value); 2] }
    }
    #[inline(always)]
    unsafe fn int_to_float(a: I) -> F {
        unsafe { [_mm256_cvtepi32_ps(a[0]), _mm256_cvtepi32_ps(a[1])] }
    }
    #[inline(always)]
    unsafe fn load_codes(from: *const u8) -> I {
        unsafe {
            [
                _mm256_loadu_si256(from.cast()),
                _mm256_loadu_si256(from.add(32).cast()),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store_codes(to: *mut u8, codes: I) {
        unsafe {
            _mm256_storeu_si256(to.cast(), codes[0]);
            _mm256_storeu_si256(to.add(32).cast(), codes[1]);
        }
    }
    #[inline(always)]
    unsafe fn low_nibbles(codes: I) -> I {
        unsafe {
            let mask = _mm256_set1_epi8(15);
            [
                _mm256_and_si256(codes[0], mask),
                _mm256_and_si256(codes[1], mask),
            ]
        }
    }
    #[inline(always)]
    unsafe fn high_nibbles(codes: I) -> I {
        unsafe {
            let mask = _mm256_set1_epi8(15);
            let half = |codes| _mm256_and_si256(_mm256_srli_epi16::<4>(codes), mask);
            [half(codes[0]), half(codes[1])]
        }
    }
    #[inline(always)]
    unsafe fn shift_left<const N: u32>(codes: I) -> I {
        unsafe {
            let by = _mm_cvtsi32_si128(N as i32);
            [
                _mm256_sll_epi16(codes[0], by),
                _mm256_sll_epi16(codes[1], by),
            ]
        }
    }
    #[inline(always)]
    unsafe fn shift_right<const N: u32>(codes: I) -> I {
        unsafe {
            let by = _mm_cvtsi32_si128(N as i32);
            [
                _mm256_srl_epi16(codes[0], by),
                _mm256_srl_epi16(codes[1], by),
            ]
        }
    }
    #[inline(always)]
    unsafe fn or_masked(codes: I, bits: I, mask: u8) -> I {
        unsafe {
            let mask = _mm256_set1_epi8(mask as i8);
            [
                _mm256_or_si256(codes[0], _mm256_and_si256(bits[0], mask)),
                _mm256_or_si256(codes[1], _mm256_and_si256(bits[1], mask)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn add_codes(codes: I, value: u8) -> I {
        unsafe {
            let value = _mm256_set1_epi8(value as i8);
            [
                _mm256_add_epi8(codes[0], value),
                _mm256_add_epi8(codes[1], value),
            ]
        }
    }
    #[inline(always)]
    unsafe fn dot(sums: I, codes: I, quad: *const i8) -> I {
        unsafe {
            let quad = _mm256_set1_epi32(quad.cast::<i32>().read_unaligned());
            if VNNI {
                [
                    _mm256_dpbusd_avx_epi32(sums[0], codes[0], quad),
                    _mm256_dpbusd_avx_epi32(sums[1], codes[1], quad),
                ]
            } else {
                [
                    dot_by_halves(sums[0], codes[0], quad),
                    dot_by_halves(sums[1], codes[1], quad),
                ]
            }
        }
    }
}

//! AVX-512 with VNNI: one register is one vector.

use std::arch::x86_64::*;

use crate::activations::TileRows;
use crate::simd::Simd;

/// AVX-512 F, BW, DQ, VL, VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every block only forwards the contract of the trait to one intrinsic"
)]
impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;
    type C = __m512i;

    const TILE: TileRows = TileRows { few: 8, most: 7 };
    const FLOAT_TILE: TileRows = TileRows { few: 4, most: 12 };

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> __m512 {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        unsafe { _mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn store_f16(to: *mut u16, value: __m512) {
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<NEAREST>(value)) }
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, value: __m512) {
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(value))) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn fnma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn abs(a: __m512) -> __m512 {
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<NEAREST>(a) }
    }
    #[inline(always)]
    unsafe fn scale_by_power_of_two(a: __m512, n: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(a, n) }
    }
    #[inline(always)]
    unsafe fn sum(a: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    unsafe fn largest(a: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(a) }
    }
    #[inline(always)]
    unsafe fn int_splat(value: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn int_to_float(a: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    unsafe fn load_codes(from: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store_codes(to: *mut u8, codes: __m512i) {
        unsafe { _mm512_storeu_si512(to.cast(), codes) }
    }
    #[inline(always)]
    unsafe fn low_nibbles(codes: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(codes, _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    unsafe fn high_nibbles(codes: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(_mm512_srli_epi16::<4>(codes), _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    unsafe fn shift_left<const N: u32>(codes: __m512i) -> __m512i {
        unsafe { _mm512_slli_epi16::<N>(codes) }
    }
    #[inline(always)]
    unsafe fn shift_right<const N: u32>(codes: __m512i) -> __m512i {
        unsafe { _mm512_srli_epi16::<N>(codes) }
    }
    #[inline(always)]
    unsafe fn or_masked(codes: __m512i, bits: __m512i, mask: u8) -> __m512i {
        unsafe { _mm512_or_si512(codes, _mm512_and_si512(bits, _mm512_set1_epi8(mask as i8))) }
    }
    #[inline(always)]
    unsafe fn add_codes(codes: __m512i, value: u8) -> __m512i {
        unsafe { _mm512_add_epi8(codes, _mm512_set1_epi8(value as i8)) }
    }
    #[inline(always)]
    unsafe fn dot(sums: __m512i, codes: __m512i, quad: *const i8) -> __m512i {
        unsafe {
            _mm512_dpbusd_epi32(
                sums,
                codes,
                _mm512_set1_epi32(quad.cast::<i32>().read_unaligned()),
            )
        }
    }
}

//! Activations to int8, 32 at a time: `scale = max|x| / 127`, codes rounded to nearest.

use crate::activations::QuantizedRow;
use crate::simd::{LANES, Simd};

/// Quantises `values` (a multiple of 32 long) into `row`.
///
/// # Safety
/// The processor must have the instruction set; the slices of `row` must fit `values` exactly.
#[inline(always)]
pub(crate) unsafe fn quantize_row<S: Simd>(values: &[f32], row: &mut QuantizedRow<'_>) {
    // SAFETY: each group of 32 lies inside `values` and `codes`.
    unsafe {
        for group in 0..values.len() / 32 {
            let from = values.as_ptr().add(group * 32);
            let (low, high) = (S::load(from), S::load(from.add(LANES)));
            let largest = S::largest(S::max(S::abs(low), S::abs(high)));
            let scale = largest / 127.0;
            let inverse = S::splat(if largest > 0.0 { 127.0 / largest } else { 0.0 });
            let (low, high) = (
                S::round(S::mul(low, inverse)),
                S::round(S::mul(high, inverse)),
            );
            let to = row.codes.as_mut_ptr().add(group * 32);
            S::store_i8(to, low);
            S::store_i8(to.add(LANES), high);
            let (low, high) = (S::sum(low), S::sum(high));
            row.scales[group] = scale;
            row.sums16[group * 2] = -8 * low as i32;
            row.sums16[group * 2 + 1] = -8 * high as i32;
            row.sums32[group] = -8 * (low + high) as i32;
            row.weighted16[group * 2] = scale * low;
            row.weighted16[group * 2 + 1] = scale * high;
            row.weighted32[group] = scale * (low + high);
        }
    }
}

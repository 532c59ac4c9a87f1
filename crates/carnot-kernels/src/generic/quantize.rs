//! Activations to int8, 32 at a time: `scale = max|x| / 127`, codes rounded to nearest.

use crate::activations::QuantizedRow;
use crate::simd::{LANES, Simd};

/// Quantises `values` (a multiple of 32 long) into one row of a tile.
///
/// # Safety
/// The processor must have the instruction set; the tile must have room for `values`.
#[inline(always)]
pub(crate) unsafe fn quantize_row<S: Simd>(values: &[f32], row: &QuantizedRow) {
    let height = row.height;
    // SAFETY: each group of 32 lies inside `values`, and its place inside the tile.
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
            let mut codes = [[0_i8; 4]; 8];
            S::store_i8(codes.as_mut_ptr().cast(), low);
            S::store_i8(codes.as_mut_ptr().add(4).cast(), high);
            let to = row.codes.cast::<[i8; 4]>().add(group * 8 * height);
            for (quad, codes) in codes.into_iter().enumerate() {
                *to.add(quad * height) = codes;
            }
            let (low, high) = (S::sum(low), S::sum(high));
            *row.scales.add(group * height) = scale;
            *row.sums32.add(group * height) = -128 * (low + high) as i32;
            *row.weighted32.add(group * height) = scale * (low + high);
            for (half, sum) in [low, high].into_iter().enumerate() {
                let at = (group * 2 + half) * height;
                *row.sums16.add(at) = -128 * sum as i32;
                *row.weighted16.add(at) = scale * sum;
            }
        }
    }
}

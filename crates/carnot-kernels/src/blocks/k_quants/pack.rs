//! Encoding 256 values: fit each group, quantise the groups' scales against the largest of them, then round the values with the
//! scales that a reader will see.

use super::super::{BlockType, MAX_BLOCK_LEN, MAX_GROUPS, inverse, largest_magnitude, write_half};
use super::{fit, planes};

pub(in super::super) fn quantize(ty: BlockType, values: &[f32], block: &mut [u8]) {
    block.fill(0);
    match ty {
        BlockType::Q3K | BlockType::Q6K => write_symmetric_scales(ty, values, block),
        _ => write_affine_scales(ty, values, block),
    }
    let codes = round(ty, values, block);
    for plane in planes(ty) {
        plane.write(&codes, block);
    }
}

/// Codes by the scales already in `block`.
fn round(ty: BlockType, values: &[f32], block: &[u8]) -> [u8; MAX_BLOCK_LEN] {
    let mut codes = [0; MAX_BLOCK_LEN];
    let (mut scales, mut mins) = ([0.0; MAX_GROUPS], [0.0; MAX_GROUPS]);
    super::super::unpack_affine(ty, block, &mut codes, &mut scales, &mut mins);
    let top = match ty {
        BlockType::Q2K => 3,
        BlockType::Q3K => 7,
        BlockType::Q4K => 15,
        BlockType::Q5K => 31,
        _ => 63,
    };
    for (index, (code, &value)) in codes.iter_mut().zip(values).enumerate() {
        let group = index / ty.group_len();
        let scaled = (value + mins[group]) * inverse(scales[group]);
        *code = fit::nearest(scaled).clamp(0, top) as u8;
    }
    codes
}

/// Larger values matter more: they carry more of the product.
fn weights(values: &[f32]) -> [f32; 32] {
    let mean_square = values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
    let root = mean_square.sqrt();
    std::array::from_fn(|index| values.get(index).map_or(0.0, |value| root + value.abs()))
}

fn write_affine_scales(ty: BlockType, values: &[f32], block: &mut [u8]) {
    let (code_top, scale_top, d_at) = match ty {
        BlockType::Q2K => (3, 15.0, 80),
        BlockType::Q4K => (15, 63.0, 0),
        _ => (31, 63.0, 0),
    };
    let (mut scales, mut mins) = ([0.0; MAX_GROUPS], [0.0; MAX_GROUPS]);
    for (group, values) in values.chunks_exact(ty.group_len()).enumerate() {
        (scales[group], mins[group]) = fit::affine(values, &weights(values), code_top);
    }
    let d = write_half(
        block,
        d_at,
        scales.iter().copied().fold(0.0, f32::max) / scale_top,
    );
    let dmin = write_half(
        block,
        d_at + 2,
        mins.iter().copied().fold(0.0, f32::max) / scale_top,
    );
    for group in 0..MAX_BLOCK_LEN / ty.group_len() {
        let quantized = |value: f32, unit: f32| {
            fit::nearest(value * inverse(unit)).clamp(0, scale_top as i32) as u8
        };
        let (scale, min) = (quantized(scales[group], d), quantized(mins[group], dmin));
        if ty == BlockType::Q2K {
            block[group] = scale | min << 4;
        } else {
            write_six_bit_pair(&mut block[4..16], group, scale, min);
        }
    }
}

/// The inverse of [`six_bit_pair`](super::six_bit_pair), onto zeros.
fn write_six_bit_pair(packed: &mut [u8], group: usize, scale: u8, min: u8) {
    if group < 4 {
        packed[group] |= scale;
        packed[group + 4] |= min;
        return;
    }
    packed[group + 4] |= scale & 15 | min << 4;
    packed[group - 4] |= scale >> 4 << 6;
    packed[group] |= min >> 4 << 6;
}

fn write_symmetric_scales(ty: BlockType, values: &[f32], block: &mut [u8]) {
    let (code_half, scale_half, d_at) = if ty == BlockType::Q3K {
        (4, 32, 108)
    } else {
        (32, 128, 208)
    };
    let mut scales = [0.0; MAX_GROUPS];
    for (scale, values) in scales.iter_mut().zip(values.chunks_exact(16)) {
        *scale = fit::symmetric(values, &weights(values), code_half);
    }
    let d = write_half(
        block,
        d_at,
        largest_magnitude(&scales) / -(scale_half as f32),
    );
    for (group, scale) in scales.iter().enumerate() {
        let scale = fit::nearest(scale * inverse(d)).clamp(-scale_half, scale_half - 1);
        if ty == BlockType::Q3K {
            write_six_bit_scale(&mut block[96..108], group, (scale + 32) as u8);
        } else {
            block[192 + group] = scale as i8 as u8;
        }
    }
}

/// The inverse of [`six_bit_scale`](super::six_bit_scale), onto zeros.
fn write_six_bit_scale(packed: &mut [u8], group: usize, scale: u8) {
    packed[group % 8] |= (scale & 15) << (4 * (group / 8));
    packed[8 + group % 4] |= scale >> 4 << (2 * (group / 4));
}

//! The 32-value types with one half scale: `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`, `Q8_0`.
//!
//! In bytes: scale, then the minimum (`_1` types), then the fifth bits (`Q5` types), then the codes: byte `j` holds value `j` in
//! its low nibble and value `j + 16` in its high one.

use super::{
    BlockType, inverse, largest_magnitude, pack_nibbles, read_half, unpack_nibbles, write_half,
};

/// Where the parts of a block lie: whether a minimum follows the scale, and where the fifth bits and the codes begin.
fn parts(ty: BlockType) -> (bool, Option<usize>, usize) {
    match ty {
        BlockType::Q4_0 | BlockType::Q8_0 => (false, None, 2),
        BlockType::Q4_1 => (true, None, 4),
        BlockType::Q5_0 => (false, Some(2), 6),
        BlockType::Q5_1 => (true, Some(4), 8),
        _ => unreachable!("{ty} is not a 32-value type with one half scale"),
    }
}

pub(super) fn unpack(
    ty: BlockType,
    block: &[u8],
    codes: &mut [u8],
    scales: &mut [f32],
    mins: &mut [f32],
) {
    let (has_minimum, fifth_bits, codes_at) = parts(ty);
    scales[0] = read_half(block, 0);
    if has_minimum {
        mins[0] = -read_half(block, 2);
    }
    if ty == BlockType::Q8_0 {
        for (code, &byte) in codes.iter_mut().zip(&block[codes_at..]) {
            *code = byte ^ 0x80;
        }
        return;
    }
    unpack_nibbles(&block[codes_at..], codes);
    if let Some(at) = fifth_bits {
        let bits = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
        for (index, code) in codes.iter_mut().enumerate() {
            *code |= ((bits >> index & 1) as u8) << 4;
        }
    }
}

pub(super) fn quantize(ty: BlockType, values: &[f32], block: &mut [u8]) {
    let (_, fifth_bits, codes_at) = parts(ty);
    let codes = match ty {
        BlockType::Q8_0 => return quantize_bytes(values, block),
        BlockType::Q4_0 => codes_around(8.0, values, block),
        BlockType::Q5_0 => codes_around(16.0, values, block),
        BlockType::Q4_1 => codes_above_minimum(15.0, values, block),
        _ => codes_above_minimum(31.0, values, block),
    };
    pack_nibbles(&codes, &mut block[codes_at..]);
    if let Some(at) = fifth_bits {
        let bits = codes.iter().enumerate().fold(0, |bits, (index, &code)| {
            bits | u32::from(code >> 4 & 1) << index
        });
        block[at..at + 4].copy_from_slice(&bits.to_le_bytes());
    }
}

/// The largest magnitude takes code 0, whatever its sign: the scale may be negative.
fn codes_around(zero: f32, values: &[f32], block: &mut [u8]) -> [u8; 32] {
    let scale = largest_magnitude(values) / -zero;
    write_half(block, 0, scale);
    round_up_to(2.0 * zero - 1.0, values, inverse(scale), 0.0, zero + 0.5)
}

fn codes_above_minimum(top: f32, values: &[f32], block: &mut [u8]) -> [u8; 32] {
    let (minimum, maximum) = values
        .iter()
        .fold((f32::MAX, f32::MIN), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
    let scale = (maximum - minimum) / top;
    write_half(block, 0, scale);
    write_half(block, 2, minimum);
    round_up_to(top, values, inverse(scale), minimum, 0.5)
}

/// `(x - minimum) / scale + shift`, truncated: rounds halves up, as ggml does.
fn round_up_to(top: f32, values: &[f32], inverse: f32, minimum: f32, shift: f32) -> [u8; 32] {
    std::array::from_fn(|index| ((values[index] - minimum) * inverse + shift).min(top) as u8)
}

fn quantize_bytes(values: &[f32], block: &mut [u8]) {
    let scale = largest_magnitude(values).abs() / 127.0;
    write_half(block, 0, scale);
    let inverse = inverse(scale);
    for (byte, &value) in block[2..].iter_mut().zip(values) {
        *byte = (value * inverse).round() as i8 as u8;
    }
}

//! The 32-value types whose 4-bit codes index a fixed table: `IQ4_NL` (a half scale) and `MXFP4` (a power-of-two scale).

use super::{
    BlockType, inverse, largest_magnitude, pack_nibbles, read_half, unpack_nibbles, write_half,
};

/// `IQ4_NL`: levels denser around zero, where weights are.
const NON_LINEAR: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// `MXFP4`: the values of a float of one sign, two exponent and one mantissa bit, doubled to be whole.
const E2M1_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

fn table(ty: BlockType) -> &'static [i8; 16] {
    if ty == BlockType::IQ4NL {
        &NON_LINEAR
    } else {
        &E2M1_DOUBLED
    }
}

pub(super) fn unpack(ty: BlockType, block: &[u8], codes: &mut [u8], scales: &mut [f32]) {
    let codes_at = if ty == BlockType::IQ4NL {
        scales[0] = read_half(block, 0);
        2
    } else {
        scales[0] = half_power_of_two(block[0]);
        1
    };
    unpack_nibbles(&block[codes_at..], codes);
    let table = table(ty);
    for code in codes {
        *code = table[usize::from(*code)] as u8 ^ 0x80;
    }
}

/// `2^(exponent - 128)`: an E8M0 scale, halved because the table is doubled. The two smallest are subnormal.
fn half_power_of_two(exponent: u8) -> f32 {
    let bits = if exponent < 2 {
        0x0020_0000 << exponent
    } else {
        u32::from(exponent - 1) << 23
    };
    f32::from_bits(bits)
}

pub(super) fn quantize(ty: BlockType, values: &[f32], block: &mut [u8]) {
    if ty == BlockType::IQ4NL {
        let scale = write_half(block, 0, fit_non_linear(values));
        pack_nibbles(&nearest(&NON_LINEAR, values, scale), &mut block[2..]);
    } else {
        let largest = largest_magnitude(values).abs();
        let exponent = if largest > 0.0 {
            (largest.log2().floor() + 125.0).clamp(0.0, 254.0)
        } else {
            0.0
        };
        block[0] = exponent as u8;
        pack_nibbles(
            &nearest(&E2M1_DOUBLED, values, half_power_of_two(block[0])),
            &mut block[1..],
        );
    }
}

/// The index of the table's nearest value, the first of equals.
fn nearest(table: &[i8; 16], values: &[f32], scale: f32) -> [u8; 32] {
    std::array::from_fn(|index| {
        let error = |level: i8| (scale * f32::from(level) - values[index]).abs();
        let closer = |best: usize, candidate: usize| {
            if error(table[candidate]) < error(table[best]) {
                candidate
            } else {
                best
            }
        };
        (0..16).fold(0, closer) as u8
    })
}

/// Tries scales that put the largest magnitude near one end of the table and keeps the one of least squared error, weighted by
/// the square of the value.
fn fit_non_linear(values: &[f32]) -> f32 {
    let largest = largest_magnitude(values);
    if largest == 0.0 {
        return 0.0;
    }
    let candidates = (-7_i16..=7).map(|step| f32::from(i16::from(NON_LINEAR[0]) + step) / largest);
    let fits = candidates.map(|inverse_scale| {
        let codes = nearest(&NON_LINEAR, values, inverse(inverse_scale));
        let (mut dot, mut square) = (0.0, 0.0);
        for (&value, code) in values.iter().zip(codes) {
            let level = f32::from(NON_LINEAR[usize::from(code)]);
            dot += value * value * level * value;
            square += value * value * level * level;
        }
        (dot * dot * inverse(square), dot * inverse(square))
    });
    fits.max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(0.0, |(_, scale)| scale)
}

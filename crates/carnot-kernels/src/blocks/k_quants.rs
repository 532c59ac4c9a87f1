//! The 256-value types, whose group scales are themselves quantised: `Q2_K` to `Q6_K`.
//!
//! In bytes (`d` and `dmin` are halves):
//!
//! | type | layout |
//! |---|---|
//! | `Q2_K` | `scales[16]` (low nibble scale, high nibble minimum), `low[64]`, `d`, `dmin` |
//! | `Q3_K` | `high[32]`, `low[64]`, `scales[12]` (sixteen 6-bit scales around 32), `d` |
//! | `Q4_K` | `d`, `dmin`, `scales[12]` (eight 6-bit scales and minima), `low[128]` |
//! | `Q5_K` | `d`, `dmin`, `scales[12]`, `high[32]`, `low[128]` |
//! | `Q6_K` | `low[128]`, `high[64]`, `scales[16]` (signed bytes), `d` |
//!
//! The bits of a code are spread in planes: `width` bits per value, `32 * 8 / width` values sharing `32` bytes (`Q6_K`'s low bits: 64
//! bytes), the next run of values one step higher in the same bytes.

mod fit;
pub(super) mod pack;

use super::{BlockType, read_half};

/// One plane of code bits: `width` bits of each value, in runs of `run` values over the same `run` bytes.
#[derive(Clone, Copy)]
struct Plane {
    at: usize,
    width: usize,
    run: usize,
    /// Where the bits go in the code.
    shift: usize,
}

impl Plane {
    /// The byte and the bit at which the bits of value `index` lie.
    fn place(self, index: usize) -> (usize, usize) {
        let per_chunk = self.run * 8 / self.width;
        let (chunk, within) = (index / per_chunk, index % per_chunk);
        (
            self.at + chunk * self.run + within % self.run,
            within / self.run * self.width,
        )
    }

    fn read(self, block: &[u8], codes: &mut [u8]) {
        let mask = (1 << self.width) - 1;
        let runs = codes.chunks_exact_mut(self.run);
        for (run, codes) in runs.enumerate() {
            let (at, bit) = self.place(run * self.run);
            for (code, &byte) in codes.iter_mut().zip(&block[at..at + self.run]) {
                *code |= (byte >> bit & mask) << self.shift;
            }
        }
    }

    fn write(self, codes: &[u8], block: &mut [u8]) {
        let mask = (1 << self.width) - 1;
        for (index, &code) in codes.iter().enumerate() {
            let (at, bit) = self.place(index);
            block[at] |= (code >> self.shift & mask) << bit;
        }
    }
}

const fn plane(at: usize, width: usize, run: usize, shift: usize) -> Plane {
    Plane {
        at,
        width,
        run,
        shift,
    }
}

/// The planes that make up the codes.
fn planes(ty: BlockType) -> &'static [Plane] {
    const Q2: [Plane; 1] = [plane(16, 2, 32, 0)];
    const Q3: [Plane; 2] = [plane(32, 2, 32, 0), plane(0, 1, 32, 2)];
    const Q4: [Plane; 1] = [plane(16, 4, 32, 0)];
    const Q5: [Plane; 2] = [plane(48, 4, 32, 0), plane(16, 1, 32, 4)];
    const Q6: [Plane; 2] = [plane(0, 4, 64, 0), plane(128, 2, 32, 4)];
    match ty {
        BlockType::Q2K => &Q2,
        BlockType::Q3K => &Q3,
        BlockType::Q4K => &Q4,
        BlockType::Q5K => &Q5,
        _ => &Q6,
    }
}

pub(super) fn unpack(
    ty: BlockType,
    block: &[u8],
    codes: &mut [u8],
    scales: &mut [f32],
    mins: &mut [f32],
) {
    codes.fill(0);
    for plane in planes(ty) {
        plane.read(block, codes);
    }
    match ty {
        BlockType::Q2K => {
            let (d, dmin) = (read_half(block, 80), read_half(block, 82));
            for (group, &packed) in block[..16].iter().enumerate() {
                scales[group] = d * f32::from(packed & 15);
                mins[group] = dmin * f32::from(packed >> 4);
            }
        }
        BlockType::Q3K => {
            let d = read_half(block, 108);
            for (group, scale) in scales[..16].iter_mut().enumerate() {
                *scale = d * f32::from(six_bit_scale(&block[96..108], group) as i8 - 32);
            }
        }
        BlockType::Q4K | BlockType::Q5K => {
            let (d, dmin) = (read_half(block, 0), read_half(block, 2));
            for group in 0..8 {
                let (scale, min) = six_bit_pair(&block[4..16], group);
                scales[group] = d * f32::from(scale);
                mins[group] = dmin * f32::from(min);
            }
        }
        _ => {
            let d = read_half(block, 208);
            for (scale, &quantized) in scales.iter_mut().zip(&block[192..208]) {
                *scale = d * f32::from(quantized as i8);
            }
        }
    }
}

/// `Q3_K`: scale `group`'s low four bits lie in nibbles of the first 8 bytes, its high two in pairs of the last 4.
fn six_bit_scale(packed: &[u8], group: usize) -> u8 {
    let low = packed[group % 8] >> (4 * (group / 8)) & 15;
    let high = packed[8 + group % 4] >> (2 * (group / 4)) & 3;
    low | high << 4
}

/// `Q4_K`, `Q5_K`: the first four scales and minima are the low six bits of 8 bytes, whose top bits, with the nibbles of the last 4,
/// make up the other four.
fn six_bit_pair(packed: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        return (packed[group] & 63, packed[group + 4] & 63);
    }
    let nibbles = packed[group + 4];
    (
        nibbles & 15 | packed[group - 4] >> 6 << 4,
        nibbles >> 4 | packed[group] >> 6 << 4,
    )
}

//! Sixteen rows into a panel.

use half::f16;

use super::{Layout, direct};
use crate::blocks::{BlockType, unpack_affine};
use crate::simd::LANES;

/// Writes `rows`, up to 16 rows in their file's blocks one after another, as the lanes of `panel`.
///
/// Superblock by superblock, so that what is written stays in the first-level cache until all lanes are in.
pub(super) fn pack_panel(
    dtype: BlockType,
    layout: Layout,
    rows: &[u8],
    row_bytes: usize,
    panel: &mut [u8],
) {
    if !layout.is_integer() {
        return pack_floats(dtype.block_bytes(), rows, row_bytes, panel);
    }
    let unit_inputs = layout.superblock_inputs().max(dtype.block_len());
    let superblock_bytes = layout.superblock_bytes();
    let source_bytes = dtype.row_bytes(unit_inputs);
    let target_bytes = unit_inputs / layout.superblock_inputs() * superblock_bytes;
    if let Some(direct) = direct::of(dtype) {
        for (unit, target) in panel.chunks_exact_mut(target_bytes).enumerate() {
            for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
                let end = row_bytes.min((unit + 1) * source_bytes);
                direct(&row[row_bytes.min(unit * source_bytes)..end], lane, target);
            }
        }
        return;
    }
    let mut unpacked = Unpacked::zeroed();
    for (unit, target) in panel.chunks_mut(target_bytes).enumerate() {
        for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
            let left = &row[row_bytes.min(unit * source_bytes)..];
            let source = &left[..left.len().min(source_bytes)];
            unpacked.read(dtype, source);
            for (part, superblock) in target.chunks_exact_mut(superblock_bytes).enumerate() {
                unpacked.write(dtype, layout, lane, source, part, superblock);
            }
        }
    }
}

/// Float layouts: input after input, 16 rows each; four inputs are moved at a time.
fn pack_floats(width: usize, rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    let inputs = row_bytes / width;
    for (index, target) in panel.chunks_mut(4 * LANES * width).enumerate() {
        let first = index * 4;
        if first >= inputs {
            return;
        }
        let count = (inputs - first).min(4);
        for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
            let values = &row[first * width..(first + count) * width];
            if width == 2 {
                for (input, value) in values.chunks_exact(2).enumerate() {
                    let at = input * LANES * 2 + lane * 2;
                    target[at..at + 2].copy_from_slice(value);
                }
            } else {
                for (input, value) in values.chunks_exact(4).enumerate() {
                    let at = input * LANES * 4 + lane * 4;
                    target[at..at + 4].copy_from_slice(value);
                }
            }
        }
    }
}

/// The codes, scales and mins of up to 256 inputs of one row.
struct Unpacked {
    codes: [u8; 256],
    scales: [f32; 16],
    mins: [f32; 16],
}

impl Unpacked {
    fn zeroed() -> Self {
        Self {
            codes: [0; 256],
            scales: [0.0; 16],
            mins: [0.0; 16],
        }
    }

    /// Reads `source`; what a row has no blocks for has a zero scale.
    fn read(&mut self, dtype: BlockType, source: &[u8]) {
        let groups = dtype.block_len() / dtype.group_len();
        let blocks = source.len() / dtype.block_bytes();
        self.codes[blocks * dtype.block_len()..].fill(0);
        self.scales[blocks * groups..].fill(0.0);
        self.mins[blocks * groups..].fill(0.0);
        for (index, block) in source.chunks_exact(dtype.block_bytes()).enumerate() {
            let codes = &mut self.codes[index * dtype.block_len()..][..dtype.block_len()];
            let scales = &mut self.scales[index * groups..][..groups];
            let mins = &mut self.mins[index * groups..][..groups];
            unpack_affine(dtype, block, codes, scales, mins);
        }
    }

    /// Writes part `part` of a block (of 64 inputs where a block holds several superblocks).
    fn write(
        &self,
        dtype: BlockType,
        layout: Layout,
        lane: usize,
        source: &[u8],
        part: usize,
        target: &mut [u8],
    ) {
        let inputs = layout.superblock_inputs();
        let codes = &self.codes[part * inputs..(part + 1) * inputs];
        let (header, lines) = target.split_at_mut(layout.header_bytes());
        match layout {
            Layout::Nibble | Layout::NibbleK => write_nibbles(lane, codes, lines),
            Layout::FiveBitK | Layout::SixBitK => {
                let (nibbles, planes) = lines.split_at_mut(codes.len() * LANES / 2);
                write_nibbles(lane, codes, nibbles);
                let width = if layout == Layout::FiveBitK { 1 } else { 2 };
                write_plane(lane, codes, width, planes);
            }
            _ => write_bytes(lane, codes, lines),
        }
        let groups = inputs / dtype.group_len();
        let scales = &self.scales[part * groups..(part + 1) * groups];
        let mins = &self.mins[part * groups..(part + 1) * groups];
        match layout {
            Layout::Nibble | Layout::Byte { .. } => write_f16(header, lane, scales),
            Layout::Affine16 | Layout::Affine32 => {
                let (scale_bytes, min_bytes) = header.split_at_mut(groups * LANES * 4);
                write_f32(scale_bytes, lane, scales);
                write_f32(min_bytes, lane, mins);
            }
            Layout::NibbleK | Layout::FiveBitK => write_unsigned_scales(header, lane, source),
            Layout::ByteK16 { .. } | Layout::SixBitK => {
                write_signed_scales(dtype, header, lane, source);
            }
            Layout::F16 | Layout::Bf16 | Layout::F32 => unreachable!("float layouts hold no codes"),
        }
    }
}

/// Four codes as one number, code `i` in byte `i`.
fn quad(codes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([codes[at], codes[at + 1], codes[at + 2], codes[at + 3]])
}

/// Line `j` of a group of 32: low nibbles are inputs `4j..4j+4`, high nibbles inputs `16+4j..16+4j+4`.
fn write_nibbles(lane: usize, codes: &[u8], lines: &mut [u8]) {
    for (group, lines) in codes.chunks_exact(32).zip(lines.chunks_exact_mut(4 * 64)) {
        for (j, line) in lines.chunks_exact_mut(64).enumerate() {
            let low = quad(group, 4 * j) & 0x0f0f_0f0f;
            let high = quad(group, 16 + 4 * j) & 0x0f0f_0f0f;
            line[lane * 4..lane * 4 + 4].copy_from_slice(&(low | high << 4).to_le_bytes());
        }
    }
}

/// The bits above a nibble, `width` to a code: quads `0, 1, …` of a line stand in bits `0, width, …` of each byte.
fn write_plane(lane: usize, codes: &[u8], width: usize, lines: &mut [u8]) {
    let quads = 8 / width;
    let mut lines = LineWriter::new(lines, lane, 0);
    for codes in codes.chunks_exact(4 * quads) {
        lines.write(plane_bits(width, |index| quad(codes, 4 * index) >> 4));
    }
}

/// The lowest `width` bits of each byte of `quad(0)`, `quad(1)`, …, one beside the other.
#[inline]
pub(super) fn plane_bits(width: usize, quad: impl Fn(usize) -> u32) -> u32 {
    let mask = 0x0101_0101 * ((1 << width) - 1);
    (0..8 / width).fold(0, |bits, index| {
        bits | (quad(index) & mask) << (index * width)
    })
}

/// Writes four codes of one lane to one line of 64 bytes after another.
pub(super) struct LineWriter<'a> {
    lines: std::slice::ChunksExactMut<'a, u8>,
    lane: usize,
}

impl<'a> LineWriter<'a> {
    /// From line `first` of `lines` on.
    #[inline]
    pub fn new(lines: &'a mut [u8], lane: usize, first: usize) -> Self {
        Self {
            lines: lines[first * 64..].chunks_exact_mut(64),
            lane,
        }
    }

    /// # Panics
    /// If there is no line left.
    #[inline]
    pub fn write(&mut self, codes: u32) {
        let line = self.lines.next().expect("a line for every four codes");
        line[self.lane * 4..self.lane * 4 + 4].copy_from_slice(&codes.to_le_bytes());
    }
}

fn write_bytes(lane: usize, codes: &[u8], lines: &mut [u8]) {
    for (quad, line) in codes.chunks_exact(4).zip(lines.chunks_exact_mut(64)) {
        line[lane * 4..lane * 4 + 4].copy_from_slice(quad);
    }
}

fn write_f16(header: &mut [u8], lane: usize, values: &[f32]) {
    for (value, sixteen) in values.iter().zip(header.chunks_exact_mut(LANES * 2)) {
        sixteen[lane * 2..lane * 2 + 2].copy_from_slice(&f16::from_f32(*value).to_le_bytes());
    }
}

fn write_f32(header: &mut [u8], lane: usize, values: &[f32]) {
    for (value, sixteen) in values.iter().zip(header.chunks_exact_mut(LANES * 4)) {
        sixteen[lane * 4..lane * 4 + 4].copy_from_slice(&value.to_le_bytes());
    }
}

/// The two-level scales of `Q4_K` and `Q5_K`, kept as they are: f16 `d`, f16 `dmin`, six-bit scales and mins widened to bytes.
pub(super) fn write_unsigned_scales(header: &mut [u8], lane: usize, block: &[u8]) {
    header[lane * 2..lane * 2 + 2].copy_from_slice(&block[0..2]);
    header[32 + lane * 2..32 + lane * 2 + 2].copy_from_slice(&block[2..4]);
    let packed = &block[4..16];
    for group in 0..8 {
        let (scale, min) = if group < 4 {
            (packed[group] & 63, packed[group + 4] & 63)
        } else {
            let low = packed[group + 4];
            (
                (low & 15) | (packed[group - 4] >> 6 << 4),
                (low >> 4) | (packed[group] >> 6 << 4),
            )
        };
        header[64 + group * LANES + lane] = scale;
        header[64 + (8 + group) * LANES + lane] = min;
    }
}

/// The two-level scales of `Q6_K` and `Q3_K`: f16 `d`, sixteen signed sub-scales.
pub(super) fn write_signed_scales(dtype: BlockType, header: &mut [u8], lane: usize, block: &[u8]) {
    let (d, scales): (&[u8], [i8; 16]) = match dtype {
        BlockType::Q6K => (
            &block[208..210],
            std::array::from_fn(|group| block[192 + group] as i8),
        ),
        BlockType::Q3K => (&block[108..110], q3_k_scales(&block[96..108])),
        _ => unreachable!("only Q6_K and Q3_K have signed sub-scales"),
    };
    header[lane * 2..lane * 2 + 2].copy_from_slice(d);
    for (group, scale) in scales.iter().enumerate() {
        header[64 + group * LANES + lane] = *scale as u8;
    }
}

/// Sixteen six-bit scales around 32: low four bits in bytes 0..8 (two to a byte), high two bits in bytes 8..12 (four to a byte).
fn q3_k_scales(packed: &[u8]) -> [i8; 16] {
    std::array::from_fn(|group| {
        let low = (packed[group % 8] >> (4 * (group / 8))) & 15;
        let high = (packed[8 + group % 4] >> (2 * (group / 4))) & 3;
        ((high << 4) | low) as i8 - 32
    })
}

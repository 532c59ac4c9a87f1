//! The common types straight from their blocks into a panel, four codes at a time, without going through single codes.
//!
//! A superblock of sixteen rows is written at once; its target stays in the first-level cache. Other types take the way over
//! [`super::codes`], which the tests hold both to.

use super::codes::{LineWriter, plane_bits, write_signed_scales, write_unsigned_scales};
use super::layout::Layout;
use crate::blocks::BlockType;
use crate::simd::LANES;

/// Writes one row's blocks of a superblock, `source`, as lane `lane` of `target`.
pub(super) type LaneFn = fn(source: &[u8], lane: usize, target: &mut [u8]);

/// The direct way for `dtype`, if it has one.
pub(super) fn of(dtype: BlockType) -> Option<LaneFn> {
    match dtype {
        BlockType::Q4_0 => Some(q4_0),
        BlockType::Q8_0 => Some(q8_0),
        BlockType::Q4K => Some(q4_k),
        BlockType::Q5K => Some(q5_k),
        BlockType::Q6K => Some(q6_k),
        _ => None,
    }
}

fn word(bytes: &[u8], index: usize) -> u32 {
    let at = index * 4;
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

const LOW: u32 = 0x0f0f_0f0f;

/// `d` (f16), 16 bytes: byte `i` holds codes `i` and `16 + i`, as a line does.
fn q4_0(source: &[u8], lane: usize, target: &mut [u8]) {
    let (header, lines) = target.split_at_mut(Layout::Nibble.header_bytes());
    for (group, block) in source.chunks_exact(18).enumerate() {
        let scale = group * LANES * 2 + lane * 2;
        header[scale..scale + 2].copy_from_slice(&block[..2]);
        let mut lines = LineWriter::new(lines, lane, group * 4);
        (0..4).for_each(|j| lines.write(word(&block[2..18], j)));
    }
}

/// `d` (f16), 32 signed bytes; flipping the top bit adds 128.
fn q8_0(source: &[u8], lane: usize, target: &mut [u8]) {
    let (header, lines) = target.split_at_mut(Layout::Byte { zero: 128 }.header_bytes());
    for (group, block) in source.chunks_exact(34).enumerate() {
        let scale = group * LANES * 2 + lane * 2;
        header[scale..scale + 2].copy_from_slice(&block[..2]);
        let mut lines = LineWriter::new(lines, lane, group * 8);
        (0..8).for_each(|j| lines.write(word(&block[2..34], j) ^ 0x8080_8080));
    }
}

/// Two groups of 32 codes that share 32 bytes, the first in the low nibbles.
fn nibble_pair(bytes: &[u8], lane: usize, lines: &mut [u8]) {
    let (first, second): (&[u8], &[u8]) = bytes.split_at(16);
    let mut lines = LineWriter::new(lines, lane, 0);
    for j in 0..4 {
        lines.write(word(first, j) & LOW | (word(second, j) & LOW) << 4);
    }
    for j in 0..4 {
        lines.write(word(first, j) >> 4 & LOW | word(second, j) & !LOW);
    }
}

/// `d`, `dmin`, 12 bytes of scales, 128 bytes of nibbles.
fn q4_k(source: &[u8], lane: usize, target: &mut [u8]) {
    let (header, lines) = target.split_at_mut(Layout::NibbleK.header_bytes());
    write_unsigned_scales(header, lane, source);
    for (pair, lines) in source[16..144]
        .chunks_exact(32)
        .zip(lines.chunks_exact_mut(2 * 4 * 64))
    {
        nibble_pair(pair, lane, lines);
    }
}

/// `d`, `dmin`, 12 bytes of scales, 32 bytes of fifth bits (bit `g` of byte `i`: code `i` of group `g`), 128 bytes of nibbles.
fn q5_k(source: &[u8], lane: usize, target: &mut [u8]) {
    let (header, lines) = target.split_at_mut(Layout::FiveBitK.header_bytes());
    let (lines, planes) = lines.split_at_mut(8 * 4 * 64);
    write_unsigned_scales(header, lane, source);
    for (pair, lines) in source[48..176]
        .chunks_exact(32)
        .zip(lines.chunks_exact_mut(2 * 4 * 64))
    {
        nibble_pair(pair, lane, lines);
    }
    let mut planes = LineWriter::new(planes, lane, 0);
    for group in 0..8 {
        planes.write(plane_bits(1, |quad| word(&source[16..48], quad) >> group));
    }
}

/// 128 bytes of nibbles, 64 bytes of bits 4 and 5, 16 signed scales, `d`; each half of 128 codes: bytes `i` and `32 + i` hold
/// codes `i` and `32 + i` low, `64 + i` and `96 + i` high, and the upper bits of all four stand in one byte.
fn q6_k(source: &[u8], lane: usize, target: &mut [u8]) {
    let (header, lines) = target.split_at_mut(Layout::SixBitK.header_bytes());
    let (lines, planes) = lines.split_at_mut(8 * 4 * 64);
    write_signed_scales(BlockType::Q6K, header, lane, source);
    let mut planes = LineWriter::new(planes, lane, 0);
    for (half, lines) in lines.chunks_exact_mut(4 * 4 * 64).enumerate() {
        let low = &source[half * 64..half * 64 + 64];
        let mut lines = LineWriter::new(lines, lane, 0);
        for group in 0..4 {
            let bytes = &low[group % 2 * 32..group % 2 * 32 + 32];
            let shift = group / 2 * 4;
            for j in 0..4 {
                let codes = word(bytes, j) >> shift & LOW;
                lines.write(codes | (word(bytes, 4 + j) >> shift & LOW) << 4);
            }
        }
        let high = &source[128 + half * 32..160 + half * 32];
        for group in 0..4 {
            for first in [0, 4] {
                planes.write(plane_bits(2, |quad| {
                    word(high, first + quad) >> (2 * group)
                }));
            }
        }
    }
}

//! The types that are plain floats: no groups, no codes.

use half::{bf16, f16};

use super::BlockType;

pub(super) fn decode(ty: BlockType, bytes: &[u8], out: &mut [f32]) {
    match ty {
        BlockType::F32 => each(bytes, out, f32::from_le_bytes),
        BlockType::F16 => each(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
        BlockType::BF16 => each(bytes, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        _ => unreachable!("{ty} is quantised"),
    }
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    let (chunks, _) = bytes.as_chunks::<N>();
    for (value, &chunk) in out.iter_mut().zip(chunks) {
        *value = decode(chunk);
    }
}

pub(super) fn encode(ty: BlockType, values: &[f32], out: &mut [u8]) {
    match ty {
        BlockType::F32 => fill(values, out, f32::to_le_bytes),
        BlockType::F16 => fill(values, out, |value| f16::from_f32(value).to_le_bytes()),
        BlockType::BF16 => fill(values, out, |value| bf16::from_f32(value).to_le_bytes()),
        _ => unreachable!("{ty} is quantised"),
    }
}

fn fill<const N: usize>(values: &[f32], out: &mut [u8], encode: impl Fn(f32) -> [u8; N]) {
    let (chunks, _) = out.as_chunks_mut::<N>();
    for (chunk, &value) in chunks.iter_mut().zip(values) {
        *chunk = encode(value);
    }
}

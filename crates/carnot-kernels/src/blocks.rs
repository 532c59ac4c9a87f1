//! Block-quantised storage types: what GGUF calls a tensor's type, decoded and encoded exactly.
//!
//! A block holds a fixed number of values of one row. Every quantised type here is *affine*: small unsigned codes and, per
//! group of 16 or 32 values, one scale and one minimum, so that
//!
//! ```text
//! x[i] = scale[g] * code[i] - min[g]          g = i / group_len
//! ```
//!
//! One function per type takes a block apart into that form; dequantising and the kernels' weight packing are built on it.
//! The layouts follow ggml's, and the tests compare both directions with the `gguf` Python package.

mod float4;
mod floats;
mod k_quants;
mod legacy;
#[cfg(test)]
mod tests;

/// The longest block of any type, in values.
pub const MAX_BLOCK_LEN: usize = 256;

/// The most groups that one block of any type holds.
pub const MAX_GROUPS: usize = 16;

/// How a tensor's values are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum BlockType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    BF16,
    /// 32 values: a half scale and 4-bit codes around 8.
    Q4_0,
    /// 32 values: a half scale, a half minimum and 4-bit codes.
    Q4_1,
    /// 32 values: a half scale and 5-bit codes around 16.
    Q5_0,
    /// 32 values: a half scale, a half minimum and 5-bit codes.
    Q5_1,
    /// 32 values: a half scale and signed bytes.
    Q8_0,
    /// 256 values in 16 groups: 2-bit codes, 4-bit scales and minima.
    Q2K,
    /// 256 values in 16 groups: 3-bit codes around 4, signed 6-bit scales.
    Q3K,
    /// 256 values in 8 groups: 4-bit codes, 6-bit scales and minima.
    Q4K,
    /// 256 values in 8 groups: 5-bit codes, 6-bit scales and minima.
    Q5K,
    /// 256 values in 16 groups: 6-bit codes around 32, signed byte scales.
    Q6K,
    /// 32 values: a half scale and 4-bit indices into a fixed non-linear table.
    IQ4NL,
    /// 32 values: a power-of-two scale and 4-bit floats (OCP MX).
    MXFP4,
}

/// What is fixed about one type.
struct Layout {
    name: &'static str,
    ggml_id: u32,
    block_len: usize,
    block_bytes: usize,
    group_len: usize,
    /// The code that stands for zero, in types without stored minima.
    zero_code: Option<u8>,
}

const fn layout(
    name: &'static str,
    ggml_id: u32,
    (block_len, block_bytes): (usize, usize),
    group_len: usize,
    zero_code: Option<u8>,
) -> Layout {
    Layout {
        name,
        ggml_id,
        block_len,
        block_bytes,
        group_len,
        zero_code,
    }
}

impl BlockType {
    /// Every type, in the order of the declaration.
    pub const ALL: [Self; 15] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::IQ4NL,
        Self::MXFP4,
    ];

    const fn layout(self) -> Layout {
        match self {
            Self::F32 => layout("F32", 0, (1, 4), 0, None),
            Self::F16 => layout("F16", 1, (1, 2), 0, None),
            Self::BF16 => layout("BF16", 30, (1, 2), 0, None),
            Self::Q4_0 => layout("Q4_0", 2, (32, 18), 32, Some(8)),
            Self::Q4_1 => layout("Q4_1", 3, (32, 20), 32, None),
            Self::Q5_0 => layout("Q5_0", 6, (32, 22), 32, Some(16)),
            Self::Q5_1 => layout("Q5_1", 7, (32, 24), 32, None),
            Self::Q8_0 => layout("Q8_0", 8, (32, 34), 32, Some(128)),
            Self::Q2K => layout("Q2_K", 10, (256, 84), 16, None),
            Self::Q3K => layout("Q3_K", 11, (256, 110), 16, Some(4)),
            Self::Q4K => layout("Q4_K", 12, (256, 144), 32, None),
            Self::Q5K => layout("Q5_K", 13, (256, 176), 32, None),
            Self::Q6K => layout("Q6_K", 14, (256, 210), 16, Some(32)),
            Self::IQ4NL => layout("IQ4_NL", 20, (32, 18), 32, Some(128)),
            Self::MXFP4 => layout("MXFP4", 39, (32, 17), 32, Some(128)),
        }
    }

    /// The name that files and people use, such as `Q4_K`.
    pub const fn name(self) -> &'static str {
        self.layout().name
    }

    /// The type of this name, in any case; the inverse of [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|ty| ty.name().eq_ignore_ascii_case(name))
    }

    /// The number that GGUF files store.
    pub const fn ggml_id(self) -> u32 {
        self.layout().ggml_id
    }

    /// The type that GGUF files store as `id`, if it is one of ours.
    pub fn from_ggml(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.ggml_id() == id)
    }

    /// Values per block; 1 for the floats.
    pub const fn block_len(self) -> usize {
        self.layout().block_len
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> usize {
        self.layout().block_bytes
    }

    /// Values that share one scale: 16 or 32, and 0 for the floats, which have none.
    pub const fn group_len(self) -> usize {
        self.layout().group_len
    }

    /// The code that means zero, in the types that store no minima: `x = scale * (code - zero_code)`.
    pub const fn zero_code(self) -> Option<u8> {
        self.layout().zero_code
    }

    /// True of every type but the floats.
    pub const fn is_quantized(self) -> bool {
        self.group_len() != 0
    }

    /// Bytes of a row of `elements` values.
    ///
    /// # Panics
    ///
    /// If `elements` is not a multiple of [`block_len`](Self::block_len).
    pub fn row_bytes(self, elements: usize) -> usize {
        assert_eq!(
            elements % self.block_len(),
            0,
            "a row of {elements} values is not whole blocks of {self}"
        );
        elements / self.block_len() * self.block_bytes()
    }
}

impl std::fmt::Display for BlockType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Decodes whole blocks into `out`.
///
/// # Panics
///
/// If `bytes` is not exactly the blocks of `out.len()` values.
pub fn dequantize(ty: BlockType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(
        bytes.len(),
        ty.row_bytes(out.len()),
        "bytes of {} values of {ty}",
        out.len()
    );
    if !ty.is_quantized() {
        return floats::decode(ty, bytes, out);
    }
    let mut codes = [0; MAX_BLOCK_LEN];
    let (mut scales, mut mins) = ([0.0; MAX_GROUPS], [0.0; MAX_GROUPS]);
    let codes = &mut codes[..ty.block_len()];
    for (block, values) in bytes
        .chunks_exact(ty.block_bytes())
        .zip(out.chunks_exact_mut(ty.block_len()))
    {
        unpack(ty, block, codes, &mut scales, &mut mins);
        let groups = values
            .chunks_exact_mut(ty.group_len())
            .zip(codes.chunks_exact(ty.group_len()));
        for ((values, codes), (&scale, &min)) in groups.zip(scales.iter().zip(&mins)) {
            decode_group(ty, codes, scale, min, values);
        }
    }
}

fn decode_group(ty: BlockType, codes: &[u8], scale: f32, min: f32, values: &mut [f32]) {
    match ty.zero_code() {
        Some(zero) => {
            for (value, &code) in values.iter_mut().zip(codes) {
                *value = scale * f32::from(i16::from(code) - i16::from(zero));
            }
        }
        None => {
            for (value, &code) in values.iter_mut().zip(codes) {
                *value = scale * f32::from(code) - min;
            }
        }
    }
}

/// Encodes `values` into whole blocks, rounding to nearest.
///
/// The floats and the 32-value types agree bit for bit with ggml's reference quantisers; the 256-value types and `IQ4_NL` search
/// for scales by weighted least squares as ggml does, to the same quality but not the same bits.
///
/// # Panics
///
/// If `out` is not exactly the blocks of `values.len()` values.
pub fn quantize(ty: BlockType, values: &[f32], out: &mut [u8]) {
    assert_eq!(
        out.len(),
        ty.row_bytes(values.len()),
        "bytes of {} values of {ty}",
        values.len()
    );
    if !ty.is_quantized() {
        return floats::encode(ty, values, out);
    }
    for (values, block) in values
        .chunks_exact(ty.block_len())
        .zip(out.chunks_exact_mut(ty.block_bytes()))
    {
        match ty {
            BlockType::Q2K | BlockType::Q3K | BlockType::Q4K | BlockType::Q5K | BlockType::Q6K => {
                k_quants::pack::quantize(ty, values, block);
            }
            BlockType::IQ4NL | BlockType::MXFP4 => float4::quantize(ty, values, block),
            _ => legacy::quantize(ty, values, block),
        }
    }
}

/// Takes one block apart: `x[i] = scales[g] * codes[i] - mins[g]` with `g = i / group_len`.
///
/// The identity is exact when evaluated with one rounding (a fused multiply-add); with two, `Q6_K` may differ in the last bit.
/// Signed codes are stored shifted: `Q8_0` as `q + 128`, `IQ4_NL` and `MXFP4` as the table's value + 128.
///
/// # Panics
///
/// If `ty` is a float, `block` or `codes` is not exactly one block, or `scales` or `mins` is shorter than the block's groups.
pub fn unpack_affine(
    ty: BlockType,
    block: &[u8],
    codes: &mut [u8],
    scales: &mut [f32],
    mins: &mut [f32],
) {
    assert!(ty.is_quantized(), "{ty} has no codes");
    assert_eq!(block.len(), ty.block_bytes(), "bytes of one block of {ty}");
    assert_eq!(codes.len(), ty.block_len(), "codes of one block of {ty}");
    unpack(ty, block, codes, scales, mins);
    if let Some(zero) = ty.zero_code() {
        let groups = ty.block_len() / ty.group_len();
        for (min, &scale) in mins[..groups].iter_mut().zip(&scales[..groups]) {
            *min = scale * f32::from(zero);
        }
    }
}

/// As [`unpack_affine`], but leaves `mins` alone in types that have a zero code.
fn unpack(ty: BlockType, block: &[u8], codes: &mut [u8], scales: &mut [f32], mins: &mut [f32]) {
    match ty {
        BlockType::Q2K | BlockType::Q3K | BlockType::Q4K | BlockType::Q5K | BlockType::Q6K => {
            k_quants::unpack(ty, block, codes, scales, mins);
        }
        BlockType::IQ4NL | BlockType::MXFP4 => float4::unpack(ty, block, codes, scales),
        _ => legacy::unpack(ty, block, codes, scales, mins),
    }
}

/// The half at `bytes[at..at + 2]`, as a single.
fn read_half(bytes: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Stores `value` as a half at `bytes[at..at + 2]` and returns what a reader will see.
fn write_half(bytes: &mut [u8], at: usize, value: f32) -> f32 {
    let half = half::f16::from_f32(value);
    bytes[at..at + 2].copy_from_slice(&half.to_le_bytes());
    half.to_f32()
}

/// `1 / value`, and 0 for 0: the inverse of a scale, where a scale of 0 means a block of zeros.
fn inverse(value: f32) -> f32 {
    if value == 0.0 { 0.0 } else { 1.0 / value }
}

/// The value of the largest magnitude, with its sign; the first of equals.
fn largest_magnitude(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |best: f32, &value| {
        if value.abs() > best.abs() {
            value
        } else {
            best
        }
    })
}

/// Splits 16 bytes into 32 codes: the low nibbles, then the high ones.
fn unpack_nibbles(packed: &[u8], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(packed.len());
    for ((&byte, low), high) in packed.iter().zip(low).zip(high) {
        *low = byte & 15;
        *high = byte >> 4;
    }
}

/// The inverse of [`unpack_nibbles`]; bits above the fourth are dropped.
fn pack_nibbles(codes: &[u8], packed: &mut [u8]) {
    let (low, high) = codes.split_at(packed.len());
    for ((byte, &low), &high) in packed.iter_mut().zip(low).zip(high) {
        *byte = low & 15 | high << 4;
    }
}

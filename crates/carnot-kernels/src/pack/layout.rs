//! The layouts of a panel, and which block type takes which.

use crate::blocks::BlockType;
use crate::simd::LANES;

/// How a superblock of a panel is laid out. Sizes are per panel of 16 rows; scales stand before codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// 64 inputs: f16 scales of 2 groups, nibbles around 8 (`Q4_0`).
    Nibble,
    /// 256 inputs: f16 scale and f16 min, then 8 × u8 sub-scales, 8 × u8 sub-mins, nibbles (`Q4_K`).
    NibbleK,
    /// As [`Layout::NibbleK`], then the fifth bits, 8 inputs of a row to a byte (`Q5_K`).
    FiveBitK,
    /// 256 inputs: f16 scale, then 16 × i8 sub-scales, nibbles, then bits 4 and 5, 4 inputs of a row to a byte, around 32
    /// (`Q6_K`).
    SixBitK,
    /// 64 inputs: f16 scales of 2 groups, bytes around `zero` (`Q8_0`: 128, `Q5_0`: 16).
    Byte {
        /// The code that stands for zero.
        zero: u8,
    },
    /// 256 inputs: f16 scale, then 16 × i8 sub-scales, bytes around `zero` (`Q3_K`: 4).
    ByteK16 {
        /// The code that stands for zero.
        zero: u8,
    },
    /// 64 inputs: f32 scales and f32 mins of 2 groups of 32, bytes (all other types in groups of 32).
    Affine32,
    /// 64 inputs: f32 scales and f32 mins of 4 groups of 16, bytes (`Q2_K`).
    Affine16,
    /// 64 inputs: f16 values, 16 rows of one input after another.
    F16,
    /// 64 inputs: bf16 values.
    Bf16,
    /// 64 inputs: f32 values.
    F32,
}

impl Layout {
    /// The layout that the kernels take `dtype` in.
    pub fn of(dtype: BlockType) -> Self {
        match dtype {
            BlockType::F32 => Self::F32,
            BlockType::F16 => Self::F16,
            BlockType::BF16 => Self::Bf16,
            BlockType::Q4_0 => Self::Nibble,
            BlockType::Q4K => Self::NibbleK,
            BlockType::Q8_0 => Self::Byte { zero: 128 },
            BlockType::Q5_0 => Self::Byte { zero: 16 },
            BlockType::Q5K => Self::FiveBitK,
            BlockType::Q6K => Self::SixBitK,
            BlockType::Q3K => Self::ByteK16 { zero: 4 },
            BlockType::Q2K => Self::Affine16,
            BlockType::Q4_1 | BlockType::Q5_1 | BlockType::IQ4NL | BlockType::MXFP4 => {
                Self::Affine32
            }
        }
    }

    /// Inputs in a superblock.
    pub fn superblock_inputs(self) -> usize {
        match self {
            Self::NibbleK | Self::FiveBitK | Self::SixBitK | Self::ByteK16 { .. } => 256,
            _ => 64,
        }
    }

    /// Bytes of a superblock before its codes.
    pub fn header_bytes(self) -> usize {
        match self {
            Self::Nibble | Self::Byte { .. } => 2 * LANES * 2,
            Self::NibbleK | Self::FiveBitK | Self::SixBitK | Self::ByteK16 { .. } => {
                2 * LANES * 2 + 16 * LANES
            }
            Self::Affine32 => 2 * 2 * LANES * 4,
            Self::Affine16 => 2 * 4 * LANES * 4,
            Self::F16 | Self::Bf16 | Self::F32 => 0,
        }
    }

    /// Bytes of a superblock of a panel.
    pub fn superblock_bytes(self) -> usize {
        let values = self.superblock_inputs() * LANES;
        let code_bytes = match self {
            Self::Nibble | Self::NibbleK => values / 2,
            Self::FiveBitK => values / 2 + values / 8,
            Self::SixBitK => values / 2 + values / 4,
            Self::F16 | Self::Bf16 => values * 2,
            Self::F32 => values * 4,
            _ => values,
        };
        self.header_bytes() + code_bytes
    }

    /// Superblocks along `columns` inputs, the last one padded.
    pub fn superblocks(self, columns: usize) -> usize {
        columns.div_ceil(self.superblock_inputs())
    }

    /// Bytes of a panel of `columns` inputs.
    pub fn panel_bytes(self, columns: usize) -> usize {
        self.superblocks(columns) * self.superblock_bytes()
    }

    /// Whether the activations are quantised to int8 for it.
    pub fn is_integer(self) -> bool {
        !matches!(self, Self::F16 | Self::Bf16 | Self::F32)
    }
}

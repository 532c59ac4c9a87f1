//! GGUF, the single-file format of llama.cpp: typed metadata, then tensors. Versions 2 and 3 are read, 3 is written.
//!
//! Reading copies nothing: [`Gguf`] borrows the file's bytes. Every count is checked against the bytes that remain before it is
//! believed, so that a damaged file costs one error and no memory.

mod cursor;
mod read;
#[cfg(test)]
mod tests;
mod value;
mod write;

pub(crate) use read::tensor_bytes;
pub use read::{Gguf, TensorInfo};
pub use value::{Array, Value, ValueKind};
pub use write::{Metadata, TensorHeader, Writer};

/// Tensor data begins at a multiple of this, and so does every tensor, unless `general.alignment` says otherwise.
pub const DEFAULT_ALIGNMENT: u64 = 32;

const MAGIC: [u8; 4] = *b"GGUF";

/// What ggml calls its tensor types, those that we cannot read included, to say which one was found.
const TYPE_NAMES: [(u32, &str); 24] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4 (withdrawn)"),
    (32, "Q4_0_4_8 (withdrawn)"),
    (33, "Q4_0_8_8 (withdrawn)"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4 (withdrawn)"),
    (40, "NVFP4"),
    (41, "Q1_0"),
    (42, "Q2_0"),
];

fn unsupported_type_name(id: u32) -> String {
    let known = TYPE_NAMES.iter().find(|(known, _)| *known == id);
    known.map_or_else(|| format!("ggml type {id}"), |(_, name)| (*name).to_owned())
}

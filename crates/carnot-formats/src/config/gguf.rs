//! The configuration in a GGUF file's metadata.

use carnot_kernels::blocks::{BlockType, dequantize};

use super::{Architecture, ModelConfig, Rope, RopeScaling, RopeStyle};
use crate::error::Error;
use crate::gguf::Gguf;

/// Reads the configuration; `bytes` are the whole file's.
pub(crate) fn read(gguf: &Gguf, bytes: &[u8]) -> Result<ModelConfig, Error> {
    let name = gguf.str("general.architecture")?;
    let architecture = match name {
        "llama" => Architecture::Llama,
        "qwen2" => Architecture::Qwen2,
        "qwen3" => Architecture::Qwen3,
        other => {
            return Err(gguf.file().unsupported(
                "architecture",
                other,
                "llama, qwen2 and qwen3 are",
            ));
        }
    };
    let key = |suffix: &str| format!("{name}.{suffix}");
    refuse_experts(gguf, &key("expert_count"))?;
    let heads = gguf.usize(&key("attention.head_count"))?;
    let hidden = gguf.usize(&key("embedding_length"))?;
    let head_dim = gguf
        .optional_usize(&key("attention.key_length"))?
        .unwrap_or(hidden / heads.max(1));
    let value_length = gguf
        .optional_usize(&key("attention.value_length"))?
        .unwrap_or(head_dim);
    if value_length != head_dim {
        return Err(gguf
            .file()
            .malformed(key("attention.value_length"), head_dim, value_length));
    }
    let embedding = gguf
        .tensors
        .iter()
        .find(|tensor| tensor.name == "token_embd.weight");
    let epsilon = key("attention.layer_norm_rms_epsilon");
    Ok(ModelConfig {
        architecture,
        vocabulary: embedding.map_or(0, |tensor| tensor.shape[0]),
        hidden,
        layers: gguf.usize(&key("block_count"))?,
        heads,
        kv_heads: gguf
            .optional_usize(&key("attention.head_count_kv"))?
            .unwrap_or(heads),
        head_dim,
        feed_forward: gguf.usize(&key("feed_forward_length"))?,
        context_length: gguf.usize(&key("context_length"))?,
        rms_norm_epsilon: gguf
            .optional_f32(&epsilon)?
            .ok_or_else(|| gguf.missing(&epsilon, "a number"))?,
        rope: rope(gguf, bytes, architecture, head_dim)?,
        tied_embeddings: !gguf
            .tensors
            .iter()
            .any(|tensor| tensor.name == "output.weight"),
        sliding_window: gguf
            .optional_usize(&key("attention.sliding_window"))?
            .filter(|window| *window > 0),
    })
}

fn refuse_experts(gguf: &Gguf, key: &str) -> Result<(), Error> {
    match gguf.optional_usize(key)? {
        None | Some(0) => Ok(()),
        Some(experts) => {
            Err(gguf
                .file()
                .unsupported("mixture of experts", experts, "dense models are"))
        }
    }
}

fn rope(
    gguf: &Gguf,
    bytes: &[u8],
    architecture: Architecture,
    head_dim: usize,
) -> Result<Rope, Error> {
    let key = |suffix: &str| format!("{}.rope.{suffix}", architecture.gguf_name());
    let style = if architecture == Architecture::Llama {
        RopeStyle::Interleaved
    } else {
        RopeStyle::Half
    };
    Ok(Rope {
        theta: gguf.optional_f32(&key("freq_base"))?.unwrap_or(10_000.0),
        dimension: gguf
            .optional_usize(&key("dimension_count"))?
            .unwrap_or(head_dim),
        style,
        scaling: scaling(gguf, key)?,
        frequency_factors: frequency_factors(gguf, bytes)?,
    })
}

fn scaling(gguf: &Gguf, key: impl Fn(&str) -> String) -> Result<RopeScaling, Error> {
    let legacy = gguf.optional_f32(&key("scale_linear"))?;
    let factor = gguf
        .optional_f32(&key("scaling.factor"))?
        .or(legacy)
        .unwrap_or(1.0);
    match gguf.optional_str(&key("scaling.type"))? {
        Some("linear") => Ok(RopeScaling::Linear { factor }),
        None if legacy.is_some_and(|factor| factor != 1.0) => Ok(RopeScaling::Linear { factor }),
        None | Some("none") => Ok(RopeScaling::None),
        Some(other) => {
            Err(gguf
                .file()
                .unsupported("rope scaling", other, "none, linear and llama3 are"))
        }
    }
}

fn frequency_factors(gguf: &Gguf, bytes: &[u8]) -> Result<Option<Vec<f32>>, Error> {
    let Some(tensor) = gguf
        .tensors
        .iter()
        .find(|tensor| tensor.name == "rope_freqs.weight")
    else {
        return Ok(None);
    };
    if tensor.dtype != BlockType::F32 || tensor.shape.len() != 1 {
        let found = format!("{:?} of {}", tensor.shape, tensor.dtype);
        return Err(gguf
            .file()
            .malformed("rope_freqs.weight", "a vector of F32", found));
    }
    let mut factors = vec![0.0; tensor.shape[0]];
    dequantize(BlockType::F32, &bytes[tensor.data.clone()], &mut factors);
    Ok(Some(factors))
}

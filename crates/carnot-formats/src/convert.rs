//! Any model to one GGUF file that llama.cpp loads: names, row order, metadata and vocabulary as its own converter writes them.
//!
//! Vectors are stored as F32. Matrices take the type asked for; the embedding and the output projection, which lose most by
//! rounding, get at least `Q6_K` (`Q8_0` where rows are not whole blocks of 256); a matrix whose rows do not fit the type falls back
//! to `Q8_0`, or `F16` if even that does not fit.

use std::io::Write;

use carnot_kernels::blocks::{BlockType, dequantize, quantize};

use crate::config::{Architecture, ModelConfig, RopeScaling, RopeStyle};
use crate::error::{Error, File};
use crate::gguf::{Metadata, TensorHeader, Writer};
use crate::model::{ModelFile, TensorView};
use crate::tokenizer::listing::Listing;

/// Writes `model` with its matrices stored as `dtype`. Holds one tensor at a time.
pub fn to_gguf(model: &ModelFile, dtype: BlockType, out: impl Write) -> Result<(), Error> {
    let config = model.config();
    let mut metadata = Metadata::new();
    describe(config, model.name(), dtype, &mut metadata);
    model.vocabulary_listing()?.write(&mut metadata);
    if let Some(template) = model.chat_template_source()? {
        metadata.string("tokenizer.chat_template", &template);
    }
    let factors = config.rope.factors();
    let sources: Vec<TensorView> = config
        .tensors()
        .filter_map(|spec| model.optional_tensor(&spec.name))
        .collect();
    let sources: Vec<TensorView> = sources
        .into_iter()
        .filter(|tensor| tensor.name != ROPE_FACTORS)
        .collect();
    let mut headers: Vec<TensorHeader> = factors
        .iter()
        .map(|factors| factors_header(factors.len()))
        .collect();
    headers.extend(sources.iter().map(|source| TensorHeader {
        name: source.name.to_owned(),
        shape: source.shape.clone(),
        dtype: stored_type(source.name, &source.shape, dtype),
    }));
    let mut writer = Writer::new(out, &metadata, &headers)?;
    if let Some(factors) = factors {
        writer.write(&encode(BlockType::F32, &factors))?;
    }
    for source in sources {
        let stored = stored_type(source.name, &source.shape, dtype);
        writer.write(&recode(config, &source, stored))?;
    }
    writer.finish()?;
    Ok(())
}

pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";

fn factors_header(length: usize) -> TensorHeader {
    TensorHeader {
        name: ROPE_FACTORS.to_owned(),
        shape: vec![length],
        dtype: BlockType::F32,
    }
}

/// How a tensor is stored when matrices are asked for as `dtype`.
pub(crate) fn stored_type(name: &str, shape: &[usize], dtype: BlockType) -> BlockType {
    let [_, row] = shape else {
        return BlockType::F32;
    };
    let fits = |candidate: &BlockType| row.is_multiple_of(candidate.block_len());
    let coarse = dtype.is_quantized() && dtype != BlockType::Q8_0;
    let careful = coarse && matches!(name, "token_embd.weight" | "output.weight");
    let first = if careful { BlockType::Q6K } else { dtype };
    [first, BlockType::Q8_0]
        .into_iter()
        .find(fits)
        .unwrap_or(BlockType::F16)
}

fn encode(dtype: BlockType, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; dtype.row_bytes(values.len())];
    quantize(dtype, values, &mut bytes);
    bytes
}

/// The tensor's bytes as they will be stored: rows reordered if need be, then the type changed if it differs.
fn recode(config: &ModelConfig, source: &TensorView, dtype: BlockType) -> Vec<u8> {
    let row_bytes = source
        .dtype
        .row_bytes(*source.shape.last().expect("shapes were checked"));
    let data = match permuted_heads(config, source.name) {
        Some(heads) => interleave(
            source.data,
            source.data.len() / heads,
            if source.shape.len() == 1 {
                source.dtype.block_bytes()
            } else {
                row_bytes
            },
        ),
        None => source.data.to_vec(),
    };
    if source.dtype == dtype {
        return data;
    }
    let mut values = vec![0.0; source.elements()];
    dequantize(source.dtype, &data, &mut values);
    encode(dtype, &values)
}

/// Query and key rows of llama models are stored for interleaved rotation: the heads to permute, if this tensor has any.
fn permuted_heads(config: &ModelConfig, name: &str) -> Option<usize> {
    let llama = matches!(
        config.architecture,
        Architecture::Llama | Architecture::Mistral
    );
    if !llama || config.rope.style == RopeStyle::Interleaved {
        return None;
    }
    match name.rsplit_once('.')?.0.rsplit_once('.')?.1 {
        "attn_q" => Some(config.heads),
        "attn_k" => Some(config.kv_heads),
        _ => None,
    }
}

/// Within each head, rows `i` and `i + half` become neighbours.
fn interleave(data: &[u8], head_bytes: usize, row_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    for head in data.chunks_exact(head_bytes) {
        let (first, second) = head.split_at(head_bytes / 2);
        for (first, second) in first
            .chunks_exact(row_bytes)
            .zip(second.chunks_exact(row_bytes))
        {
            out.extend_from_slice(first);
            out.extend_from_slice(second);
        }
    }
    out
}

/// Everything but the tokenizer.
pub(crate) fn describe(
    config: &ModelConfig,
    name: &str,
    dtype: BlockType,
    metadata: &mut Metadata,
) {
    let architecture = config.architecture.gguf_name();
    let key = |suffix: &str| format!("{architecture}.{suffix}");
    metadata.string("general.architecture", architecture);
    metadata.string("general.type", "model");
    metadata.string("general.name", name);
    metadata.u32("general.file_type", file_type(dtype));
    metadata.u32("general.quantization_version", 2);
    let sizes = [
        ("vocab_size", config.vocabulary),
        ("context_length", config.context_length),
        ("embedding_length", config.hidden),
        ("block_count", config.layers),
        ("feed_forward_length", config.feed_forward),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.rope.dimension),
    ];
    for (suffix, size) in sizes {
        metadata.u32(&key(suffix), size as u32);
    }
    metadata.f32(
        &key("attention.layer_norm_rms_epsilon"),
        config.rms_norm_epsilon,
    );
    metadata.f32(&key("rope.freq_base"), config.rope.theta);
    if let RopeScaling::Linear { factor } = config.rope.scaling {
        metadata.string(&key("rope.scaling.type"), "linear");
        metadata.f32(&key("rope.scaling.factor"), factor);
    }
    if let Some(window) = config.sliding_window {
        metadata.u32(&key("attention.sliding_window"), window as u32);
    }
}

/// llama.cpp's number for "mostly" this type.
fn file_type(dtype: BlockType) -> u32 {
    match dtype {
        BlockType::F32 => 0,
        BlockType::Q4_0 => 2,
        BlockType::Q4_1 => 3,
        BlockType::Q8_0 => 7,
        BlockType::Q5_0 => 8,
        BlockType::Q5_1 => 9,
        BlockType::Q2K => 10,
        BlockType::Q3K => 12,
        BlockType::Q4K => 15,
        BlockType::Q5K => 17,
        BlockType::Q6K => 18,
        BlockType::IQ4NL => 25,
        BlockType::BF16 => 32,
        BlockType::MXFP4 => 38,
        _ => 1,
    }
}

impl ModelFile {
    fn vocabulary_listing(&self) -> Result<Listing, Error> {
        let mut listing = self.listing()?;
        let rows = self.config().vocabulary;
        if listing.tokens.len() > rows {
            let expected = format!("at most the {rows} rows of the embedding");
            return Err(File(self.name()).malformed("tokenizer", expected, listing.tokens.len()));
        }
        listing.pad(rows);
        Ok(listing)
    }
}

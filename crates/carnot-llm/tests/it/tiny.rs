//! Models of two layers and random weights, one of each architecture and storage type, the same on every machine.
//!
//! Matrices are random blocks with scales that make the values of the size of an initialised model's. No quantiser is involved, so
//! the goldens stay true when one gets better.

use std::sync::Arc;

use carnot_formats::gguf::{Metadata, TensorHeader, Writer};
use carnot_formats::{
    Architecture, BlockType, ModelConfig, ModelFile, Rope, RopeScaling, RopeStyle,
};
use half::f16;

pub const VOCABULARY: usize = 320;
pub const ARCHITECTURES: [Architecture; 4] = [
    Architecture::Llama,
    Architecture::Mistral,
    Architecture::Qwen2,
    Architecture::Qwen3,
];
pub const TYPES: [BlockType; 7] = [
    BlockType::F32,
    BlockType::F16,
    BlockType::Q8_0,
    BlockType::Q4_0,
    BlockType::Q4K,
    BlockType::Q5K,
    BlockType::Q6K,
];
const WIDTH: usize = 256;

/// Such as `qwen2-Q4_K`.
pub fn name(architecture: Architecture, dtype: BlockType) -> String {
    format!("{architecture:?}-{dtype}").to_lowercase()
}

/// The model, opened.
pub fn model(architecture: Architecture, dtype: BlockType) -> Arc<ModelFile> {
    let bytes = gguf(architecture, dtype);
    Arc::new(ModelFile::from_gguf_bytes(&name(architecture, dtype), bytes).unwrap())
}

/// Each architecture differs from the others in more than its own speciality: group sizes, head sizes, tied or not.
fn config(architecture: Architecture) -> ModelConfig {
    let (heads, kv_heads, head_dim) = match architecture {
        Architecture::Mistral => (8, 2, 32),
        Architecture::Qwen2 => (4, 2, 64),
        // Queries wider than the residual stream.
        Architecture::Qwen3 => (4, 2, 128),
        _ => (8, 4, 32),
    };
    let style = match architecture.gguf_name() {
        "llama" => RopeStyle::Interleaved,
        _ => RopeStyle::Half,
    };
    // As the files of Llama 3.1 have them: kept, blended, stretched.
    let factors = (0..head_dim / 2).map(|pair| (pair as f32 - 3.0).clamp(1.0, 8.0));
    let is_llama = architecture == Architecture::Llama;
    ModelConfig {
        architecture,
        vocabulary: VOCABULARY,
        hidden: WIDTH,
        layers: 2,
        heads,
        kv_heads,
        head_dim,
        feed_forward: 512,
        context_length: 256,
        rms_norm_epsilon: if is_llama { 1e-5 } else { 1e-6 },
        rope: Rope {
            theta: if is_llama { 500_000.0 } else { 10_000.0 },
            dimension: head_dim,
            style,
            scaling: RopeScaling::None,
            frequency_factors: is_llama.then(|| factors.collect()),
        },
        tied_embeddings: !matches!(architecture, Architecture::Mistral | Architecture::Qwen3),
        sliding_window: (architecture == Architecture::Mistral).then_some(19),
    }
}

/// The bytes of the file.
pub fn gguf(architecture: Architecture, dtype: BlockType) -> Vec<u8> {
    write(&config(architecture), dtype)
}

/// A model whose heads have 20 values, which is not a whole number of vectors of any kernel.
pub fn gguf_of_odd_heads() -> Vec<u8> {
    let mut config = config(Architecture::Mistral);
    config.head_dim = 20;
    config.rope.dimension = 20;
    write(&config, BlockType::F32)
}

fn write(config: &ModelConfig, dtype: BlockType) -> Vec<u8> {
    let headers: Vec<TensorHeader> = config
        .tensors()
        .filter(|spec| spec.required || config.rope.frequency_factors.is_some())
        .filter(|spec| spec.required || spec.name == "rope_freqs.weight")
        .map(|spec| TensorHeader {
            dtype: if spec.shape.len() == 1 {
                BlockType::F32
            } else {
                dtype
            },
            name: spec.name,
            shape: spec.shape,
        })
        .collect();
    let mut writer = Writer::new(Vec::new(), &metadata(config), &headers).unwrap();
    let mut random = Random(dtype.ggml_id().into());
    for header in &headers {
        let bytes = match header.shape.as_slice() {
            [length] => vector(&header.name, *length, config, &mut random),
            _ => matrix(header, &mut random),
        };
        writer.write(&bytes).unwrap();
    }
    writer.finish().unwrap()
}

fn metadata(config: &ModelConfig) -> Metadata {
    let architecture = config.architecture.gguf_name();
    let key = |suffix: &str| format!("{architecture}.{suffix}");
    let mut metadata = Metadata::new();
    metadata.string("general.architecture", architecture);
    for (suffix, size) in [
        ("context_length", config.context_length),
        ("embedding_length", config.hidden),
        ("block_count", config.layers),
        ("feed_forward_length", config.feed_forward),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.rope.dimension),
    ] {
        metadata.u32(&key(suffix), size as u32);
    }
    if let Some(window) = config.sliding_window {
        metadata.u32(&key("attention.sliding_window"), window as u32);
    }
    metadata.f32(
        &key("attention.layer_norm_rms_epsilon"),
        config.rms_norm_epsilon,
    );
    metadata.f32(&key("rope.freq_base"), config.rope.theta);
    metadata
}

/// Norms near one, biases near nothing.
fn vector(name: &str, length: usize, config: &ModelConfig, random: &mut Random) -> Vec<u8> {
    let mut value = || match &name[name.rfind('.').unwrap()..] {
        ".bias" => 0.3 * random.normal(),
        _ => 1.0 + 0.2 * random.normal(),
    };
    let values: Vec<f32> = match &config.rope.frequency_factors {
        Some(factors) if name == "rope_freqs.weight" => factors.clone(),
        _ => (0..length).map(|_| value()).collect(),
    };
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn matrix(header: &TensorHeader, random: &mut Random) -> Vec<u8> {
    let &[rows, columns] = header.shape.as_slice() else {
        unreachable!("vectors are made elsewhere");
    };
    let deviation = (columns as f32).sqrt().recip();
    let blocks = rows * columns / header.dtype.block_len();
    (0..blocks)
        .flat_map(|_| block(header.dtype, deviation, random))
        .collect()
}

/// A block whose values have about the standard deviation `deviation` and nearly no mean.
fn block(dtype: BlockType, deviation: f32, random: &mut Random) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..dtype.block_bytes())
        .map(|_| (random.next() >> 56) as u8)
        .collect();
    let mut scale = |at: usize, value: f32| {
        bytes[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
    };
    let spread = 0.75 + 0.5 * random.uniform();
    match dtype {
        BlockType::F32 => return (deviation * random.normal()).to_le_bytes().to_vec(),
        BlockType::F16 => scale(0, deviation * random.normal()),
        BlockType::Q8_0 => scale(0, deviation * spread / 74.0),
        BlockType::Q4_0 => scale(0, deviation * spread / 4.6),
        BlockType::Q4K => {
            let d = deviation * spread / 258.0;
            scale(0, d);
            scale(2, 7.5 * d);
        }
        BlockType::Q5K => {
            let d = deviation * spread / 526.0;
            scale(0, d);
            scale(2, 15.5 * d);
        }
        BlockType::Q6K => scale(208, deviation * spread / 1366.0),
        other => unreachable!("no tiny model is stored as {other}"),
    }
    bytes
}

/// Sebastiano Vigna's splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// From 0 to 1.
    fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// Nearly normal, of mean 0 and deviation 1: the sum of four uniform numbers.
    fn normal(&mut self) -> f32 {
        let sum: f32 = (0..4).map(|_| self.uniform()).sum();
        (sum - 2.0) * 3_f32.sqrt()
    }
}

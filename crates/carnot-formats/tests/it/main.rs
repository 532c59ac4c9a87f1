//! The crate from outside, on the model that is built into Carnot.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod conversion;
mod embedded;
mod mutation;
mod refusal;
mod sentencepiece;

use std::path::PathBuf;

use carnot_formats::gguf::{Metadata, TensorHeader, Writer};
use carnot_formats::{BlockType, ModelConfig, ModelFile, Rope, RopeScaling};

fn models() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

fn embedded() -> ModelFile {
    ModelFile::open(&models().join("embedded")).expect("the embedded model is sound")
}

/// The smallest model of its kind.
fn tiny_config(like: ModelConfig) -> ModelConfig {
    let rope = Rope {
        dimension: 4,
        scaling: RopeScaling::None,
        ..like.rope
    };
    let (hidden, heads, kv_heads, head_dim, feed_forward) = (8, 2, 1, 4, 4);
    ModelConfig {
        layers: 1,
        hidden,
        heads,
        kv_heads,
        head_dim,
        feed_forward,
        rope,
        tied_embeddings: true,
        ..like
    }
}

/// A GGUF file of `config`'s shape, its tensors zero, with `tokenizer`'s metadata.
fn tiny_gguf(config: &ModelConfig, tokenizer: Metadata) -> Vec<u8> {
    let mut metadata = tokenizer;
    let architecture = config.architecture.gguf_name();
    metadata.string("general.architecture", architecture);
    let sizes = [
        ("context_length", config.context_length),
        ("embedding_length", config.hidden),
        ("block_count", config.layers),
        ("feed_forward_length", config.feed_forward),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
    ];
    for (suffix, size) in sizes {
        metadata.u32(&format!("{architecture}.{suffix}"), size as u32);
    }
    metadata.f32(
        &format!("{architecture}.attention.layer_norm_rms_epsilon"),
        1e-5,
    );
    let required = config.tensors().filter(|spec| spec.required);
    let headers: Vec<TensorHeader> = required
        .map(|spec| TensorHeader {
            name: spec.name,
            shape: spec.shape,
            dtype: BlockType::F32,
        })
        .collect();
    let mut writer = Writer::new(Vec::new(), &metadata, &headers).unwrap();
    for header in &headers {
        writer.write(&vec![0; header.bytes()]).unwrap();
    }
    writer.finish().unwrap()
}

fn tiny_model(config: &ModelConfig, tokenizer: Metadata) -> ModelFile {
    ModelFile::from_gguf_bytes("tiny", tiny_gguf(config, tokenizer)).unwrap()
}

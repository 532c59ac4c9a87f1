//! Models that are sound files but wrong models: refused when opened, with the tensor or the key that is wrong.

use std::collections::BTreeMap;
use std::path::Path;

use carnot_formats::gguf::{Metadata, TensorHeader, Writer};
use carnot_formats::synth::Preset;
use carnot_formats::{Architecture, BlockType, ModelConfig, ModelFile, safetensors};

use crate::{tiny_config, tiny_gguf};

fn config(architecture: Architecture) -> ModelConfig {
    tiny_config(ModelConfig {
        vocabulary: 12,
        ..Preset::M150.config(architecture)
    })
}

fn open(config: &ModelConfig, metadata: Metadata) -> Result<ModelFile, String> {
    ModelFile::from_gguf_bytes("m", tiny_gguf(config, metadata)).map_err(|error| error.to_string())
}

fn refusal(metadata: impl FnOnce(&mut Metadata)) -> String {
    let mut extra = Metadata::new();
    metadata(&mut extra);
    open(&config(Architecture::Llama), extra).expect_err("the model is wrong")
}

#[test]
fn settings_that_change_the_arithmetic_are_not_ignored() {
    let yarn = refusal(|metadata| metadata.string("llama.rope.scaling.type", "yarn"));
    assert_eq!(
        yarn,
        "m: rope scaling yarn is not supported (none, linear and llama3 are)"
    );
    let experts = refusal(|metadata| metadata.u32("llama.expert_count", 8));
    assert_eq!(
        experts,
        "m: mixture of experts 8 is not supported (dense models are)"
    );
    let value = refusal(|metadata| metadata.u32("llama.attention.value_length", 8));
    assert_eq!(
        value,
        "m: llama.attention.value_length: expected 4, found 8"
    );
    let rope = refusal(|metadata| metadata.u32("llama.rope.dimension_count", 3));
    assert_eq!(
        rope,
        "m: rope dimension: expected even, at most the head size 4, found 3"
    );
    let theta = refusal(|metadata| metadata.f32("llama.rope.freq_base", f32::NAN));
    assert_eq!(
        theta,
        "m: llama.rope.freq_base: expected a finite number, found NaN"
    );
    let kind = refusal(|metadata| metadata.string("llama.rope.dimension_count", "4"));
    assert_eq!(
        kind,
        "m: llama.rope.dimension_count: expected a whole number below 2^31, found \"4\""
    );
    let heads = refusal(|metadata| {
        metadata.u32("llama.attention.key_length", 8);
        metadata.u32("llama.attention.value_length", 8);
    });
    assert_eq!(
        heads,
        "m: shape of blk.0.attn_q.weight: expected [16, 8], found [8, 8]"
    );
}

/// A llama file of these tensors only.
fn with_tensors(change: impl FnOnce(&mut Vec<TensorHeader>)) -> String {
    let config = config(Architecture::Llama);
    let required = config.tensors().filter(|spec| spec.required);
    let mut headers: Vec<TensorHeader> = required
        .map(|spec| TensorHeader {
            name: spec.name,
            shape: spec.shape,
            dtype: BlockType::F32,
        })
        .collect();
    change(&mut headers);
    let mut metadata = Metadata::new();
    metadata.string("general.architecture", "llama");
    for (key, value) in [
        ("context_length", 8),
        ("embedding_length", 8),
        ("block_count", 1),
        ("feed_forward_length", 4),
    ] {
        metadata.u32(&format!("llama.{key}"), value);
    }
    metadata.u32("llama.attention.head_count", 2);
    metadata.u32("llama.attention.head_count_kv", 1);
    metadata.f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    let mut writer = Writer::new(Vec::new(), &metadata, &headers).unwrap();
    for header in &headers {
        writer.write(&vec![0; header.bytes()]).unwrap();
    }
    let error =
        ModelFile::from_gguf_bytes("m", writer.finish().unwrap()).expect_err("the model is wrong");
    error.to_string()
}

#[test]
fn every_tensor_is_there_of_the_right_shape_and_no_other() {
    let missing =
        with_tensors(|tensors| tensors.retain(|tensor| tensor.name != "blk.0.ffn_up.weight"));
    assert_eq!(missing, "m: no tensor blk.0.ffn_up.weight");
    let embedding =
        with_tensors(|tensors| tensors.retain(|tensor| tensor.name != "token_embd.weight"));
    assert_eq!(embedding, "m: no tensor token_embd.weight");
    let shape = with_tensors(|tensors| tensors.last_mut().unwrap().shape = vec![4, 8]);
    assert_eq!(
        shape,
        "m: shape of blk.0.ffn_down.weight: expected [8, 4], found [4, 8]"
    );
    let extra = with_tensors(|tensors| {
        tensors.push(TensorHeader {
            name: "blk.0.attn_output.bias".to_owned(),
            shape: vec![8],
            dtype: BlockType::F32,
        });
    });
    assert_eq!(
        extra,
        "m: tensor blk.0.attn_output.bias is not supported (the architecture has no such part)"
    );
    let norm = with_tensors(|tensors| {
        let norm = tensors
            .iter_mut()
            .find(|tensor| tensor.name == "output_norm.weight")
            .unwrap();
        (norm.shape, norm.dtype) = (vec![32], BlockType::Q8_0);
    });
    assert_eq!(
        norm,
        "m: shape of output_norm.weight: expected [8], found [32]"
    );
}

#[test]
fn other_architectures_are_named() {
    let mut metadata = Metadata::new();
    metadata.string("general.architecture", "gemma3");
    let bytes = Writer::new(Vec::new(), &metadata, &[])
        .unwrap()
        .finish()
        .unwrap();
    let error = ModelFile::from_gguf_bytes("m", bytes)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "m: architecture gemma3 is not supported (llama, qwen2 and qwen3 are)"
    );
    let bytes = Writer::new(Vec::new(), &Metadata::new(), &[])
        .unwrap()
        .finish()
        .unwrap();
    let error = ModelFile::from_gguf_bytes("m", bytes)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "m: general.architecture: expected a string, found no such key"
    );
}

/// Writes a qwen2 model of Hugging Face's names as `shards` files, with an index if there are several.
fn write_qwen2(directory: &Path, shards: usize) {
    let config = config(Architecture::Qwen2);
    let name = |name: &str| {
        let name = name
            .replace("token_embd", "model.embed_tokens")
            .replace("output_norm", "model.norm")
            .replace("blk.", "model.layers.");
        let parts = [
            ("attn_norm", "input_layernorm"),
            ("ffn_norm", "post_attention_layernorm"),
            ("attn_output", "self_attn.o_proj"),
        ];
        let name = parts
            .iter()
            .fold(name, |name, (from, to)| name.replace(from, to));
        let name = ["q", "k", "v"].iter().fold(name, |name, part| {
            name.replace(&format!("attn_{part}."), &format!("self_attn.{part}_proj."))
        });
        ["gate", "up", "down"].iter().fold(name, |name, part| {
            name.replace(&format!("ffn_{part}"), &format!("mlp.{part}_proj"))
        })
    };
    let specs: Vec<_> = config
        .tensors()
        .filter(|spec| spec.required)
        .map(|spec| (name(&spec.name), spec.shape))
        .collect();
    let mut map = BTreeMap::new();
    for (shard, specs) in specs.chunks(specs.len().div_ceil(shards)).enumerate() {
        let file = if shards == 1 {
            "model.safetensors".to_owned()
        } else {
            format!("model-{shard}.safetensors")
        };
        let data: Vec<Vec<u8>> = specs
            .iter()
            .map(|(_, shape)| vec![shard as u8; 2 * shape.iter().product::<usize>()])
            .collect();
        let tensors: Vec<_> = specs
            .iter()
            .zip(&data)
            .map(|((name, shape), data)| safetensors::Tensor {
                name,
                shape,
                dtype: BlockType::BF16,
                data,
            })
            .collect();
        safetensors::write(
            &tensors,
            &BTreeMap::new(),
            std::fs::File::create(directory.join(&file)).unwrap(),
        )
        .unwrap();
        map.extend(specs.iter().map(|(name, _)| (name.clone(), file.clone())));
    }
    if shards > 1 {
        let index = serde_json::json!({"metadata": {}, "weight_map": map});
        std::fs::write(
            directory.join("model.safetensors.index.json"),
            index.to_string(),
        )
        .unwrap();
    }
    let json = serde_json::json!({"model_type": "qwen2", "hidden_size": 8, "intermediate_size": 4, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "vocab_size": 12,
        "rope_theta": 1e6, "tie_word_embeddings": true});
    std::fs::write(directory.join("config.json"), json.to_string()).unwrap();
}

#[test]
fn shards_are_one_model() {
    for shards in [1, 3] {
        let directory = tempfile::tempdir().unwrap();
        write_qwen2(directory.path(), shards);
        let model = ModelFile::open(directory.path()).unwrap();
        assert_eq!(
            model.tensors().count(),
            config(Architecture::Qwen2)
                .tensors()
                .filter(|spec| spec.required)
                .count()
        );
        let last = model.tensor("blk.0.ffn_down.weight").unwrap();
        assert_eq!(
            (last.dtype, last.data[0]),
            (BlockType::BF16, shards as u8 - 1)
        );
        assert_eq!(model.tensor("blk.0.attn_k.bias").unwrap().shape, [4]);
    }
}

#[test]
fn a_missing_shard_is_named() {
    let directory = tempfile::tempdir().unwrap();
    write_qwen2(directory.path(), 2);
    std::fs::remove_file(directory.path().join("model-1.safetensors")).unwrap();
    let error = ModelFile::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("model-1.safetensors: "), "{error}");
}

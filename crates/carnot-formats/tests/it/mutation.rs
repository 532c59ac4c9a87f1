//! Damaged files of every kind, some thousands of each, from a fixed seed: an error or a model, never a panic.
//!
//! The same readers have coverage-guided fuzz targets in `fuzz/`; this is what runs everywhere.

use carnot_formats::gguf::Metadata;
use carnot_formats::synth::Preset;
use carnot_formats::{Architecture, BlockType, ModelConfig, ModelFile, Tokenizer, safetensors};

use crate::{models, tiny_config, tiny_gguf};

/// Marsaglia's xorshift, which needs nothing.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// Lengths and counts that break arithmetic, little-endian.
const EXTREMES: [u64; 8] = [
    0,
    1,
    0x7f,
    0xffff_ffff,
    1 << 31,
    u64::MAX,
    u64::MAX / 2,
    u64::MAX / 32,
];

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte ^= 1 << random.below(8)),
            2 => bytes
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte = random.below(256) as u8),
            3 => {
                let extreme = EXTREMES[random.below(EXTREMES.len())].to_le_bytes();
                let width = [1, 2, 4, 8][random.below(4)];
                bytes
                    .iter_mut()
                    .skip(at)
                    .zip(extreme)
                    .take(width)
                    .for_each(|(byte, new)| *byte = new);
            }
            4 => {
                let piece: Vec<u8> = bytes
                    .iter()
                    .skip(at)
                    .take(1 + random.below(24))
                    .copied()
                    .collect();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => {
                let end = (at + random.below(24)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
}

/// Feeds `count` mutations to `read`; some must be refused, or the mutations do not reach what is checked.
fn survives(seed: u64, sound: &[u8], count: usize, read: impl Fn(&[u8]) -> bool) {
    assert!(read(sound), "the file that is damaged is sound");
    let mut random = Random(seed);
    let mut refused = 0;
    for _ in 0..count {
        let mut bytes = sound.to_vec();
        mutate(&mut random, &mut bytes);
        refused += usize::from(!read(&bytes));
    }
    assert!(refused > count / 10, "{refused} of {count} refused");
}

/// Uses everything of a model that is built from its bytes.
fn use_model(bytes: &[u8]) -> bool {
    let Ok(model) = ModelFile::from_gguf_bytes("m", bytes.to_vec()) else {
        return false;
    };
    let weights: usize = model.tensors().map(|tensor| tensor.to_f32().len()).sum();
    assert_eq!(weights as u64, model.parameters());
    assert_eq!(
        model.config().rope.frequencies().len(),
        model.config().rope.dimension / 2
    );
    let _ = model.chat_template();
    model
        .tokenizer()
        .is_ok_and(|tokenizer| use_tokenizer(&tokenizer))
}

fn use_tokenizer(tokenizer: &Tokenizer) -> bool {
    let Ok(ids) = tokenizer.encode("def f(x): return 'é' <|end|> abc  12\n", true) else {
        return false;
    };
    (0..tokenizer.vocabulary_size().min(1000) as u32)
        .for_each(|id| drop(tokenizer.token_bytes(id)));
    tokenizer.decode(&ids, true).is_ok()
}

fn byte_level_gguf() -> Vec<u8> {
    let tokens = [
        "<|b|>", "<|end|>", "a", "b", "c", "Ġ", "ab", "Ġab", "d", "e", "f", "(", ")", ":", "x",
    ];
    let mut metadata = Metadata::new();
    metadata.string("tokenizer.ggml.model", "gpt2");
    metadata.string("tokenizer.ggml.pre", "gpt-2");
    metadata.strings("tokenizer.ggml.tokens", &tokens);
    metadata.strings("tokenizer.ggml.merges", &["a b", "Ġ ab"]);
    metadata.i32s(
        "tokenizer.ggml.token_type",
        &tokens.map(|token| if token.starts_with("<|") { 3 } else { 1 }),
    );
    metadata.u32("tokenizer.ggml.bos_token_id", 0);
    metadata.u32("tokenizer.ggml.eos_token_id", 1);
    metadata.string(
        "tokenizer.chat_template",
        "{% for m in messages %}{{ m.content }}{% endfor %}",
    );
    let config = tiny_config(Preset::M150.config(Architecture::Qwen3));
    tiny_gguf(
        &ModelConfig {
            vocabulary: tokens.len(),
            ..config
        },
        metadata,
    )
}

fn sentencepiece_gguf() -> Vec<u8> {
    let tokens = [
        "<unk>", "<s>", "</s>", "<0x41>", "▁", "a", "b", "ab", "▁ab", "de", "▁de",
    ];
    let mut metadata = Metadata::new();
    metadata.string("tokenizer.ggml.model", "llama");
    metadata.strings("tokenizer.ggml.tokens", &tokens);
    metadata.f32s(
        "tokenizer.ggml.scores",
        &(0..tokens.len())
            .map(|rank| -(rank as f32))
            .collect::<Vec<_>>(),
    );
    metadata.i32s(
        "tokenizer.ggml.token_type",
        &[2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1],
    );
    metadata.u32("tokenizer.ggml.bos_token_id", 1);
    let config = tiny_config(Preset::M150.config(Architecture::Llama));
    tiny_gguf(
        &ModelConfig {
            vocabulary: tokens.len(),
            ..config
        },
        metadata,
    )
}

#[test]
fn damaged_gguf_files() {
    survives(1, &byte_level_gguf(), 3000, use_model);
}

#[test]
fn damaged_sentencepiece_files() {
    survives(2, &sentencepiece_gguf(), 3000, use_model);
}

/// Damage within the metadata only, where most of the meaning is.
#[test]
fn damaged_gguf_metadata() {
    let sound = byte_level_gguf();
    let header = sound.len().min(1200);
    survives(3, &sound[..header], 3000, |bytes| {
        use_model(&[bytes, &sound[header..]].concat())
    });
}

#[test]
fn damaged_safetensors_files() {
    let mut sound = Vec::new();
    let tensor = |name| safetensors::Tensor {
        name,
        shape: &[2, 2],
        dtype: BlockType::F16,
        data: &[1; 8],
    };
    safetensors::write(&[tensor("a"), tensor("b")], &[].into(), &mut sound).unwrap();
    survives(4, &sound, 5000, |bytes| {
        let Ok(tensors) = safetensors::read("m", bytes) else {
            return false;
        };
        tensors
            .iter()
            .all(|tensor| bytes.get(tensor.data.clone()).is_some())
    });
}

#[test]
fn damaged_configurations() {
    let sound = std::fs::read(models().join("embedded/config.json")).unwrap();
    survives(5, &sound, 5000, |bytes| {
        match ModelConfig::from_json("config.json", bytes) {
            Ok(config) => {
                config
                    .tensors()
                    .take(100)
                    .map(|spec| spec.shape.len())
                    .max()
                    == Some(2)
            }
            Err(_) => false,
        }
    });
}

#[test]
fn damaged_tokenizers() {
    let sound = serde_json::json!({
        "added_tokens": [{"id": 0, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "unk_token": "a", "byte_fallback": false,
            "vocab": {"<|end|>": 0, "a": 1, "b": 2, "c": 3, "ab": 4, "abc": 5},
            "merges": [["a", "b"], ["ab", "c"]]}
    });
    survives(6, &serde_json::to_vec(&sound).unwrap(), 5000, |bytes| {
        Tokenizer::from_json("tokenizer.json", bytes)
            .is_ok_and(|tokenizer| use_tokenizer(&tokenizer))
    });
}

//! Conversion to GGUF: the same model under other names, in another order, with the same tokenizer.

use std::path::Path;

use carnot_formats::{BlockType, ModelFile, RopeStyle, Tokenizer, convert};
use serde_json::json;

use crate::{embedded, models};

fn converted(model: &ModelFile, dtype: BlockType) -> ModelFile {
    let mut bytes = Vec::new();
    convert::to_gguf(model, dtype, &mut bytes).unwrap();
    ModelFile::from_gguf_bytes("embedded", bytes).unwrap()
}

#[test]
fn the_committed_file_is_what_the_converter_writes() {
    let mut bytes = Vec::new();
    convert::to_gguf(&embedded(), BlockType::Q8_0, &mut bytes).unwrap();
    assert!(bytes == std::fs::read(models().join("embedded-q8_0.gguf")).unwrap());
}

#[test]
fn the_committed_file_opens() {
    let model = ModelFile::open(&models().join("embedded-q8_0.gguf")).unwrap();
    assert_eq!(
        (model.name(), model.file_type().as_str()),
        ("embedded-q8_0", "Q8_0")
    );
    assert_eq!(model.parameters(), embedded().parameters());
    let (config, source) = (model.config(), embedded());
    assert_eq!(config.rope.style, RopeStyle::Interleaved);
    assert_eq!(
        config.rope.frequencies(),
        source.config().rope.frequencies()
    );
    assert_eq!(
        (config.tied_embeddings, config.rms_norm_epsilon),
        (true, 1e-5)
    );
}

#[test]
fn heads_are_interleaved_and_the_rest_is_kept() {
    let (source, model) = (embedded(), converted(&embedded(), BlockType::F16));
    let bytes = |model: &ModelFile, name| model.tensor(name).unwrap().data.to_vec();
    for name in [
        "token_embd.weight",
        "blk.2.attn_v.weight",
        "blk.5.ffn_down.weight",
    ] {
        assert_eq!(bytes(&source, name), bytes(&model, name), "{name}");
    }
    let (before, after) = (
        bytes(&source, "blk.3.attn_k.weight"),
        bytes(&model, "blk.3.attn_k.weight"),
    );
    let row = |data: &[u8], index: usize| data[index * 512..][..512].to_vec();
    for head in 0..4 {
        for pair in 0..16 {
            assert_eq!(
                row(&before, head * 32 + pair),
                row(&after, head * 32 + 2 * pair)
            );
            assert_eq!(
                row(&before, head * 32 + pair + 16),
                row(&after, head * 32 + 2 * pair + 1)
            );
        }
    }
}

#[test]
fn coarse_types_keep_the_embedding_finer() {
    let model = converted(&embedded(), BlockType::Q4K);
    assert_eq!(
        model.tensor("token_embd.weight").unwrap().dtype,
        BlockType::Q6K
    );
    assert_eq!(
        model.tensor("blk.0.ffn_up.weight").unwrap().dtype,
        BlockType::Q4K
    );
    assert_eq!(
        model.tensor("output_norm.weight").unwrap().dtype,
        BlockType::F32
    );
    assert_eq!(model.file_type(), "mixed Q4_K/Q6_K");
}

#[test]
fn a_converted_file_converts_to_itself() {
    let once = converted(&embedded(), BlockType::F16);
    let twice = converted(&once, BlockType::F16);
    for (a, b) in once.tensors().zip(twice.tensors()) {
        assert!(a == b, "{}", a.name);
    }
}

const AWKWARD: [&str; 18] = [
    "",
    " ",
    "   leading and trailing   ",
    "\n\n\n\ttabs\r\nand returns\r",
    "don't I'LL we've he'd",
    "def f(x):\n    return x  # done\n",
    "0 1 12 123 1234 12345 3.14159 1e-5 0xDEADBEEF",
    "naïve café Ångström ﬁne",
    "日本語のテキスト、中文文本。한국어",
    "Привет, мир! Γειά σου κόσμε",
    "👩‍👩‍👧‍👦 🇩🇪 🤦🏽‍♂️",
    "a\u{0301}e\u{0308} e\u{301} vs \u{e9}",
    "\u{feff}\u{200b}\u{200d}\u{a0}\u{2003}\u{3000}",
    "\0\u{1}\u{7f}\u{80}",
    "<|begin|>x<|end|><|begin|",
    "!!!???...---___***===",
    "मानक हिन्दी العربية עברית",
    "a b  c   d    e     f",
];

#[test]
fn both_files_make_the_same_tokenizer() {
    let (json, gguf) = (
        embedded().tokenizer().unwrap(),
        converted(&embedded(), BlockType::F16).tokenizer().unwrap(),
    );
    let same = |text: &str| {
        let ids = json.encode(text, true).unwrap();
        assert_eq!(ids, gguf.encode(text, true).unwrap(), "{text:?}");
        assert_eq!(
            gguf.decode(&ids, false).unwrap(),
            json.decode(&ids, false).unwrap(),
            "{text:?}"
        );
    };
    AWKWARD.into_iter().for_each(same);
    for name in ["text/validation.txt", "text/calibration.txt"] {
        std::fs::read_to_string(models().join(name))
            .unwrap()
            .split_inclusive("\n\n")
            .for_each(same);
    }
    let facts = |tokenizer: &Tokenizer| {
        let bytes: Vec<_> = (0..4097).map(|id| tokenizer.token_bytes(id)).collect();
        let special: Vec<_> = (0..4097).map(|id| tokenizer.is_special(id)).collect();
        (
            tokenizer.bos(),
            tokenizer.eos().to_vec(),
            tokenizer.adds_bos(),
            tokenizer.vocabulary_size(),
            bytes,
            special,
        )
    };
    assert!(facts(&json) == facts(&gguf));
}

#[test]
fn the_chat_template_is_kept() {
    let message = [json!({ "role": "user", "content": "hello" })];
    let render = |model: &ModelFile| {
        model
            .chat_template()
            .unwrap()
            .unwrap()
            .render(&message, &[(); 0], &json!({}), true)
            .unwrap()
    };
    assert_eq!(
        render(&embedded()),
        render(&converted(&embedded(), BlockType::F16))
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = ModelFile::open(Path::new("/nowhere/m.gguf"))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("/nowhere/m.gguf: "), "{error}");
}

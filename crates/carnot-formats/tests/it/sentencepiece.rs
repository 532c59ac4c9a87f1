//! A small sentencepiece vocabulary, as a GGUF file lists it, and the pieces that its scores lead to: those that
//! llama.cpp gives for the same vocabulary.

use carnot_formats::gguf::Metadata;
use carnot_formats::synth::Preset;
use carnot_formats::{Architecture, BlockType, ModelConfig, ModelFile, Tokenizer};

/// Token, score, type: as in GGUF.
fn vocabulary() -> Vec<(String, f32, i32)> {
    let mut tokens = vec![
        ("<unk>".to_owned(), 0.0, 2),
        ("<s>".to_owned(), 0.0, 3),
        ("</s>".to_owned(), 0.0, 3),
    ];
    tokens.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)));
    let pieces = [
        "he", "ll", "▁hell", "▁he", "lo", "▁w", "or", "ld", "▁wor", "llo", "▁hello", "▁world",
        "▁▁", "▁", "h", "e", "l", "o", "w", "r", "d",
    ];
    tokens.extend(
        pieces
            .iter()
            .enumerate()
            .map(|(rank, piece)| ((*piece).to_owned(), -(rank as f32), 1)),
    );
    tokens.push(("<tool>".to_owned(), 0.0, 4));
    tokens
}

fn tokenizer(space_prefix: bool) -> Tokenizer {
    let tokens = vocabulary();
    let mut metadata = Metadata::new();
    metadata.string("tokenizer.ggml.model", "llama");
    metadata.strings(
        "tokenizer.ggml.tokens",
        &tokens
            .iter()
            .map(|token| token.0.as_str())
            .collect::<Vec<_>>(),
    );
    metadata.f32s(
        "tokenizer.ggml.scores",
        &tokens.iter().map(|token| token.1).collect::<Vec<_>>(),
    );
    metadata.i32s(
        "tokenizer.ggml.token_type",
        &tokens.iter().map(|token| token.2).collect::<Vec<_>>(),
    );
    metadata.u32("tokenizer.ggml.bos_token_id", 1);
    metadata.u32("tokenizer.ggml.eos_token_id", 2);
    metadata.bool("tokenizer.ggml.add_space_prefix", space_prefix);
    crate::tiny_model(&small(tokens.len()), metadata)
        .tokenizer()
        .unwrap()
}

fn small(vocabulary: usize) -> ModelConfig {
    ModelConfig {
        vocabulary,
        ..crate::tiny_config(Preset::M150.config(Architecture::Llama))
    }
}

fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let ids = tokenizer.encode(text, false).unwrap();
    ids.into_iter()
        .map(|id| tokenizer.token(id).unwrap())
        .collect()
}

#[test]
fn scores_decide_the_pieces() {
    let tokenizer = tokenizer(true);
    let cases: [(&str, &[&str]); 8] = [
        ("hello world", &["▁hello", "▁world"]),
        // he (0) comes first, then ▁he (-3) and lo (-4) before anything can join them.
        ("helo", &["▁he", "lo"]),
        // ll (-1) comes before lo (-4), and llo (-9) follows.
        ("llo", &["▁", "llo"]),
        // Of equal scores, the leftmost.
        ("  d", &["▁▁", "▁", "d"]),
        ("lll", &["▁", "ll", "l"]),
        ("<tool>hello", &["<tool>", "▁hello"]),
        // What the vocabulary cannot spell falls back to bytes.
        ("é", &["▁", "<0xC3>", "<0xA9>"]),
        ("", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(pieces(&tokenizer, text), expected, "{text:?}");
    }
}

#[test]
fn text_goes_there_and_back() {
    for prefix in [true, false] {
        let tokenizer = tokenizer(prefix);
        for text in [
            "hello world",
            " hello",
            "  two  spaces ",
            "日本\nélan\t",
            "",
            " ",
        ] {
            let ids = tokenizer.encode(text, true).unwrap();
            assert_eq!(ids[0], 1);
            assert_eq!(
                tokenizer.decode(&ids, true).unwrap(),
                text,
                "prefix {prefix}"
            );
        }
    }
}

#[test]
fn single_tokens_spell_their_bytes() {
    let tokenizer = tokenizer(true);
    let bytes = |token: &str| {
        tokenizer
            .token_bytes(tokenizer.token_id(token).unwrap())
            .unwrap()
    };
    assert_eq!(bytes("▁hello"), b" hello");
    assert_eq!(bytes("<0xC3>"), [0xc3]);
    assert_eq!(bytes("<tool>"), b"<tool>");
    assert!(
        tokenizer.is_special(2) && !tokenizer.is_special(tokenizer.token_id("<tool>").unwrap())
    );
    assert_eq!((tokenizer.eos(), tokenizer.adds_bos()), (&[2][..], true));
}

#[test]
fn a_file_that_lists_too_few_scores_is_refused() {
    let mut metadata = Metadata::new();
    metadata.string("tokenizer.ggml.model", "llama");
    metadata.strings("tokenizer.ggml.tokens", &["a", "b"]);
    metadata.f32s("tokenizer.ggml.scores", &[0.0]);
    let model: ModelFile = crate::tiny_model(&small(2), metadata);
    let error = model.tokenizer().unwrap_err().to_string();
    assert_eq!(
        error,
        "tiny: tokenizer.ggml.scores: expected one per token, 2, found 1"
    );
    assert_eq!(model.file_type(), BlockType::F32.name());
}

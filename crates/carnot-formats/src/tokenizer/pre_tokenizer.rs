//! How byte-level tokenizers cut text into words before merging: what GGUF's `tokenizer.ggml.pre` names.

use serde_json::Value;
use tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

/// A way of cutting: patterns applied in turn, every match a word of its own.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct PreTokenizer {
    patterns: &'static [&'static str],
    /// A word that is a token is that token, whatever the merges say.
    pub ignores_merges: bool,
    /// Text is composed (NFC) first.
    pub composes: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub(super) const SUPPORTED: &str =
    "gpt-2, llama-bpe, qwen2, smollm, starcoder, command-r, tekken, falcon and default are";

impl PreTokenizer {
    pub fn from_name(name: &str) -> Option<Self> {
        let plain = |patterns| Self {
            patterns,
            ignores_merges: false,
            composes: false,
        };
        Some(match name {
            "gpt-2" | "gpt2" | "phi-2" | "jina-es" | "jina-de" | "mpt" | "olmo" | "jais"
            | "trillion" => plain(&[GPT2]),
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" => Self {
                ignores_merges: true,
                ..plain(&[LLAMA3])
            },
            "dbrx" | "smaug-bpe" => plain(&[LLAMA3]),
            "qwen2" | "deepseek-r1-qwen" | "megrez" => Self {
                composes: true,
                ..plain(&[QWEN2])
            },
            "stablelm2" | "hunyuan" => plain(&[QWEN2]),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" => {
                plain(&[r"\p{N}", GPT2])
            }
            "tekken" => Self {
                ignores_merges: true,
                ..plain(&[TEKKEN])
            },
            "falcon" => plain(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"]),
            "default" => plain(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
            _ => return None,
        })
    }

    pub fn build(self) -> tokenizers::Result<PreTokenizerWrapper> {
        let mut steps = Vec::new();
        for pattern in self.patterns {
            let pattern = SplitPattern::Regex((*pattern).to_owned());
            steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into());
        }
        steps.push(ByteLevel::new(false, true, false).into());
        Ok(Sequence::new(steps).into())
    }
}

/// GGUF's name for the pre-tokenizer of a `tokenizer.json`.
pub(super) fn name_of(json: &Value, ignores_merges: bool) -> Option<&'static str> {
    let steps = match json["type"].as_str()? {
        "Sequence" => json["pretokenizers"].as_array()?.iter().collect(),
        _ => vec![json],
    };
    let kinds: Vec<&str> = steps
        .iter()
        .filter_map(|step| step["type"].as_str())
        .collect();
    let cuts_like_gpt2 =
        |step: &Value| step["use_regex"] != false && step["add_prefix_space"] != true;
    match (&kinds[..], &steps[..]) {
        (["ByteLevel"], [step]) if cuts_like_gpt2(step) => Some("gpt-2"),
        (["Digits", "ByteLevel"], [digits, step])
            if digits["individual_digits"] == true && cuts_like_gpt2(step) =>
        {
            Some("smollm")
        }
        (["Split", "ByteLevel"], [split, step]) if step["use_regex"] == false => {
            match split["pattern"]["Regex"].as_str()? {
                LLAMA3 if ignores_merges => Some("llama-bpe"),
                LLAMA3 => Some("smaug-bpe"),
                QWEN2 => Some("qwen2"),
                TEKKEN => Some("tekken"),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_name_builds() {
        for name in [
            "gpt-2",
            "llama-bpe",
            "smaug-bpe",
            "qwen2",
            "stablelm2",
            "smollm",
            "tekken",
            "falcon",
            "default",
        ] {
            PreTokenizer::from_name(name)
                .expect("the name is known")
                .build()
                .expect("the patterns compile");
        }
        assert_eq!(PreTokenizer::from_name("nonsense"), None);
    }

    #[test]
    fn json_is_recognised() {
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let sequence = |pattern: &str| json!({"type": "Sequence", "pretokenizers": [split(pattern), byte_level]});
        assert_eq!(name_of(&sequence(LLAMA3), true), Some("llama-bpe"));
        assert_eq!(name_of(&sequence(QWEN2), false), Some("qwen2"));
        assert_eq!(name_of(&sequence("x"), false), None);
        assert_eq!(
            name_of(
                &json!({"type": "ByteLevel", "add_prefix_space": false}),
                false
            ),
            Some("gpt-2")
        );
        assert_eq!(name_of(&Value::Null, false), None);
    }
}

//! A vocabulary as a GGUF file lists it, from either kind of file.

use serde_json::Value;

use super::pre_tokenizer;
use super::{Spelling, Tokenizer};
use crate::error::{Error, File};
use crate::gguf::{Gguf, Metadata};

/// What `tokenizer.ggml.token_type` says of a token.
pub(crate) mod kind {
    pub const NORMAL: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const USER_DEFINED: i32 = 4;
    pub const UNUSED: i32 = 5;
    pub const BYTE: i32 = 6;
}

/// The parts of GGUF's `tokenizer.ggml.*`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Listing {
    pub model: String,
    pub pre: Option<String>,
    pub tokens: Vec<String>,
    pub kinds: Vec<i32>,
    /// Sentencepiece only.
    pub scores: Option<Vec<f32>>,
    /// Byte-level only, each `first second`.
    pub merges: Option<Vec<String>>,
    /// `bos`, `eos`, `eot` and so on.
    pub ids: Vec<(String, u32)>,
    /// `add_bos_token` and so on.
    pub flags: Vec<(String, bool)>,
}

impl Listing {
    /// Copies the listing of a GGUF file, which is known to make a tokenizer.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, Error> {
        let strings = |key: &str| -> Result<Option<Vec<String>>, Error> {
            let array = gguf.optional_array(&format!("tokenizer.ggml.{key}"))?;
            Ok(array.and_then(|array| Some(array.strings()?.map(str::to_owned).collect())))
        };
        let numbers = |key: &str| -> Result<Option<Vec<f64>>, Error> {
            let array = gguf.optional_array(&format!("tokenizer.ggml.{key}"))?;
            Ok(array.and_then(|array| Some(array.numbers()?.collect())))
        };
        let tokens = strings("tokens")?.unwrap_or_default();
        let kinds =
            numbers("token_type")?.map(|kinds| kinds.into_iter().map(|kind| kind as i32).collect());
        let own = |suffix: &str| {
            let keys = gguf
                .metadata
                .iter()
                .filter_map(|(key, value)| Some((key.strip_prefix("tokenizer.ggml.")?, value)));
            let suffix = suffix.to_owned();
            keys.filter_map(move |(key, value)| {
                Some((key.strip_suffix(&suffix)?.to_owned(), *value))
            })
        };
        Ok(Self {
            model: gguf.str("tokenizer.ggml.model")?.to_owned(),
            pre: gguf.optional_str("tokenizer.ggml.pre")?.map(str::to_owned),
            kinds: kinds.unwrap_or_else(|| vec![kind::NORMAL; tokens.len()]),
            tokens,
            scores: numbers("scores")?
                .map(|scores| scores.into_iter().map(|score| score as f32).collect()),
            merges: strings("merges")?,
            ids: own("_token_id")
                .filter_map(|(name, value)| Some((name, value.as_u64()? as u32)))
                .collect(),
            flags: own("")
                .filter_map(|(name, value)| Some((name, value.as_bool()?)))
                .collect(),
        })
    }

    /// Turns a byte-level `tokenizer.json` into a listing; `tokenizer` was built from the same bytes.
    pub fn from_json(file: File, json: &[u8], tokenizer: &Tokenizer) -> Result<Self, Error> {
        if tokenizer.spelling != Spelling::ByteLevel {
            return Err(file.unsupported(
                "conversion of the tokenizer",
                "sentencepiece",
                "byte-level ones are converted",
            ));
        }
        let json: Value = serde_json::from_slice(json).map_err(|error| file.json(error))?;
        let ignores_merges = json["model"]["ignore_merges"].as_bool().unwrap_or(false);
        let pre =
            pre_tokenizer::name_of(&json["pre_tokenizer"], ignores_merges).ok_or_else(|| {
                file.unsupported(
                    "conversion of the pre-tokenizer",
                    &json["pre_tokenizer"],
                    pre_tokenizer::SUPPORTED,
                )
            })?;
        let mut listing = Self {
            model: "gpt2".to_owned(),
            pre: Some(pre.to_owned()),
            tokens: Vec::new(),
            kinds: Vec::new(),
            scores: None,
            merges: Some(merges(&json["model"]["merges"])),
            ids: Vec::new(),
            flags: vec![("add_bos_token".to_owned(), tokenizer.adds_bos())],
        };
        for id in 0..tokenizer.vocabulary_size() as u32 {
            let Some(token) = tokenizer.token(id) else {
                listing.pad(id as usize + 1);
                continue;
            };
            listing.tokens.push(token);
            listing.kinds.push(
                match (tokenizer.is_special(id), tokenizer.verbatim.contains(&id)) {
                    (true, _) => kind::CONTROL,
                    (false, true) => kind::USER_DEFINED,
                    (false, false) => kind::NORMAL,
                },
            );
        }
        let named = [
            ("bos", tokenizer.bos()),
            ("eos", tokenizer.eos().first().copied()),
            ("eot", tokenizer.eos().get(1).copied()),
        ];
        listing.ids.extend(
            named
                .into_iter()
                .filter_map(|(name, id)| Some((name.to_owned(), id?))),
        );
        Ok(listing)
    }

    /// Fills up to `rows` tokens: llama.cpp wants one for each row of the embedding.
    pub fn pad(&mut self, rows: usize) {
        for id in self.tokens.len()..rows {
            self.tokens.push(format!("[PAD{id}]"));
            self.kinds.push(kind::UNUSED);
            self.scores
                .iter_mut()
                .for_each(|scores| scores.push(f32::MIN));
        }
    }

    pub fn write(&self, metadata: &mut Metadata) {
        metadata.string("tokenizer.ggml.model", &self.model);
        if let Some(pre) = &self.pre {
            metadata.string("tokenizer.ggml.pre", pre);
        }
        metadata.strings("tokenizer.ggml.tokens", &self.tokens);
        metadata.i32s("tokenizer.ggml.token_type", &self.kinds);
        if let Some(scores) = &self.scores {
            metadata.f32s("tokenizer.ggml.scores", scores);
        }
        if let Some(merges) = &self.merges {
            metadata.strings("tokenizer.ggml.merges", merges);
        }
        for (name, id) in &self.ids {
            metadata.u32(&format!("tokenizer.ggml.{name}_token_id"), *id);
        }
        for (name, flag) in &self.flags {
            metadata.bool(&format!("tokenizer.ggml.{name}"), *flag);
        }
    }
}

/// Merges are pairs, or lines in older files.
fn merges(json: &Value) -> Vec<String> {
    let merge = |merge: &Value| match merge {
        Value::Array(pair) => pair
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" "),
        line => line.as_str().unwrap_or_default().to_owned(),
    };
    json.as_array()
        .map(|merges| merges.iter().map(merge).collect())
        .unwrap_or_default()
}

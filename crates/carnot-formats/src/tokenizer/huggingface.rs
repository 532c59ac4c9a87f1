//! A tokenizer from a Hugging Face directory: `tokenizer.json`, with what `tokenizer_config.json`, `generation_config.json` and
//! `config.json` say about its special tokens.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{Spelling, Tokenizer};
use crate::error::{Error, File};

/// Loads the tokenizer of a model's directory.
pub(crate) fn load(directory: &Path) -> Result<Tokenizer, Error> {
    let path = directory.join("tokenizer.json");
    let bytes = std::fs::read(&path).map_err(|source| Error::Io {
        path: path.clone(),
        source,
    })?;
    let settings = Settings::read(directory)?;
    parse(File(&path.display().to_string()), &bytes, &settings)
}

/// The chat template of a model's directory, in any of the places where transformers looks.
pub(crate) fn chat_template(directory: &Path) -> Result<Option<String>, Error> {
    let file = directory.join("chat_template.jinja");
    if let Ok(source) = std::fs::read_to_string(&file) {
        return Ok(Some(source));
    }
    let config = json(&directory.join("tokenizer_config.json"))?;
    Ok(match &config["chat_template"] {
        Value::String(source) => Some(source.clone()),
        // Several by name: the default one is for plain conversation.
        Value::Array(named) => named
            .iter()
            .find(|template| template["name"] == "default")
            .and_then(|template| template["template"].as_str())
            .map(str::to_owned),
        _ => None,
    })
}

/// What the files beside `tokenizer.json` say.
#[derive(Default)]
pub(crate) struct Settings {
    bos_token: Option<String>,
    eos_token: Option<String>,
    add_bos_token: Option<bool>,
    eos_ids: Vec<u32>,
}

impl Settings {
    fn read(directory: &Path) -> Result<Self, Error> {
        let config = json(&directory.join("tokenizer_config.json"))?;
        let mut eos_ids = Vec::new();
        for name in ["config.json", "generation_config.json"] {
            match &json(&directory.join(name))?["eos_token_id"] {
                Value::Array(ids) => eos_ids.extend(ids.iter().filter_map(Value::as_u64)),
                id => eos_ids.extend(id.as_u64()),
            }
        }
        Ok(Self {
            bos_token: token(&config["bos_token"]),
            eos_token: token(&config["eos_token"]),
            add_bos_token: config["add_bos_token"].as_bool(),
            eos_ids: eos_ids
                .into_iter()
                .filter_map(|id| u32::try_from(id).ok())
                .collect(),
        })
    }
}

/// A file that may be missing.
fn json(path: &Path) -> Result<Value, Error> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| File(&path.display().to_string()).json(error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(source) => Err(Error::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// A token is written as its text, or as an object around it.
fn token(value: &Value) -> Option<String> {
    value
        .as_str()
        .or_else(|| value["content"].as_str())
        .map(str::to_owned)
}

/// Builds the tokenizer of a `tokenizer.json`.
pub(crate) fn parse(file: File, bytes: &[u8], settings: &Settings) -> Result<Tokenizer, Error> {
    let spelling = check(file, bytes)?;
    let mut inner =
        tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| file.tokenizer(error))?;
    inner
        .with_truncation(None)
        .map_err(|error| file.tokenizer(error))?;
    inner.with_padding(None);
    let added = inner.get_added_tokens_decoder();
    let verbatim: HashSet<u32> = added.keys().copied().collect();
    let special = added
        .iter()
        .filter(|(_, token)| token.special)
        .map(|(id, _)| *id)
        .collect();
    let size = inner
        .get_vocab(true)
        .values()
        .max()
        .map_or(0, |largest| *largest as usize + 1);
    let id = |token: &Option<String>| token.as_ref().and_then(|token| inner.token_to_id(token));
    let bos = id(&settings.bos_token);
    let adds_bos = match settings.add_bos_token {
        Some(adds) => adds,
        None => begins_with_bos(file, &inner, bos)?,
    };
    let mut eos: Vec<u32> = id(&settings.eos_token).into_iter().collect();
    for &end in settings.eos_ids.iter().filter(|id| (**id as usize) < size) {
        if !eos.contains(&end) {
            eos.push(end);
        }
    }
    let mut tokenizer = Tokenizer {
        file: file.0.to_owned(),
        inner,
        spelling,
        size,
        bos,
        adds_bos,
        eos,
        special,
        verbatim,
    };
    tokenizer.complete_eos();
    Ok(tokenizer)
}

/// Whether the file's own post-processor puts the token in front.
fn begins_with_bos(
    file: File,
    inner: &tokenizers::Tokenizer,
    bos: Option<u32>,
) -> Result<bool, Error> {
    let encoding = inner
        .encode_fast("", true)
        .map_err(|error| file.tokenizer(error))?;
    Ok(bos.is_some() && encoding.get_ids().first().copied() == bos)
}

#[derive(Deserialize)]
struct Json {
    model: Model,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    decoder: Option<Value>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    vocab: HashMap<String, u32>,
    #[serde(default)]
    merges: Vec<Merge>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

/// Holds the file to what the library takes for granted (it indexes by a merge's parts without looking), and tells how tokens are
/// spelled.
fn check(file: File, bytes: &[u8]) -> Result<Spelling, Error> {
    let json: Json = serde_json::from_slice(bytes).map_err(|error| file.json(error))?;
    let kind = json.model.kind.as_deref().unwrap_or("BPE");
    if kind != "BPE" {
        return Err(file.unsupported("tokenizer model", kind, "BPE is"));
    }
    if let Some(prefix) = json
        .model
        .continuing_subword_prefix
        .as_ref()
        .filter(|prefix| !prefix.is_empty())
    {
        return Err(file.unsupported("continuing_subword_prefix", prefix, "none is"));
    }
    if let Some(&id) = json.model.vocab.values().find(|id| **id >= 1 << 24) {
        return Err(file.malformed("vocab", "ids below 2^24", id));
    }
    for merge in &json.model.merges {
        let (first, second): (&str, &str) = match merge {
            Merge::Pair(first, second) => (first, second),
            Merge::Line(line) => line
                .split_once(' ')
                .ok_or_else(|| file.malformed("merges", "two parts", format!("{line:?}")))?,
        };
        let whole = [first, second].concat();
        if !json.model.vocab.contains_key(whole.as_str()) {
            return Err(file.malformed(
                "merges",
                "results in the vocabulary",
                format!("{whole:?}"),
            ));
        }
    }
    Ok(spelling(&json))
}

/// Byte-level tokenizers say so in the pre-tokenizer or the decoder; sentencepiece ones prepend or strip a space.
fn spelling(json: &Json) -> Spelling {
    let mentions = |part: &Option<Value>, word: &str| {
        part.as_ref()
            .is_some_and(|part| part.to_string().contains(word))
    };
    if mentions(&json.pre_tokenizer, "ByteLevel") || mentions(&json.decoder, "ByteLevel") {
        return Spelling::ByteLevel;
    }
    Spelling::Sentencepiece {
        strips_space: mentions(&json.decoder, "Strip") || mentions(&json.normalizer, "Prepend"),
    }
}

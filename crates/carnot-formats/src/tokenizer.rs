//! Text to token ids and back.
//!
//! Merging is the `tokenizers` crate's; this module builds its models from either kind of file, knows which tokens are special, and
//! spells tokens as bytes. Decoding joins those bytes, so that a stream of single tokens and a whole answer are the same text.

pub(crate) mod byte_level;
pub(crate) mod gguf;
pub(crate) mod huggingface;
pub(crate) mod listing;
mod pre_tokenizer;
mod sentencepiece;

use std::collections::HashSet;

use crate::error::{Error, File};

/// A model's tokenizer, whichever file described it.
#[derive(Debug)]
pub struct Tokenizer {
    file: String,
    inner: tokenizers::Tokenizer,
    spelling: Spelling,
    size: usize,
    bos: Option<u32>,
    adds_bos: bool,
    eos: Vec<u32>,
    /// Tokens that steer the model and are no text.
    special: HashSet<u32>,
    /// Tokens added beside the merged ones: spelled as they are.
    verbatim: HashSet<u32>,
}

/// How a token's name in the vocabulary spells its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spelling {
    /// Every byte is a printable character (GPT-2).
    ByteLevel,
    /// `▁` is a space and `<0x0A>` a byte (sentencepiece). `strips_space`: encoding puts a space in front, decoding takes it away.
    Sentencepiece { strips_space: bool },
}

/// Names of tokens that end a turn or a text, in the families that we read. A model's own setting is only one of them: chat models
/// name the end of text and finish with the end of turn.
const ENDS_OF_GENERATION: [&str; 7] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "</s>",
];

impl Tokenizer {
    /// Builds the tokenizer of a `tokenizer.json` alone: without the files beside it, nothing is known of its beginning and end of
    /// text. `name` is what errors call it.
    pub fn from_json(name: &str, json: &[u8]) -> Result<Self, Error> {
        huggingface::parse(File(name), json, &huggingface::Settings::default())
    }

    /// Token ids of `text`. With `add_bos`, the beginning-of-text token is put first if the model wants one.
    ///
    /// Special tokens that are written out in `text` become themselves, as chat templates need.
    pub fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, Error> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| File(&self.file).tokenizer(error))?;
        let bos = self.bos.filter(|_| add_bos && self.adds_bos);
        Ok(bos
            .into_iter()
            .chain(encoding.get_ids().iter().copied())
            .collect())
    }

    /// The text of token ids; invalid UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Error> {
        let mut bytes = Vec::new();
        for &id in ids
            .iter()
            .filter(|&&id| !(skip_special && self.is_special(id)))
        {
            let unknown =
                || File(&self.file).malformed("token", format!("an id below {}", self.size), id);
            bytes.extend(self.token_bytes(id).ok_or_else(unknown)?);
        }
        let strips = self.spelling == Spelling::Sentencepiece { strips_space: true };
        let text = if strips {
            bytes.strip_prefix(b" ").unwrap_or(&bytes)
        } else {
            &bytes
        };
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// The raw bytes of one token, so that a stream can join them; `None` for ids that are no token.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let token = self.token(id)?;
        Some(match self.spelling {
            _ if self.verbatim.contains(&id) => token.into_bytes(),
            Spelling::ByteLevel => byte_level::bytes(&token),
            Spelling::Sentencepiece { .. } => sentencepiece::bytes(&token),
        })
    }

    /// A token's name in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a name in the vocabulary, such as `<|im_end|>`.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The beginning-of-text token.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Every token that ends a generation; the model's own end-of-text token is the first.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// One more than the largest token id.
    pub fn vocabulary_size(&self) -> usize {
        self.size
    }

    /// Whether a token steers the model rather than being text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// Whether the model wants a beginning-of-text token in front.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos && self.bos.is_some()
    }

    /// Adds the well-known ends of generation to those that the model names.
    fn complete_eos(&mut self) {
        let known = ENDS_OF_GENERATION
            .iter()
            .filter_map(|name| self.inner.token_to_id(name));
        let known: Vec<u32> = known.filter(|id| self.special.contains(id)).collect();
        for id in known {
            if !self.eos.contains(&id) {
                self.eos.push(id);
            }
        }
    }
}

//! A tokenizer from GGUF metadata: kind `gpt2` (byte-level merges) or `llama` (sentencepiece scores).

use std::collections::HashSet;

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NFC, Prepend, Replace, Sequence};
use tokenizers::{AddedToken, NormalizerWrapper};

use super::listing::kind;
use super::pre_tokenizer::{PreTokenizer, SUPPORTED};
use super::{Spelling, Tokenizer, sentencepiece};
use crate::error::{Error, File};
use crate::gguf::Gguf;

/// The vocabulary as the file lists it.
struct Vocabulary<'a> {
    file: File<'a>,
    tokens: Vec<&'a str>,
    kinds: Vec<i32>,
}

pub(crate) fn build(gguf: &Gguf) -> Result<Tokenizer, Error> {
    let vocabulary = Vocabulary::read(gguf)?;
    let (inner, spelling) = match gguf.str("tokenizer.ggml.model")? {
        "gpt2" => (vocabulary.byte_level(gguf)?, Spelling::ByteLevel),
        "llama" => vocabulary.sentencepiece(gguf)?,
        other => {
            return Err(gguf
                .file()
                .unsupported("tokenizer model", other, "gpt2 and llama are"));
        }
    };
    vocabulary.finish(gguf, inner, spelling)
}

impl<'a> Vocabulary<'a> {
    fn read(gguf: &Gguf<'a>) -> Result<Self, Error> {
        let tokens = strings(gguf, "tokenizer.ggml.tokens")?;
        let distinct: HashSet<&str> = tokens.iter().copied().collect();
        if distinct.len() < tokens.len() {
            let found = format!("{} distinct", distinct.len());
            return Err(gguf.file().malformed(
                "tokenizer.ggml.tokens",
                format!("{} different tokens", tokens.len()),
                found,
            ));
        }
        let key = "tokenizer.ggml.token_type";
        let kinds = match numbers(gguf, key, tokens.len())? {
            Some(kinds) => kinds.map(|kind| kind as i32).collect(),
            None => vec![kind::NORMAL; tokens.len()],
        };
        Ok(Self {
            file: gguf.file(),
            tokens,
            kinds,
        })
    }

    fn byte_level(&self, gguf: &Gguf<'a>) -> Result<tokenizers::Tokenizer, Error> {
        let name = gguf
            .optional_str("tokenizer.ggml.pre")?
            .unwrap_or("default");
        let pre = PreTokenizer::from_name(name)
            .ok_or_else(|| self.file.unsupported("tokenizer.ggml.pre", name, SUPPORTED))?;
        let merges = self.merges(gguf)?;
        let model = BPE::builder()
            .vocab_and_merges(self.ids(), merges)
            .ignore_merges(pre.ignores_merges)
            .build();
        let mut tokenizer =
            tokenizers::Tokenizer::new(model.map_err(|error| self.file.tokenizer(error))?);
        tokenizer.with_pre_tokenizer(Some(
            pre.build().map_err(|error| self.file.tokenizer(error))?,
        ));
        if pre.composes {
            tokenizer
                .with_normalizer(Some(NFC))
                .map_err(|error| self.file.tokenizer(error))?;
        }
        Ok(tokenizer)
    }

    fn ids(&self) -> tokenizers::models::bpe::Vocab {
        self.tokens
            .iter()
            .enumerate()
            .map(|(id, token)| ((*token).to_owned(), id as u32))
            .collect()
    }

    /// The merges, all of whose parts and results are tokens: the library indexes by them without looking.
    fn merges(&self, gguf: &Gguf<'a>) -> Result<Vec<(String, String)>, Error> {
        let key = "tokenizer.ggml.merges";
        let tokens: HashSet<&str> = self.tokens.iter().copied().collect();
        let split = |merge: &str| -> Result<(String, String), Error> {
            // A space only ever separates: the spelling of bytes has none. It may not be the first character.
            let (first, second) = merge
                .split_once(' ')
                .ok_or_else(|| self.file.malformed(key, "two parts", format!("{merge:?}")))?;
            let whole = [first, second].concat();
            if [first, second, &whole]
                .iter()
                .all(|part| tokens.contains(part))
            {
                Ok((first.to_owned(), second.to_owned()))
            } else {
                Err(self.file.malformed(
                    key,
                    "parts and results in the vocabulary",
                    format!("{merge:?}"),
                ))
            }
        };
        strings(gguf, key)?.into_iter().map(split).collect()
    }

    fn sentencepiece(&self, gguf: &Gguf<'a>) -> Result<(tokenizers::Tokenizer, Spelling), Error> {
        let key = "tokenizer.ggml.scores";
        let scores =
            numbers(gguf, key, self.tokens.len())?.ok_or_else(|| gguf.missing(key, "an array"))?;
        let scores: Vec<f32> = scores.map(|score| score as f32).collect();
        let merges =
            sentencepiece::merges(&self.tokens, &scores, |id| self.kinds[id] == kind::NORMAL);
        let unknown = self.kinds.iter().position(|&kind| kind == kind::UNKNOWN);
        let mut model = BPE::builder()
            .vocab_and_merges(self.ids(), merges)
            .fuse_unk(true);
        model = model.byte_fallback(self.kinds.contains(&kind::BYTE));
        if let Some(unknown) = unknown {
            model = model.unk_token(self.tokens[unknown].to_owned());
        }
        let model = model.build().map_err(|error| self.file.tokenizer(error))?;
        let mut tokenizer = tokenizers::Tokenizer::new(model);
        let strips_space = gguf
            .optional_bool("tokenizer.ggml.add_space_prefix")?
            .unwrap_or(true);
        let normalizer = spaces(strips_space)
            .and_then(|normalizer| tokenizer.with_normalizer(Some(normalizer)).map(drop));
        normalizer.map_err(|error| self.file.tokenizer(error))?;
        Ok((tokenizer, Spelling::Sentencepiece { strips_space }))
    }

    fn finish(
        &self,
        gguf: &Gguf,
        mut inner: tokenizers::Tokenizer,
        spelling: Spelling,
    ) -> Result<Tokenizer, Error> {
        let of_kinds = |kinds: &'static [i32]| {
            let ids = self
                .kinds
                .iter()
                .enumerate()
                .filter(|(_, kind)| kinds.contains(kind));
            ids.map(|(id, _)| id as u32).collect::<HashSet<u32>>()
        };
        let special = of_kinds(&[kind::CONTROL, kind::UNKNOWN]);
        let verbatim = of_kinds(&[kind::CONTROL, kind::UNKNOWN, kind::USER_DEFINED]);
        // The unknown token is produced, never parsed.
        let mut parsed: Vec<u32> = of_kinds(&[kind::CONTROL, kind::USER_DEFINED])
            .into_iter()
            .collect();
        parsed.sort_unstable();
        let added = parsed.iter().map(|id| {
            AddedToken::from(self.tokens[*id as usize], special.contains(id)).normalized(false)
        });
        inner
            .add_tokens(added)
            .map_err(|error| self.file.tokenizer(error))?;
        let id = |name: &str| self.id(gguf, &format!("tokenizer.ggml.{name}_token_id"));
        let bos = id("bos")?;
        let ends = [id("eos")?, id("eot")?, id("eom")?];
        let mut eos: Vec<u32> = Vec::new();
        for end in ends.into_iter().flatten() {
            if !eos.contains(&end) {
                eos.push(end);
            }
        }
        let adds_bos = gguf.optional_bool("tokenizer.ggml.add_bos_token")?;
        let adds_bos = adds_bos.unwrap_or(spelling != Spelling::ByteLevel);
        let (file, size) = (self.file.0.to_owned(), self.tokens.len());
        let mut tokenizer = Tokenizer {
            file,
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

    fn id(&self, gguf: &Gguf, key: &str) -> Result<Option<u32>, Error> {
        match gguf.optional_usize(key)? {
            Some(id) if id >= self.tokens.len() => {
                Err(self
                    .file
                    .malformed(key, format!("an id below {}", self.tokens.len()), id))
            }
            id => Ok(id.map(|id| id as u32)),
        }
    }
}

/// Spaces are spelled `▁`, and one is put in front of the text if the model was trained so.
fn spaces(prefix: bool) -> tokenizers::Result<NormalizerWrapper> {
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if prefix {
        steps.push(Prepend::new(sentencepiece::SPACE.to_owned()).into());
    }
    steps.push(Replace::new(" ", sentencepiece::SPACE)?.into());
    Ok(Sequence::new(steps).into())
}

fn strings<'a>(gguf: &Gguf<'a>, key: &str) -> Result<Vec<&'a str>, Error> {
    let array = gguf
        .optional_array(key)?
        .ok_or_else(|| gguf.missing(key, "an array of strings"))?;
    let strings = array.strings().ok_or_else(|| {
        gguf.file()
            .malformed(key, "strings", format!("{:?}", array.kind()))
    })?;
    Ok(strings.collect())
}

fn numbers<'a>(
    gguf: &Gguf<'a>,
    key: &str,
    length: usize,
) -> Result<Option<impl Iterator<Item = f64> + use<'a>>, Error> {
    let Some(array) = gguf.optional_array(key)? else {
        return Ok(None);
    };
    if array.len() != length {
        return Err(gguf
            .file()
            .malformed(key, format!("one per token, {length}"), array.len()));
    }
    array.numbers().map(Some).ok_or_else(|| {
        gguf.file()
            .malformed(key, "numbers", format!("{:?}", array.kind()))
    })
}

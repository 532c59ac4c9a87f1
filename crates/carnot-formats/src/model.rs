//! One view of a model, whichever files it came from.

mod open;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use carnot_kernels::blocks::BlockType;

use crate::chat_template::ChatTemplate;
use crate::config::ModelConfig;
use crate::error::{Error, File};
use crate::gguf::Gguf;
use crate::storage::Storage;
use crate::tokenizer::listing::Listing;
use crate::tokenizer::{self, Tokenizer};

/// A tensor's bytes and how to read them.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorView<'a> {
    /// The canonical (GGUF) name, such as `blk.0.attn_q.weight`.
    pub name: &'a str,
    /// Row-major, outermost first: a matrix is `[out, in]`.
    pub shape: Vec<usize>,
    /// How the values are stored.
    pub dtype: BlockType,
    /// Exactly the tensor's bytes.
    pub data: &'a [u8],
}

impl TensorView<'_> {
    /// Number of values.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The values as singles.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.elements()];
        carnot_kernels::blocks::dequantize(self.dtype, self.data, &mut values);
        values
    }
}

/// An open model: its configuration checked, its tensors mapped, every tensor of the architecture there and of the right shape.
#[derive(Debug)]
pub struct ModelFile {
    name: String,
    /// The path, or what stands for it in errors.
    file: String,
    storages: Vec<Storage>,
    tensors: Vec<Stored>,
    index: HashMap<String, usize>,
    config: ModelConfig,
    origin: Origin,
}

/// Where the tokenizer and the chat template are.
#[derive(Debug)]
enum Origin {
    Gguf,
    Directory(PathBuf),
}

#[derive(Debug)]
struct Stored {
    name: String,
    shape: Vec<usize>,
    dtype: BlockType,
    storage: usize,
    data: Range<usize>,
}

impl ModelFile {
    /// Opens a `.gguf` file, a directory with `config.json` and safetensors, or a `.safetensors` file beside its `config.json`.
    ///
    /// Weights are mapped, not read: the files must not be truncated while the model is open.
    pub fn open(path: &Path) -> Result<Self, Error> {
        open::from_path(path)
    }

    /// A GGUF file in memory, such as one that is part of the program; `name` is what [`name`](Self::name) returns and errors call it.
    pub fn from_gguf_bytes(
        name: &str,
        bytes: impl Into<Cow<'static, [u8]>>,
    ) -> Result<Self, Error> {
        open::from_gguf(
            name.to_owned(),
            name.to_owned(),
            Storage::Memory(bytes.into()),
        )
    }

    /// The file's or directory's name, without the extension.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path that it was opened by, or the name that it was given; what errors call it.
    pub fn path(&self) -> &str {
        &self.file
    }

    /// Bytes of the files that hold the tensors.
    pub fn bytes(&self) -> u64 {
        self.storages
            .iter()
            .map(|storage| storage.len() as u64)
            .sum()
    }

    /// The storage types that hold most of the bytes: `Q4_0`, `F16`, `mixed Q4_K/Q6_K`. Types below a tenth go unnamed.
    pub fn file_type(&self) -> String {
        let mut totals: Vec<(usize, BlockType)> =
            BlockType::ALL.map(|ty| (self.bytes_of(ty), ty)).to_vec();
        totals.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let all: usize = totals.iter().map(|(bytes, _)| bytes).sum();
        let names: Vec<&str> = totals
            .iter()
            .filter(|(bytes, _)| bytes * 10 > all)
            .map(|(_, ty)| ty.name())
            .collect();
        if names.len() > 1 {
            format!("mixed {}", names.join("/"))
        } else {
            names.concat()
        }
    }

    fn bytes_of(&self, dtype: BlockType) -> usize {
        self.tensors
            .iter()
            .filter(|tensor| tensor.dtype == dtype)
            .map(|tensor| tensor.data.len())
            .sum()
    }

    /// The model's shape and constants.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tensor of this canonical name.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, Error> {
        self.optional_tensor(name).ok_or_else(|| self.missing(name))
    }

    fn missing(&self, tensor: &str) -> Error {
        Error::MissingTensor {
            file: self.file.clone(),
            tensor: tensor.to_owned(),
        }
    }

    /// The tensor of this canonical name, if there is one.
    pub fn optional_tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.index
            .get(name)
            .map(|&index| self.view(&self.tensors[index]))
    }

    /// Every tensor, in the order of the files.
    pub fn tensors(&self) -> impl Iterator<Item = TensorView<'_>> {
        self.tensors.iter().map(|stored| self.view(stored))
    }

    fn view<'a>(&'a self, stored: &'a Stored) -> TensorView<'a> {
        let data = &self.storages[stored.storage][stored.data.clone()];
        TensorView {
            name: &stored.name,
            shape: stored.shape.clone(),
            dtype: stored.dtype,
            data,
        }
    }

    /// Number of weights; a tied output projection is not counted twice.
    pub fn parameters(&self) -> u64 {
        self.tensors
            .iter()
            .map(|tensor| tensor.shape.iter().product::<usize>() as u64)
            .sum()
    }

    /// The tokenizer that comes with the model.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        let tokenizer = match &self.origin {
            Origin::Gguf => tokenizer::gguf::build(&self.gguf()?)?,
            Origin::Directory(directory) => tokenizer::huggingface::load(directory)?,
        };
        if tokenizer.vocabulary_size() > self.config.vocabulary {
            let expected = format!(
                "at most the {} rows of the embedding",
                self.config.vocabulary
            );
            return Err(File(&self.file).malformed(
                "tokenizer",
                expected,
                tokenizer.vocabulary_size(),
            ));
        }
        Ok(tokenizer)
    }

    /// The chat template that comes with the model, if one does.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, Error> {
        let Some(source) = self.chat_template_source()? else {
            return Ok(None);
        };
        let tokenizer = self.tokenizer()?;
        let text = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default();
        let (bos, eos) = (
            text(tokenizer.bos()),
            text(tokenizer.eos().first().copied()),
        );
        ChatTemplate::new(&self.file, &source, &bos, &eos).map(Some)
    }

    /// The vocabulary as GGUF lists it.
    pub(crate) fn listing(&self) -> Result<Listing, Error> {
        match &self.origin {
            Origin::Gguf => {
                self.tokenizer()?;
                Listing::from_gguf(&self.gguf()?)
            }
            Origin::Directory(directory) => {
                let path = directory.join("tokenizer.json");
                let bytes = std::fs::read(&path).map_err(|source| Error::Io {
                    path: path.clone(),
                    source,
                })?;
                Listing::from_json(
                    File(&path.display().to_string()),
                    &bytes,
                    &self.tokenizer()?,
                )
            }
        }
    }

    pub(crate) fn chat_template_source(&self) -> Result<Option<String>, Error> {
        match &self.origin {
            Origin::Gguf => Ok(self
                .gguf()?
                .optional_str("tokenizer.chat_template")?
                .map(str::to_owned)),
            Origin::Directory(directory) => tokenizer::huggingface::chat_template(directory),
        }
    }

    /// The header, read again: it is needed twice in a model's life.
    fn gguf(&self) -> Result<Gguf<'_>, Error> {
        Gguf::read(&self.file, &self.storages[0])
    }
}

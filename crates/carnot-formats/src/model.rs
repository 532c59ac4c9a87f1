//! One view of a model, whichever files it came from.

use std::path::Path;

use carnot_kernels::blocks::BlockType;

use crate::chat_template::ChatTemplate;
use crate::config::ModelConfig;
use crate::error::Error;
use crate::tokenizer::Tokenizer;

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

/// An open model: its configuration checked, its tensors mapped.
#[derive(Debug)]
pub struct ModelFile {
    config: ModelConfig,
}

impl ModelFile {
    /// Opens a `.gguf` file, a directory with `config.json` and safetensors, or a `.safetensors` file beside its `config.json`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let _ = path;
        unimplemented!()
    }
    /// A GGUF file that is part of the program.
    pub fn from_gguf_bytes(name: &str, bytes: &'static [u8]) -> Result<Self, Error> {
        let _ = (name, bytes);
        unimplemented!()
    }
    /// The file's or directory's name, without the extension.
    pub fn name(&self) -> &str {
        unimplemented!()
    }
    /// Bytes of the model's files that hold tensors.
    pub fn bytes(&self) -> u64 {
        unimplemented!()
    }
    /// The storage types that hold most of the bytes: `Q4_0`, `F16`, `mixed Q4_K/Q6_K`.
    pub fn file_type(&self) -> String {
        unimplemented!()
    }
    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
    /// The tensor of this canonical name.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, Error> {
        let _ = name;
        unimplemented!()
    }
    /// The tensor of this canonical name, if there is one.
    pub fn optional_tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let _ = name;
        unimplemented!()
    }
    /// Every tensor, in the order of the files.
    pub fn tensors(&self) -> impl Iterator<Item = TensorView<'_>> {
        std::iter::empty()
    }
    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        unimplemented!()
    }
    /// The tokenizer that comes with the model.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        unimplemented!()
    }
    /// The chat template that comes with the model, if one does.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, Error> {
        unimplemented!()
    }
}

//! What a model is, apart from its weights: one form, whichever file it came from.

pub(crate) mod gguf;
pub(crate) mod huggingface;
mod rope;
mod validate;

pub use rope::{Rope, RopeScaling, RopeStyle};

/// The decoder architectures that are understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// Llama 1 to 3, and everything that follows it (`TinyLlama`, `SmolLM`, …). In GGUF, Mistral too.
    Llama,
    /// Llama with a sliding attention window in its early versions.
    Mistral,
    /// Llama with biases on the query, key and value projections.
    Qwen2,
    /// Llama with normalised queries and keys, and a head size of its own.
    Qwen3,
}

impl Architecture {
    /// The name in GGUF's `general.architecture` and the prefix of its keys.
    pub const fn gguf_name(self) -> &'static str {
        match self {
            Self::Llama | Self::Mistral => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// Whether the query, key and value projections have biases that must be there.
    pub const fn has_attention_biases(self) -> bool {
        matches!(self, Self::Qwen2)
    }

    /// Whether queries and keys are normalised per head.
    pub const fn has_query_key_norms(self) -> bool {
        matches!(self, Self::Qwen3)
    }
}

/// The shape of a model and the constants of its arithmetic.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelConfig {
    /// Which family of layers.
    pub architecture: Architecture,
    /// Rows of the embedding, at least as many as the tokenizer's tokens.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads per layer.
    pub heads: usize,
    /// Key and value heads per layer; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; not always `hidden / heads`.
    pub head_dim: usize,
    /// Width inside the feed-forward part.
    pub feed_forward: usize,
    /// Tokens that the model was made for.
    pub context_length: usize,
    /// The constant under the root of every RMS norm.
    pub rms_norm_epsilon: f32,
    /// How positions are encoded.
    pub rope: Rope,
    /// Whether the output projection is the embedding (there is no `output.weight`).
    pub tied_embeddings: bool,
    /// Tokens that a token may look back on, itself included, if not all.
    pub sliding_window: Option<usize>,
}

impl ModelConfig {
    /// Reads a Hugging Face `config.json`; `name` is what errors call it.
    pub fn from_json(name: &str, json: &[u8]) -> Result<Self, crate::Error> {
        let file = crate::error::File(name);
        let config = huggingface::parse(file, json)?;
        config.validate(file)?;
        Ok(config)
    }
}

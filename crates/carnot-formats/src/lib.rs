//! Model and tokenizer files: bytes to typed views and back

pub use carnot_kernels::blocks::BlockType;
pub use chat_template::{ChatMessage, ChatTemplate};
pub use config::{Architecture, ModelConfig, Rope, RopeScaling, RopeStyle};
pub use error::Error;
pub use layout::TensorSpec;
pub use model::{ModelFile, TensorView};
pub use tokenizer::Tokenizer;

mod chat_template;
mod config;
pub mod convert;
mod error;
pub mod gguf;
mod layout;
mod model;
pub mod safetensors;
mod storage;
pub mod synth;
mod tokenizer;

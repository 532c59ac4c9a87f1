//! Model and tokenizer files: bytes to typed views and back. Engines read models through this crate; it computes nothing.
//!
//! | what | where |
//! |---|---|
//! | a model, whichever files it came from | [`ModelFile`], [`TensorView`], [`ModelConfig`] |
//! | text to tokens and back | [`Tokenizer`] |
//! | conversations to text | [`ChatTemplate`] |
//! | any model to one GGUF file | [`convert`] |
//! | models of random weights, to measure speed with | [`synth`] |
//! | arrays that `NumPy` kept | [`npz`] |
//! | the file formats themselves, reader beside writer | [`gguf`], [`safetensors`] |
//!
//! Tensors go by their GGUF names (`blk.0.attn_q.weight`) whatever their source. Opening a model checks that every tensor of the
//! architecture is there, of the right shape, and that there is no other: an engine never sees a wrong one. Files are hostile until
//! proved sound: every count is held to the bytes that remain, and every error names the file, the field, what was expected and what
//! was found.
//!
//! ```
//! # fn main() -> Result<(), carnot_formats::Error> {
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/embedded-q8_0.gguf");
//! use carnot_formats::ModelFile;
//! use serde_json::json;
//!
//! let model = ModelFile::open(path.as_ref())?;
//! assert_eq!(model.file_type(), "Q8_0");
//! let query = model.tensor("blk.0.attn_q.weight")?;
//! assert_eq!(query.shape, [model.config().heads * model.config().head_dim, model.config().hidden]);
//!
//! let tokenizer = model.tokenizer()?;
//! let ids = tokenizer.encode("import os", true)?;
//! assert_eq!(tokenizer.decode(&ids, true)?, "import os");
//!
//! let template = model.chat_template()?.expect("this model has one");
//! assert_eq!(template.render(&[json!({"role": "user", "content": "hello"})], &[(); 0], &json!({}), true)?, "# user: hello\n# assistant: ");
//! # Ok(())
//! # }
//! ```

pub use carnot_kernels::blocks::BlockType;
pub use chat_template::ChatTemplate;
pub use config::{Architecture, ModelConfig, Rope, RopeScaling, RopeStyle};
pub use error::Error;
pub use layout::TensorSpec;
pub use model::{ModelFile, TensorView};
pub use tokenizer::Tokenizer;

mod model;

mod chat_template;
mod config;
mod layout;
mod tokenizer;

pub mod convert;
pub mod synth;

pub mod gguf;
pub mod npz;
pub mod safetensors;
mod storage;

mod error;

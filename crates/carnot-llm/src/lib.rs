//! Language models on CPU: weights, forward pass, sequences, sampler, and the engine that joins them.
//!
//! ```text
//! weights    a model file, repacked          forward     tokens in, logits out, every operation told to the probe
//! kv_pool    blocks of 16 tokens             sampler     logits in, a token out
//! decoder    tokens in, whole characters out  engine      requests in, events out (`carnot_engine::TextEngine`)
//! perplexity the instrument that judges every later optimisation
//! memory_need what loading takes, known before it begins
//! ```
//!
//! No socket, no environment, no wall clock: time is what the probe records.

mod blocks;
mod engine;
mod error;
mod forward;
mod head_padding;
mod instrument;
mod memory_need;
pub mod perplexity;
mod prefix_cache;
mod sampler;
pub mod scheduler;
pub mod simulator;
mod stream_decoder;
mod weights;

pub use blocks::{Block, BlockPool, BlockTable};
pub use engine::{EngineOptions, LlmEngine};
pub use error::Error;
pub use forward::{Batch, BatchSpan, Model};
pub use memory_need::{MemoryNeed, StepSize};
pub use prefix_cache::{Eviction, Pin, PrefixCache, PrefixMatch};
pub use sampler::Sampler;
pub use stream_decoder::StreamDecoder;
pub use weights::Weights;

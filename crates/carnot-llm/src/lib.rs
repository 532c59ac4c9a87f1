//! Language models on CPU: weights, forward pass, sequences, sampler, and the engine that joins them.
//!
//! ```text
//! weights       a model file, repacked                    forward       tokens in, logits out, every operation told to the probe
//! blocks        16 tokens of keys and values, and who      prefix_cache  what was computed before, by its tokens
//!               holds them                                scheduler     which tokens of which sequences a step computes
//! sampler       logits in, a token out                    simulator     the same with a formula for the model
//! stream_decoder tokens in, whole characters out          engine        requests in, events out (`carnot_engine::TextEngine`)
//! perplexity    the instrument that judges every later optimisation
//! grammar       which tokens a grammar allows next
//! memory_need   what loading takes, known before it begins
//! ```
//!
//! No socket, no environment, no wall clock: time is what the probe records.

mod angles;
mod blocks;
mod codec;
mod drafter;
mod engine;
mod error;
mod faults;
mod forward;
mod grammar;
mod head_padding;
mod instrument;
mod memory_need;
pub mod perplexity;
mod pooling;
mod prefix_cache;
mod sampler;
pub mod scheduler;
pub mod simulator;
mod stream_decoder;
mod weights;

pub use blocks::{Block, BlockPool, BlockTable};
pub use engine::{CacheSize, EngineOptions, LlmEngine};
pub use error::Error;
pub use forward::{Batch, BatchSpan, KvRoom, Model};
pub use grammar::GuideFailed;
pub use memory_need::{MemoryNeed, StepSize};
pub use prefix_cache::{Eviction, Pin, PrefixCache, PrefixMatch};
pub use sampler::{Choice, Rules, Sampler};
pub use stream_decoder::StreamDecoder;
pub use weights::Weights;

//! The contract between engines and those who drive them: requests in, events out, one step at a time.
//!
//! An engine is a state machine. [`TextEngine::step`] does one bounded piece of work and says what happened; it opens no
//! socket, reads no clock and starts no runtime. What drives it (a command, a server, a benchmark) knows nothing of models.
//! Models that turn tensors into tensors have an engine with a single call, [`TensorEngine::run`].
//!
//! ```
//! use carnot_engine::{Event, FinishReason, RequestId, Sampling, TextEngine, TextRequest};
//!
//! fn text_of(
//!     engine: &mut dyn TextEngine,
//!     tokens: Vec<u32>,
//!     clock: impl Fn() -> std::time::Duration,
//! ) -> Result<String, carnot_engine::EngineError> {
//!     let request = TextRequest { prompt: tokens, max_tokens: 16, ..TextRequest::default() };
//!     let request = engine.submit(request, clock())?;
//!     let (mut text, mut events) = (String::new(), Vec::new());
//!     while !engine.is_idle() {
//!         engine.step(clock(), &mut events)?;
//!         for event in events.drain(..) {
//!             if let Event::Token { text: piece, .. } = event {
//!                 text += &piece;
//!             }
//!         }
//!     }
//!     Ok(text)
//! }
//! ```

mod codec;
mod error;
mod event;
mod request;
mod tensor;
mod tensor_engine;

pub use codec::{ChatMessage, Conversation, TextCodec};
pub use error::EngineError;
pub use event::{Event, FinishReason, StepOutcome, TokenLogprobs, Usage};
pub use request::{
    DEFAULT_PRIORITY, Grammar, MAX_PRIORITY, Pooling, RequestId, Sampling, TextRequest,
};
pub use tensor::{Element, SharedBytes, Tensor, TensorType};
pub use tensor_engine::{TensorEngine, TensorInfo, TensorModelInfo, common_rows};

use std::sync::Arc;
use std::time::Duration;

/// An engine that continues token sequences.
pub trait TextEngine {
    /// What it runs.
    fn model(&self) -> &ModelInfo;

    /// How text becomes tokens, and tokens text; usable from any thread.
    fn codec(&self) -> Arc<dyn TextCodec>;

    /// Takes a request at the time `now`, or says at once why it can never be served.
    fn submit(&mut self, request: TextRequest, now: Duration) -> Result<RequestId, EngineError>;

    /// Gives a request up in whatever state it is; nothing happens if it is unknown or finished.
    fn cancel(&mut self, request: RequestId);

    /// Stops a request, which keeps its place, or goes on with it: for readers that are slower than the model.
    fn pause(&mut self, request: RequestId, is_paused: bool);

    /// What waits, runs and is kept at the moment.
    fn census(&self) -> Census;

    /// Forgets kept prefixes that no request uses; returns how many blocks that freed.
    fn flush_prefix_cache(&mut self) -> usize;

    /// Does one step (a chunk of prefill, a token of decode, or both for several requests) and appends what happened.
    ///
    /// `now` counts from any moment and never backwards; engines learn from it what their steps cost, and what is late.
    /// An error concerns the engine itself; a request that fails ends with [`Event::Finished`].
    fn step(&mut self, now: Duration, events: &mut Vec<Event>) -> Result<StepOutcome, EngineError>;

    /// Whether there is nothing to do.
    fn is_idle(&self) -> bool;
}

/// What an engine runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelInfo {
    /// The model's name.
    pub name: String,
    /// Such as `llama`.
    pub architecture: String,
    /// How many numbers it has learnt.
    pub parameters: u64,
    /// Such as `Q8_0`.
    pub file_type: String,
    /// The size of its weights as stored.
    pub bytes: u64,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Most tokens of a sequence, prompt and continuation together.
    pub context_length: usize,
}

/// What an engine has at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Requests that have a place.
    pub running: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// Tokens of those that wait.
    pub waiting_tokens: usize,
    /// Blocks of keys and values in all.
    pub blocks: usize,
    /// Blocks that hold nothing.
    pub free_blocks: usize,
    /// Blocks that only kept prefixes hold, and that are given up when they are needed.
    pub cached_blocks: usize,
    /// Tokens of kept prefixes.
    pub cached_tokens: usize,
    /// Requests that had to make room for others, so far.
    pub preemptions: u64,
}

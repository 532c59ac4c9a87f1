//! The contract between engines and those who drive them: requests in, events out, one step at a time.
//!
//! An engine is a state machine. [`TextEngine::step`] does one bounded piece of work and says what happened; it opens no
//! socket, reads no clock and starts no runtime. What drives it (a command, a server, a benchmark) knows nothing of models.
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

mod error;
mod event;
mod request;

pub use error::EngineError;
pub use event::{Event, FinishReason, StepOutcome, Usage};
pub use request::{DEFAULT_PRIORITY, RequestId, Sampling, TextRequest};

use std::time::Duration;

/// An engine that continues token sequences.
pub trait TextEngine {
    /// What it runs.
    fn model(&self) -> &ModelInfo;

    /// Takes a request at the time `now`, or says at once why it can never be served.
    fn submit(&mut self, request: TextRequest, now: Duration) -> Result<RequestId, EngineError>;

    /// Gives a request up in whatever state it is; nothing happens if it is unknown or finished.
    fn cancel(&mut self, request: RequestId);

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

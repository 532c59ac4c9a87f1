//! What an engine says.

use crate::RequestId;

/// Something that happened to a request in a step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The whole prompt has been processed.
    Prefilled {
        /// Whose.
        request: RequestId,
        /// Tokens in the prompt.
        tokens: usize,
    },
    /// A token was generated.
    Token {
        /// Whose.
        request: RequestId,
        /// The token.
        token: u32,
        /// The text that is certain now: whole characters, not part of a stop text. Often one token's, sometimes empty.
        text: String,
    },
    /// The request has ended; it is forgotten.
    Finished {
        /// Whose.
        request: RequestId,
        /// Why.
        reason: FinishReason,
        /// Text that was held back until now.
        text: String,
        /// What it took.
        usage: Usage,
    },
}

/// Why a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FinishReason {
    /// An end-of-text token or a stop text came.
    Stop,
    /// The number of tokens asked for, or the context, is used up.
    Length,
    /// It was cancelled.
    Cancelled,
    /// Its deadline came.
    TimedOut,
}

impl FinishReason {
    /// The name that APIs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timeout",
        }
    }
}

/// Tokens that a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that did not have to be computed, because another request began alike.
    pub cached_tokens: usize,
    /// Tokens that were computed twice, because the request had to make room for others.
    pub recomputed_tokens: usize,
    /// Tokens generated, an end-of-text token among them.
    pub generated_tokens: usize,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepOutcome {
    /// Prompt tokens processed.
    pub prefill_tokens: usize,
    /// Tokens generated.
    pub decode_tokens: usize,
}

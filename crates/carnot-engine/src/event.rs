//! What an engine says.

use crate::RequestId;

/// Something that happened to a request in a step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The request has got its place: it waits no more.
    Started {
        /// Whose.
        request: RequestId,
        /// Tokens of its prompt that do not have to be computed.
        cached_tokens: usize,
    },
    /// A part of the prompt has been processed, and more is to come.
    Prefilling {
        /// Whose.
        request: RequestId,
        /// Tokens of the prompt that are done.
        tokens: usize,
    },
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
        /// How likely it was, if that was asked for.
        logprobs: Option<Box<TokenLogprobs>>,
    },
    /// The vector that was asked for.
    Embedding {
        /// Whose.
        request: RequestId,
        /// As the last layer leaves it, normed as for the output; its length is the model's width.
        values: Vec<f32>,
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

/// Natural logarithms of the probabilities that the model gave, before anything that the request asked for changed them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenLogprobs {
    /// Of the token that was generated.
    pub chosen: f32,
    /// Of the likeliest tokens, these first.
    pub top: Vec<(u32, f32)>,
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
    /// Its grammar could not be followed further.
    OutOfGrammar,
    /// What the engine does for it alone panicked.
    Panicked,
}

impl FinishReason {
    /// The name that APIs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timeout",
            Self::OutOfGrammar | Self::Panicked => "failed",
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

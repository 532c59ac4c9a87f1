//! Why an engine refuses or stops.

use thiserror::Error;

/// Why a request was refused, or why the engine cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The prompt holds no token.
    #[error("the prompt is empty, expected at least one token")]
    EmptyPrompt,
    /// A token is not in the vocabulary.
    #[error(
        "token {token} at position {position} of the prompt, expected one below the vocabulary's {vocabulary}"
    )]
    UnknownToken {
        /// The token.
        token: u32,
        /// Where it stands.
        position: usize,
        /// Tokens in the vocabulary.
        vocabulary: usize,
    },
    /// Prompt and continuation can never fit.
    #[error("a prompt of {prompt} tokens leaves no room in a context of {context}")]
    ContextExceeded {
        /// Tokens in the prompt.
        prompt: usize,
        /// Most tokens of a sequence.
        context: usize,
    },
    /// The model was made for no conversation.
    #[error("{model} has no chat template")]
    NoChatTemplate {
        /// The model's name.
        model: String,
    },
    /// A grammar that cannot be followed.
    #[error("the grammar: {reason}")]
    InvalidGrammar {
        /// What is wrong with it.
        reason: String,
    },
    /// A parameter is out of its range.
    #[error("{name}: expected {expected}, got {got}")]
    InvalidParameter {
        /// The parameter.
        name: &'static str,
        /// What would have been right.
        expected: &'static str,
        /// What was given.
        got: String,
    },
    /// A tensor that is not what it says, or not what the model takes.
    #[error("tensor {tensor}: {what}: expected {expected}, got {got}")]
    InvalidTensor {
        /// The tensor.
        tensor: String,
        /// What of it: its type, shape, values or rows.
        what: &'static str,
        /// What would have been right.
        expected: String,
        /// What was found.
        got: String,
    },
    /// A model has no such input or output.
    #[error("{model} has no {what} {tensor}, expected one of: {expected}")]
    UnknownTensor {
        /// The model's name.
        model: String,
        /// `input` or `output`.
        what: &'static str,
        /// The name.
        tensor: String,
        /// The names that there are.
        expected: String,
    },
    /// A tensor was given twice.
    #[error("tensor {tensor} is given more than once")]
    RepeatedTensor {
        /// The tensor.
        tensor: String,
    },
    /// An input of the model was not given.
    #[error("input {input} is missing, expected {expected}")]
    MissingInput {
        /// The input.
        input: String,
        /// Its type and shape.
        expected: String,
    },
    /// The engine's own failure, such as weights that cannot be read.
    #[error(transparent)]
    Engine(#[from] Box<dyn std::error::Error + Send + Sync>),
}

//! Text and tokens.

use crate::{EngineError, Grammar};

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user`, `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// How a model's text becomes tokens, and its tokens text.
pub trait TextCodec: Send + Sync {
    /// The tokens of `text`, with a beginning-of-text token where the model wants one and `is_start` says that this is one.
    fn encode(&self, text: &str, is_start: bool) -> Result<Vec<u32>, EngineError>;

    /// The text of `tokens`; bytes that are no whole character are shown as U+FFFD.
    fn decode(&self, tokens: &[u32]) -> Result<String, EngineError>;

    /// The bytes that a token stands for; none for one that stands for no text.
    fn token_bytes(&self, token: u32) -> Option<Vec<u8>>;

    /// The tokens of a conversation, up to where the next answer begins.
    ///
    /// # Errors
    /// [`EngineError::NoChatTemplate`] where the model was made for no conversation.
    fn encode_chat(&self, messages: &[ChatMessage]) -> Result<Vec<u32>, EngineError>;

    /// Compiles a grammar, which takes time that the engine's thread has not, and keeps it for the requests that follow.
    ///
    /// # Errors
    /// [`EngineError::InvalidGrammar`] where it is not well formed, or larger than what is allowed.
    fn check_grammar(&self, grammar: &Grammar) -> Result<(), EngineError>;
}

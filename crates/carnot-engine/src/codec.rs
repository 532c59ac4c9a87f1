//! Text and tokens.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{EngineError, Grammar};

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user`, `assistant`, `tool`.
    pub role: String,
    /// What is said.
    pub content: String,
    /// What else templates read: `tool_calls`, `tool_call_id`, `name`, `reasoning_content`.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl ChatMessage {
    /// A message that is only said.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
            rest: Map::new(),
        }
    }
}

/// What a chat template makes a prompt of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// What was said so far.
    pub messages: Vec<ChatMessage>,
    /// What the model may call, each in OpenAI's form: `{"type": "function", "function": {…}}`.
    pub tools: Vec<Value>,
    /// What else the template asks for, such as `enable_thinking`.
    pub arguments: Map<String, Value>,
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
    fn encode_chat(&self, conversation: &Conversation) -> Result<Vec<u32>, EngineError>;

    /// Compiles a grammar, which takes time that the engine's thread has not, and keeps it for the requests that follow.
    ///
    /// # Errors
    /// [`EngineError::InvalidGrammar`] where it is not well formed, or larger than what is allowed.
    fn check_grammar(&self, grammar: &Grammar) -> Result<(), EngineError>;
}

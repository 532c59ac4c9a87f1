//! Text and tokens, as the engine's contract has them.

use std::sync::Arc;

use carnot_engine::{ChatMessage, EngineError, TextCodec};
use carnot_formats::{ChatTemplate, Tokenizer};

/// A model's tokenizer and chat template.
pub(crate) struct Codec {
    tokenizer: Arc<Tokenizer>,
    template: Option<ChatTemplate>,
    model: String,
}

impl Codec {
    pub fn new(tokenizer: Arc<Tokenizer>, template: Option<ChatTemplate>, model: &str) -> Self {
        Self {
            tokenizer,
            template,
            model: model.to_owned(),
        }
    }
}

impl TextCodec for Codec {
    fn encode(&self, text: &str, is_start: bool) -> Result<Vec<u32>, EngineError> {
        self.tokenizer.encode(text, is_start).map_err(foreign)
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, EngineError> {
        self.tokenizer.decode(tokens, true).map_err(foreign)
    }

    fn token_bytes(&self, token: u32) -> Option<Vec<u8>> {
        self.tokenizer.token_bytes(token)
    }

    fn encode_chat(&self, messages: &[ChatMessage]) -> Result<Vec<u32>, EngineError> {
        let template = self.template.as_ref();
        let template = template.ok_or_else(|| EngineError::NoChatTemplate {
            model: self.model.clone(),
        })?;
        let messages: Vec<_> = messages
            .iter()
            .map(|message| carnot_formats::ChatMessage::new(&message.role, &message.content))
            .collect();
        let text = template.render(&messages, true).map_err(foreign)?;
        let mut tokens = self.encode(&text, true)?;
        // A template may write the beginning-of-text token itself; it would be there twice.
        let bos = self.tokenizer.bos();
        if let (Some(bos), [first, second, ..]) = (bos, tokens.as_slice())
            && *first == bos
            && *second == bos
        {
            tokens.remove(0);
        }
        Ok(tokens)
    }
}

fn foreign(error: carnot_formats::Error) -> EngineError {
    EngineError::Engine(Box::new(error))
}

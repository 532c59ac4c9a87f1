//! Text and tokens, as the engine's contract has them.

use std::sync::Arc;

use carnot_engine::{Conversation, EngineError, Grammar, TextCodec};
use carnot_formats::{ChatTemplate, Tokenizer};

use crate::grammar::{Grammars, Guide};

/// A model's tokenizer and chat template.
pub(crate) struct Codec {
    tokenizer: Arc<Tokenizer>,
    template: Option<ChatTemplate>,
    grammars: Result<Grammars, String>,
    model: String,
}

impl Codec {
    pub fn new(tokenizer: Arc<Tokenizer>, template: Option<ChatTemplate>, model: &str) -> Self {
        Self {
            grammars: Grammars::new(&tokenizer),
            tokenizer,
            template,
            model: model.to_owned(),
        }
    }

    /// A guide through `grammar`, compiled if it is not kept.
    pub fn guide(&self, grammar: &Grammar) -> Result<Guide, EngineError> {
        let grammars = self.grammars.as_ref();
        let grammars = grammars.map_err(|reason| EngineError::InvalidGrammar {
            reason: reason.clone(),
        })?;
        grammars.guide(grammar)
    }
}

impl TextCodec for Codec {
    fn encode(&self, text: &str, is_start: bool) -> Result<Vec<u32>, EngineError> {
        self.tokenizer.encode(text, is_start).map_err(foreign)
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, EngineError> {
        let vocabulary = self.tokenizer.vocabulary_size();
        let unknown = |&token: &u32| self.tokenizer.token_bytes(token).is_none();
        if let Some(position) = tokens.iter().position(unknown) {
            return Err(EngineError::UnknownToken {
                token: tokens[position],
                position,
                vocabulary,
            });
        }
        self.tokenizer.decode(tokens, true).map_err(foreign)
    }

    fn token_bytes(&self, token: u32) -> Option<Vec<u8>> {
        self.tokenizer.token_bytes(token)
    }

    fn encode_chat(&self, conversation: &Conversation) -> Result<Vec<u32>, EngineError> {
        let template = self.template.as_ref();
        let template = template.ok_or_else(|| EngineError::NoChatTemplate {
            model: self.model.clone(),
        })?;
        let Conversation {
            messages,
            tools,
            arguments,
        } = conversation;
        let text = template.render(messages, tools, arguments, true);
        let text = text.map_err(foreign)?;
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

    fn check_grammar(&self, grammar: &Grammar) -> Result<(), EngineError> {
        self.guide(grammar).map(drop)
    }
}

fn foreign(error: carnot_formats::Error) -> EngineError {
    EngineError::Engine(Box::new(error))
}

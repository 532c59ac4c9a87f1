//! Structured output: which tokens may come next, by a grammar.
//!
//! The grammars are llguidance's: JSON schemas, regular expressions, context-free grammars. A compiled one is a state machine over
//! bytes; walking the trie of the vocabulary with it gives the mask of tokens. Compiling and walking have budgets, so that a
//! hostile grammar is refused instead of taking the engine's time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use carnot_engine::{EngineError, Grammar};
use carnot_formats::Tokenizer;
use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

/// Compiled grammars that are kept.
const KEPT: usize = 32;
/// Bytes of a grammar's text.
const LONGEST: usize = 1 << 18;

/// Compiles grammars for the vocabulary of a model.
pub(crate) struct Grammars {
    factory: ParserFactory,
    /// The most recently used last.
    kept: Mutex<VecDeque<(Grammar, Matcher)>>,
}

impl Grammars {
    /// # Errors
    /// Why a vocabulary cannot follow grammars: one without an end-of-text token could not say that a text is complete.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, String> {
        let eos = tokenizer.eos().first();
        let eos = *eos.ok_or("the model has no end-of-text token to complete a text with")?;
        let size = tokenizer.vocabulary_size() as u32;
        let words: Vec<Vec<u8>> = (0..size).map(|token| word(tokenizer, token)).collect();
        let trie = TokTrie::from(&TokRxInfo::new(size, eos), &words);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let factory = ParserFactory::new_simple(&environment);
        let mut factory = factory.map_err(|error| error.to_string())?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self {
            factory,
            kept: Mutex::default(),
        })
    }

    /// A guide at the beginning of `grammar`.
    pub fn guide(&self, grammar: &Grammar) -> Result<Guide, EngineError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(known, _)| known == grammar) {
            let entry = kept.remove(at).expect("just found");
            let matcher = entry.1.deep_clone();
            kept.push_back(entry);
            return Ok(Guide(matcher));
        }
        drop(kept);
        let matcher = self.compile(grammar)?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((grammar.clone(), matcher.deep_clone()));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(Guide(matcher))
    }

    fn compile(&self, grammar: &Grammar) -> Result<Matcher, EngineError> {
        let (Grammar::JsonSchema(text) | Grammar::Regex(text) | Grammar::Lark(text)) = grammar;
        if text.len() > LONGEST {
            let reason = format!("expected at most {LONGEST} bytes, got {}", text.len());
            return Err(EngineError::InvalidGrammar { reason });
        }
        let top = match grammar {
            Grammar::JsonSchema(text) => {
                let schema = serde_json::from_str(text).map_err(|error| invalid(&error))?;
                TopLevelGrammar::from_json_schema(with_little_whitespace(schema))
            }
            Grammar::Regex(text) => TopLevelGrammar::from_regex(text),
            Grammar::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
        };
        let matcher = Matcher::new(self.factory.create_parser(top));
        match matcher.get_error() {
            None => Ok(matcher),
            Some(error) => Err(invalid(&error)),
        }
    }
}

/// Between the parts of JSON any whitespace is allowed, and small models find no end to it: a space, or a line with its indentation.
fn with_little_whitespace(mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        let options = json!({ "whitespace_flexible": true, "whitespace_pattern": " |\\n {0,16}" });
        schema.entry("x-guidance").or_insert(options);
    }
    schema
}

/// The first line of what llguidance says, which says what; the others say where in its own terms.
fn invalid(error: &dyn fmt::Display) -> EngineError {
    let text = error.to_string();
    let reason = text.lines().next().unwrap_or_default().to_owned();
    EngineError::InvalidGrammar { reason }
}

/// The bytes of a token as the trie has them: a marker before the names of special ones, so that no text is taken for one.
fn word(tokenizer: &Tokenizer, token: u32) -> Vec<u8> {
    let special = || {
        let name = tokenizer.token(token)?;
        Some([&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat())
    };
    if tokenizer.is_special(token) {
        return special().unwrap_or_default();
    }
    tokenizer.token_bytes(token).unwrap_or_default()
}

/// Where a text stands in its grammar.
pub(crate) struct Guide(Matcher);

impl fmt::Debug for Guide {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Guide({:?})", self.0.stop_reason())
    }
}

impl Guide {
    /// Forbids the tokens that may not come next.
    pub fn restrict(&mut self, logits: &mut [f32]) -> Result<(), GuideFailed> {
        let mask = self.0.compute_mask_or_eos().map_err(|_| GuideFailed)?;
        let (masked, beyond) = logits.split_at_mut(mask.len().min(logits.len()));
        beyond.fill(f32::NEG_INFINITY);
        mask.iter_unset_entries(|token| {
            if let Some(logit) = masked.get_mut(token) {
                *logit = f32::NEG_INFINITY;
            }
        });
        Ok(())
    }

    /// A token came.
    pub fn accept(&mut self, token: u32) -> Result<(), GuideFailed> {
        self.0.consume_token(token).map_err(|_| GuideFailed)
    }

    /// Whether the text is complete and nothing can follow.
    pub fn is_over(&self) -> bool {
        self.0.is_stopped()
    }
}

/// A budget of the grammar is used up, or no token fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuideFailed;

//! What is asked of an engine.

use std::sync::Arc;
use std::time::Duration;

use crate::EngineError;

/// Names a request among those of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A sequence to continue.
#[derive(Clone, Debug, PartialEq)]
pub struct TextRequest {
    /// The tokens to continue, with a beginning-of-text token where the model wants one.
    pub prompt: Vec<u32>,
    /// Most tokens to generate; fewer where the context ends.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts that end the generation; they are not part of the output.
    pub stop: Vec<String>,
    /// Tokens that end the generation, beside the model's own; they are not part of the text.
    pub stop_tokens: Vec<u32>,
    /// Whether generation goes on past the model's own end-of-text tokens.
    pub ignore_eos: bool,
    /// Tokens that are generated before any that ends the generation may come.
    pub min_tokens: usize,
    /// Added to the logits of tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Whether the logarithms of probabilities are told with each token, and those of how many of the likeliest beside it.
    pub logprobs: Option<usize>,
    /// Asks for a vector instead of a text: nothing is generated.
    pub embed: Option<Pooling>,
    /// What the text has to be.
    pub grammar: Option<Grammar>,
    /// From 0 to 10; 10 goes first.
    pub priority: u8,
    /// Whose request it is. Tenants take turns, and one's cached prompts are nothing to another.
    pub tenant: Arc<str>,
    /// When it is of no use any more, by the clock of [`TextEngine::step`](crate::TextEngine::step).
    pub deadline: Option<Duration>,
}

/// How the hidden states of a prompt's tokens become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// That of the last token, which has seen all others.
    #[default]
    Last,
    /// Their mean.
    Mean,
}

/// A form that a text has to have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Grammar {
    /// JSON that a schema allows; the schema as text.
    JsonSchema(String),
    /// A regular expression that the whole text matches.
    Regex(String),
    /// A context-free grammar in the Lark form of llguidance.
    Lark(String),
}

/// The priority of a request that asks for none.
pub const DEFAULT_PRIORITY: u8 = 5;
/// The priority that goes first.
pub const MAX_PRIORITY: u8 = 10;

impl Default for TextRequest {
    fn default() -> Self {
        Self {
            prompt: Vec::new(),
            max_tokens: 256,
            sampling: Sampling::default(),
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            ignore_eos: false,
            min_tokens: 0,
            logit_bias: Vec::new(),
            logprobs: None,
            embed: None,
            grammar: None,
            priority: DEFAULT_PRIORITY,
            tenant: Arc::default(),
            deadline: None,
        }
    }
}

impl TextRequest {
    /// Checks everything that can be checked without a model.
    pub fn validate(&self) -> Result<(), EngineError> {
        self.sampling.validate()?;
        if self.prompt.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if self.priority > MAX_PRIORITY {
            return Err(EngineError::InvalidParameter {
                name: "priority",
                expected: "a number from 0 to 10",
                got: self.priority.to_string(),
            });
        }
        let bad = self.logit_bias.iter().find(|(_, bias)| bias.is_nan());
        if let Some((token, bias)) = bad {
            return Err(EngineError::InvalidParameter {
                name: "logit_bias",
                expected: "numbers",
                got: format!("{bias} for token {token}"),
            });
        }
        Ok(())
    }
}

/// How the next token is chosen from the logits, in this order: penalties, temperature, top-k, top-p, min-p, draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Keeps the `k` most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the most likely tokens whose probabilities sum to at least this; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least this times as likely as the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens seen before; 1 changes nothing (Keskar et al., 2019).
    pub repetition_penalty: f32,
    /// Subtracted from a token's logit for every time it was generated.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit once if it was generated.
    pub presence_penalty: f32,
    /// Determines the draws: the same seed, request and model give the same tokens.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Checks every parameter against its range.
    pub fn validate(&self) -> Result<(), EngineError> {
        let checks: [(&'static str, f32, &'static str, bool); 6] = [
            (
                "temperature",
                self.temperature,
                "a number from 0",
                self.temperature >= 0.0,
            ),
            (
                "top_p",
                self.top_p,
                "a number above 0, at most 1",
                self.top_p > 0.0 && self.top_p <= 1.0,
            ),
            (
                "min_p",
                self.min_p,
                "a number from 0 to 1",
                (0.0..=1.0).contains(&self.min_p),
            ),
            (
                "repetition_penalty",
                self.repetition_penalty,
                "a number above 0",
                self.repetition_penalty > 0.0,
            ),
            (
                "frequency_penalty",
                self.frequency_penalty,
                "a number from -2 to 2",
                self.frequency_penalty.abs() <= 2.0,
            ),
            (
                "presence_penalty",
                self.presence_penalty,
                "a number from -2 to 2",
                self.presence_penalty.abs() <= 2.0,
            ),
        ];
        match checks
            .into_iter()
            .find(|(_, value, _, ok)| !ok || !value.is_finite())
        {
            Some((name, value, expected, _)) => Err(EngineError::InvalidParameter {
                name,
                expected,
                got: value.to_string(),
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_nonsense_is_not() {
        assert!(Sampling::default().validate().is_ok());
        for bad in [
            Sampling {
                temperature: -1.0,
                ..Sampling::default()
            },
            Sampling {
                temperature: f32::NAN,
                ..Sampling::default()
            },
            Sampling {
                temperature: f32::INFINITY,
                ..Sampling::default()
            },
            Sampling {
                top_p: 0.0,
                ..Sampling::default()
            },
            Sampling {
                min_p: 1.5,
                ..Sampling::default()
            },
            Sampling {
                repetition_penalty: 0.0,
                ..Sampling::default()
            },
            Sampling {
                presence_penalty: 3.0,
                ..Sampling::default()
            },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}

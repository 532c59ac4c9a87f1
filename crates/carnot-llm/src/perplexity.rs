//! Perplexity of a text, by two protocols that are not interchangeable, and divergence from a base run.
//!
//! | protocol | chunks | scored |
//! |---|---|---|
//! | [`Protocol::LlamaCpp`] | `context` tokens, the first replaced by beginning-of-text | the second half: `context − context/2 − 1` a chunk |
//! | [`Protocol::HuggingFace`] | `context` tokens as they come | every next token: `context − 1` a chunk |
//!
//! The standard error takes tokens as independent; differences between two runs are paired per token, which is far sharper.

use carnot_kernels::kv::BLOCK_TOKENS;

use crate::forward::{Batch, BatchSpan, Model};

/// Which tokens are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// As llama.cpp's perplexity tool.
    LlamaCpp,
    /// As the evaluation that GPTQ and Hugging Face's guides use.
    HuggingFace,
}

/// How a text is scored.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Tokens in a chunk.
    pub context: usize,
    /// Most chunks; `None` for all.
    pub chunks: Option<usize>,
    /// Which tokens are scored.
    pub protocol: Protocol,
    /// Replaces the first token of a chunk in [`Protocol::LlamaCpp`], where the model has one.
    pub bos: Option<u32>,
}

impl Settings {
    /// Whole chunks in a text of `tokens` tokens, at most as many as asked for.
    pub fn chunks_of(&self, tokens: usize) -> usize {
        (tokens / self.context).min(self.chunks.unwrap_or(usize::MAX))
    }

    /// Positions of a chunk whose next token is scored.
    pub fn scored(&self) -> std::ops::Range<usize> {
        match self.protocol {
            Protocol::LlamaCpp => self.context / 2..self.context - 1,
            Protocol::HuggingFace => 0..self.context - 1,
        }
    }
}

/// One scored token.
pub struct Scored<'a> {
    /// The token that came.
    pub token: u32,
    /// Natural logarithms of all tokens' probabilities.
    pub log_probabilities: &'a [f32],
}

/// Runs `model` over the chunks of `tokens` and calls `each` for every scored token, in order, with the chunk's number.
///
/// The model's cache must have room for `context` tokens; whatever it held is overwritten.
pub fn score(
    model: &mut Model,
    tokens: &[u32],
    settings: &Settings,
    mut each: impl FnMut(usize, Scored<'_>),
) {
    let blocks: Vec<u32> = (0..settings.context.div_ceil(BLOCK_TOKENS) as u32).collect();
    let vocabulary = model.config().vocabulary;
    let rows: Vec<usize> = settings.scored().collect();
    for chunk in 0..settings.chunks_of(tokens.len()) {
        let text = &tokens[chunk * settings.context..(chunk + 1) * settings.context];
        let mut input = text.to_vec();
        if let (Protocol::LlamaCpp, Some(bos)) = (settings.protocol, settings.bos) {
            input[0] = bos;
        }
        let spans = [BatchSpan {
            tokens: &input,
            position: 0,
            blocks: &blocks,
        }];
        model.forward(Batch {
            spans: &spans,
            logits: &rows,
        });
        let (compute, logits) = model.compute_and_logits();
        for (row, logits) in rows.iter().zip(logits.chunks_exact_mut(vocabulary)) {
            let mut probabilities = logits.to_vec();
            let log_sum = compute.softmax(&mut probabilities);
            logits.iter_mut().for_each(|logit| *logit -= log_sum);
            each(
                chunk,
                Scored {
                    token: text[row + 1],
                    log_probabilities: logits,
                },
            );
        }
    }
}

/// Sums over scored tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    tokens: u64,
    sum: f64,
    squares: f64,
}

impl Tally {
    /// Adds one value.
    pub fn add(&mut self, value: f64) {
        self.tokens += 1;
        self.sum += value;
        self.squares += value * value;
    }

    /// Number of values.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Their mean; 0 of none.
    pub fn mean(&self) -> f64 {
        self.sum / self.tokens.max(1) as f64
    }

    /// Standard error of the mean, values taken as independent; 0 of fewer than two.
    pub fn standard_error(&self) -> f64 {
        if self.tokens < 2 {
            return 0.0;
        }
        let variance = (self.squares / self.tokens as f64 - self.mean().powi(2)).max(0.0);
        (variance / (self.tokens - 1) as f64).sqrt()
    }
}

/// The Kullback-Leibler divergence of `of` from `base`, both log-probabilities, in nats; and whether their likeliest token is the same.
pub fn divergence(base: &[f32], of: &[f32]) -> (f64, bool) {
    let kl = base
        .iter()
        .zip(of)
        .map(|(b, o)| f64::from(b.exp()) * (f64::from(*b) - f64::from(*o)))
        .sum();
    (kl, likeliest(base) == likeliest(of))
}

fn likeliest(values: &[f32]) -> usize {
    (0..values.len()).fold(0, |best, index| {
        if values[index] > values[best] {
            index
        } else {
            best
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_score_what_they_say() {
        let settings = Settings {
            context: 512,
            chunks: None,
            protocol: Protocol::LlamaCpp,
            bos: None,
        };
        assert_eq!(
            (settings.scored().len(), settings.chunks_of(1535)),
            (255, 2)
        );
        let settings = Settings {
            protocol: Protocol::HuggingFace,
            chunks: Some(1),
            ..settings
        };
        assert_eq!(
            (settings.scored().len(), settings.chunks_of(1535)),
            (511, 1)
        );
    }

    #[test]
    fn the_standard_error_is_that_of_a_mean() {
        let mut tally = Tally::default();
        for value in [1.0, 2.0, 3.0, 4.0] {
            tally.add(value);
        }
        assert_eq!(tally.mean(), 2.5);
        assert!((tally.standard_error() - (1.25_f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn divergence_of_itself_is_zero_and_of_another_is_not() {
        let (base, other) = ([0.5_f32.ln(), 0.5_f32.ln()], [0.25_f32.ln(), 0.75_f32.ln()]);
        assert_eq!(divergence(&base, &base), (0.0, true));
        let (kl, same) = divergence(&base, &other);
        assert!((kl - 0.5 * (2.0_f64 / 3.0).ln() - 0.5 * 2.0_f64.ln()).abs() < 1e-6 && !same);
    }
}

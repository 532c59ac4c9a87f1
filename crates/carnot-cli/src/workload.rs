//! The request that profiles and benchmarks run: so many tokens in, so many out.

use carnot_engine::{TextEngine, TextRequest};
use carnot_llm::LlmEngine;

/// Tokens of the built-in prompt.
const PROMPT_TOKENS: usize = 128;
/// Repeated to whatever length is asked for.
const PROMPT: &str = include_str!("workload/prompt.txt");

/// What is asked of an engine.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    /// The prompt; the built-in one if there is none.
    pub prompt: Option<&'a str>,
    /// The length to which the built-in one is cut.
    pub prompt_tokens: Option<usize>,
    /// Tokens to generate, whatever the model says.
    pub tokens: usize,
}

impl Workload<'_> {
    /// The request; an error where it does not fit the context.
    pub fn request(&self, engine: &LlmEngine) -> anyhow::Result<TextRequest> {
        let prompt = match self.prompt {
            Some(text) => engine.tokenizer().encode(text, true)?,
            None => built_in_prompt(engine, self.prompt_tokens.unwrap_or(PROMPT_TOKENS))?,
        };
        let context = engine.model().context_length;
        let room = context.saturating_sub(prompt.len());
        anyhow::ensure!(
            room >= self.tokens,
            "a prompt of {} tokens and {} to generate do not fit a context of {context}; lower --tokens or raise --context",
            prompt.len(),
            self.tokens
        );
        Ok(TextRequest {
            prompt,
            max_tokens: self.tokens,
            ignore_eos: true,
            ..TextRequest::default()
        })
    }

    /// Room for the spans of all operations on all threads, so that recording takes no page fault.
    pub fn events(&self, engine: &LlmEngine, prompt: usize) -> usize {
        let model = engine.loaded();
        let steps = self.tokens + prompt.div_ceil(512) + 2;
        steps * (model.config().layers * 13 + 8) * 2 * model.compute().pool().threads()
    }
}

fn built_in_prompt(engine: &LlmEngine, length: usize) -> anyhow::Result<Vec<u32>> {
    let mut tokens = engine.tokenizer().encode(PROMPT, true)?;
    anyhow::ensure!(
        !tokens.is_empty(),
        "the tokenizer makes nothing of the built-in prompt; give one with --prompt"
    );
    let more = tokens.clone();
    while tokens.len() < length {
        tokens.extend_from_slice(&more);
    }
    tokens.truncate(length);
    Ok(tokens)
}

//! A response in one piece, and the parts that streams share with it.

use carnot_engine::{TokenLogprobs, Usage};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::Receiver;

use super::plan::{Kind, Plan};
use super::tool_calls::{Piece, ToolCalls};
use crate::engine_thread::{Ending, Finished, Timings, Update};
use crate::error::{ApiError, CANCELLED, DEADLINE, ENGINE_FAILED, QUEUE_TIMEOUT};

/// Why a choice ends that calls tools.
pub(super) const TOOL_CALLS: &str = "tool_calls";

/// What came of a choice so far.
#[derive(Default)]
struct Unfinished {
    text: String,
    tokens: Vec<(u32, TokenLogprobs)>,
    embedding: Vec<f32>,
    finished: Option<Finished>,
}

/// What came of a choice.
pub(crate) struct Choice {
    pub text: String,
    /// Each token with its likelihood, where that was asked for.
    pub tokens: Vec<(u32, TokenLogprobs)>,
    /// The vector, where that was asked for.
    pub embedding: Vec<f32>,
    pub finished: Finished,
}

/// Waits for the ends of `count` choices.
pub(crate) async fn gather(
    count: usize,
    mut updates: Receiver<(usize, Update)>,
) -> Result<Vec<Choice>, ApiError> {
    let mut choices: Vec<Unfinished> = (0..count).map(|_| Unfinished::default()).collect();
    while let Some((index, update)) = updates.recv().await {
        let choice = &mut choices[index];
        match update {
            Update::Token {
                token,
                text,
                logprobs,
            } => {
                choice.text += &text;
                choice
                    .tokens
                    .extend(logprobs.map(|logprobs| (token, *logprobs)));
            }
            Update::Finished(finished) => {
                choice.text += &finished.text;
                choice.finished = Some(*finished);
            }
            Update::Embedding(values) => choice.embedding = values,
            Update::Progress(_) => (),
        }
    }
    let finished = choices.into_iter().map(|choice| {
        Ok(Choice {
            text: choice.text,
            tokens: choice.tokens,
            embedding: choice.embedding,
            finished: choice.finished.ok_or_else(thread_has_ended)?,
        })
    });
    finished.collect()
}

pub(super) fn thread_has_ended() -> ApiError {
    ApiError::new(&ENGINE_FAILED, "the engine's thread has ended")
}

/// The answer when all choices have ended.
pub(super) async fn collect(
    plan: Plan,
    updates: Receiver<(usize, Update)>,
) -> Result<Value, ApiError> {
    let mut totals = Totals::default();
    let mut told = Vec::new();
    let choices = gather(plan.requests.len(), updates).await?;
    for (index, choice) in choices.into_iter().enumerate() {
        let reason = reason(&choice.finished.ending)?;
        totals.add(&plan, index, &choice.finished);
        told.push(choice_of(
            &plan,
            index,
            (choice.text, &choice.tokens),
            reason,
        ));
    }
    let object = match plan.kind {
        Kind::Chat => "chat.completion",
        Kind::Completion => "text_completion",
    };
    Ok(json!({
        "id": *plan.id,
        "object": object,
        "created": plan.created,
        "model": plan.model,
        "choices": told,
        "usage": totals.usage(),
        "timings": totals.timings(),
    }))
}

fn choice_of(
    plan: &Plan,
    index: usize,
    (text, tokens): (String, &[(u32, TokenLogprobs)]),
    reason: &str,
) -> Value {
    let wants = plan.requests[index].logprobs.is_some();
    let logprobs = wants.then(|| logprobs(plan, tokens));
    match plan.kind {
        Kind::Chat => {
            let (message, has_calls) = message(plan, &text);
            json!({
                "index": index,
                "message": message,
                "logprobs": logprobs,
                "finish_reason": if has_calls { TOOL_CALLS } else { reason },
            })
        }
        Kind::Completion => json!({
            "index": index,
            "text": prompt_text(plan, index) + &text,
            "logprobs": logprobs,
            "finish_reason": reason,
        }),
    }
}

/// The message that a text is, and whether it calls tools.
fn message(plan: &Plan, text: &str) -> (Value, bool) {
    if !plan.has_tools {
        return (json!({ "role": "assistant", "content": text }), false);
    }
    let mut reader = ToolCalls::default();
    let pieces = reader.push(text).into_iter().chain(reader.finish());
    let (mut text, mut calls) = (String::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Text(more) => text += &more,
            Piece::Call(call) => calls.push(call.told()),
        }
    }
    if calls.is_empty() {
        return (json!({ "role": "assistant", "content": text }), false);
    }
    let content = (!text.is_empty()).then_some(text);
    let message = json!({ "role": "assistant", "content": content, "tool_calls": calls });
    (message, true)
}

/// The prompt's text, where it was asked for.
pub(super) fn prompt_text(plan: &Plan, index: usize) -> String {
    if !plan.echo {
        return String::new();
    }
    let decoded = plan.codec.decode(&plan.requests[index].prompt);
    decoded.unwrap_or_default()
}

/// The reason of a choice that has its text, or the error of one that has not.
pub(crate) fn reason(ending: &Ending) -> Result<&'static str, ApiError> {
    match ending {
        Ending::Stop => Ok("stop"),
        Ending::Length => Ok("length"),
        Ending::QueueTimeout => Err(ApiError::new(
            &QUEUE_TIMEOUT,
            "the request waited for a place as long as one may",
        )),
        Ending::Deadline => Err(ApiError::new(
            &DEADLINE,
            "the request took as long as one may",
        )),
        Ending::Cancelled => Err(ApiError::new(
            &CANCELLED,
            "the request was ended from outside",
        )),
        Ending::SlowReader => Err(ApiError::new(
            &ENGINE_FAILED,
            "the response was not read for as long as one may wait",
        )),
        Ending::Failed(why) => Err(ApiError::new(&ENGINE_FAILED, why.clone())),
    }
}

/// Likelihoods in the form of the interface that asked.
pub(super) fn logprobs(plan: &Plan, tokens: &[(u32, TokenLogprobs)]) -> Value {
    let bytes = |token| plan.codec.token_bytes(token).unwrap_or_default();
    let text = |token| String::from_utf8_lossy(&bytes(token)).into_owned();
    let one = |token, logprob: f32| json!({ "token": text(token), "logprob": logprob, "bytes": bytes(token) });
    match plan.kind {
        Kind::Chat => {
            let content = tokens.iter().map(|(token, logprobs)| {
                let mut entry = one(*token, logprobs.chosen);
                let top = logprobs
                    .top
                    .iter()
                    .map(|&(token, logprob)| one(token, logprob));
                entry["top_logprobs"] = top.collect();
                entry
            });
            json!({ "content": content.collect::<Vec<Value>>() })
        }
        Kind::Completion => {
            let top = tokens.iter().map(|(_, logprobs)| {
                let top = logprobs.top.iter();
                let top = top.map(|&(token, logprob)| (text(token), json!(logprob)));
                Value::Object(top.collect::<Map<String, Value>>())
            });
            let chosen = tokens.iter().map(|(_, logprobs)| logprobs.chosen);
            json!({
                "tokens": tokens.iter().map(|(token, _)| text(*token)).collect::<Vec<String>>(),
                "token_logprobs": chosen.collect::<Vec<f32>>(),
                "top_logprobs": top.collect::<Vec<Value>>(),
            })
        }
    }
}

/// Tokens and times of all choices together.
#[derive(Debug, Default)]
pub(super) struct Totals {
    prompt: usize,
    cached: usize,
    generated: usize,
    timings: Timings,
}

impl Totals {
    /// A prompt counts once, however many choices it has.
    pub fn add(&mut self, plan: &Plan, index: usize, finished: &Finished) {
        let Usage {
            prompt_tokens,
            cached_tokens,
            generated_tokens,
            ..
        } = finished.usage;
        if index.is_multiple_of(plan.choices) {
            self.prompt += prompt_tokens;
            self.cached += cached_tokens;
        }
        self.generated += generated_tokens;
        let Timings {
            queue,
            prefill,
            decode,
        } = finished.timings;
        self.timings.queue = self.timings.queue.max(queue);
        self.timings.prefill = self.timings.prefill.max(prefill);
        self.timings.decode = self.timings.decode.max(decode);
    }

    pub fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.generated,
            "total_tokens": self.prompt + self.generated,
            "prompt_tokens_details": { "cached_tokens": self.cached },
        })
    }

    /// As llama-server has them, and the time in the queue.
    pub fn timings(&self) -> Value {
        let computed = self.prompt - self.cached;
        let (prefill, decode) = (
            self.timings.prefill.as_secs_f64(),
            self.timings.decode.as_secs_f64(),
        );
        // The first token comes with the prompt.
        let decoded = self.generated.saturating_sub(1);
        let rate = |tokens: usize, seconds: f64| (seconds > 0.0).then(|| tokens as f64 / seconds);
        let each =
            |tokens: usize, seconds: f64| (tokens > 0).then(|| 1e3 * seconds / tokens as f64);
        json!({
            "queue_ms": 1e3 * self.timings.queue.as_secs_f64(),
            "cache_n": self.cached,
            "prompt_n": computed,
            "prompt_ms": 1e3 * prefill,
            "prompt_per_token_ms": each(computed, prefill),
            "prompt_per_second": rate(computed, prefill),
            "predicted_n": self.generated,
            "predicted_ms": 1e3 * decode,
            "predicted_per_token_ms": each(decoded, decode),
            "predicted_per_second": rate(decoded, decode),
        })
    }
}

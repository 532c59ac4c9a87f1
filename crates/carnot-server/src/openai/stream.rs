//! A response piece by piece, as server-sent events.
//!
//! The stream pulls from the channel that the engine's thread fills. When the client is gone the stream is dropped and the channel closed,
//! which the thread sees at its next turn. While nothing comes, a comment keeps the connection open; the thread holds the other end
//! of the channel exactly as long as it has the request, so that no comment is sent for one that is lost.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until, timeout};

use super::answer::{TOOL_CALLS, Totals, logprobs, prompt_text, reason, thread_has_ended};
use super::plan::{Kind, Plan};
use super::tool_calls::{Piece, ToolCalls};
use crate::engine_thread::{Progress, Update};
use crate::error::ApiError;

/// Silence after which a comment is sent.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Where a stream stands.
struct Streaming {
    plan: Plan,
    updates: Receiver<(usize, Update)>,
    totals: Totals,
    /// Choices that have not ended.
    left: usize,
    /// Events to be sent before anything else.
    ready: VecDeque<Bytes>,
    is_over: bool,
    /// Text that waits for more, by choice, with the number of its tokens.
    together: Vec<(String, usize)>,
    /// What tells calls of tools from text, by choice, where there are tools.
    tool_calls: Vec<ToolCalls>,
    /// When the next token may be sent.
    next_token: Instant,
}

/// Streams the choices of `plan`.
pub(super) fn respond(plan: Plan, updates: Receiver<(usize, Update)>) -> Response {
    let mut streaming = Streaming {
        left: plan.requests.len(),
        together: vec![(String::new(), 0); plan.requests.len()],
        tool_calls: vec![ToolCalls::default(); plan.requests.len()],
        next_token: Instant::now(),
        plan,
        updates,
        totals: Totals::default(),
        ready: VecDeque::new(),
        is_over: false,
    };
    streaming.open();
    let events = unfold(streaming, |mut streaming| async move {
        let event = streaming.next().await?;
        Some((Ok::<Bytes, Infallible>(event), streaming))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        // Tells proxies not to collect the response.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

impl Streaming {
    /// What comes before the first token.
    fn open(&mut self) {
        for index in 0..self.plan.requests.len() {
            match self.plan.kind {
                Kind::Chat => {
                    let delta = json!({ "role": "assistant", "content": "" });
                    self.push(index, &delta, None, None);
                }
                Kind::Completion if self.plan.echo => {
                    let text = prompt_text(&self.plan, index);
                    self.push(index, &json!(text), None, None);
                }
                Kind::Completion => (),
            }
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            match timeout(HEARTBEAT, self.updates.recv()).await {
                Err(_) => return Some(Bytes::from_static(b": waiting\n\n")),
                Ok(Some((index, update))) => {
                    self.keep_pace(&update).await;
                    self.take(index, update);
                }
                Ok(None) => self.fail(&thread_has_ended()),
            }
        }
    }

    /// Waits until a token may be sent. The engine goes on meanwhile, until the channel is full.
    async fn keep_pace(&mut self, update: &Update) {
        let pace = self.plan.streaming.pace;
        if pace.is_zero() || !matches!(update, Update::Token { .. }) {
            return;
        }
        sleep_until(self.next_token).await;
        self.next_token = Instant::now() + pace;
    }

    fn take(&mut self, index: usize, update: Update) {
        match update {
            Update::Token {
                token,
                text,
                logprobs: told,
            } => {
                if let Some(told) = told {
                    let told = logprobs(&self.plan, &[(token, *told)]);
                    if !self.plan.has_tools {
                        return self.push_text(index, &text, Some(&told));
                    }
                    // The text may be a part of a call, and comes when that is known.
                    self.push_text(index, "", Some(&told));
                }
                let (together, tokens) = &mut self.together[index];
                *together += &text;
                *tokens += 1;
                if *tokens >= self.plan.streaming.interval {
                    self.push_together(index);
                }
            }
            // No stream is asked for vectors.
            Update::Embedding(_) => (),
            Update::Progress(progress) => {
                if self.plan.streaming.progress {
                    self.push_progress(index, progress);
                }
            }
            Update::Finished(finished) => {
                let reason = match reason(&finished.ending) {
                    Ok(reason) => reason,
                    Err(error) => return self.fail(&error),
                };
                self.together[index].0 += &finished.text;
                self.push_together(index);
                let rest = self.tool_calls[index].finish();
                self.push_pieces(index, rest);
                let reason = match self.tool_calls[index].count() {
                    0 => reason,
                    _ => TOOL_CALLS,
                };
                self.totals.add(&self.plan, index, &finished);
                self.close(index, reason);
            }
        }
    }

    /// Sends the text that was kept back, if there is any: a token may be part of a character, or of what may become a stop text.
    fn push_together(&mut self, index: usize) {
        let (text, _) = std::mem::take(&mut self.together[index]);
        if self.plan.has_tools {
            let pieces = self.tool_calls[index].push(&text);
            self.push_pieces(index, pieces);
        } else if !text.is_empty() {
            self.push_text(index, &text, None);
        }
    }

    fn push_pieces(&mut self, index: usize, pieces: Vec<Piece>) {
        let calls = pieces
            .iter()
            .filter(|piece| matches!(piece, Piece::Call(_)));
        let mut number = self.tool_calls[index].count() - calls.count();
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.push_text(index, &text, None),
                Piece::Call(call) => {
                    let mut told = call.told();
                    told["index"] = number.into();
                    number += 1;
                    self.push(index, &json!({ "tool_calls": [told] }), None, None);
                }
            }
        }
    }

    /// As llama-server tells it.
    fn push_progress(&mut self, index: usize, progress: Progress) {
        let content = match self.plan.kind {
            Kind::Chat => json!({}),
            Kind::Completion => json!(""),
        };
        let mut chunk = self.chunk(&json!([self.choice(index, &content, None, None)]));
        chunk["prompt_progress"] = json!({
            "total": progress.total,
            "cache": progress.cached,
            "processed": progress.processed,
            "time_ms": progress.took.as_millis() as u64,
        });
        self.ready.push_back(event(&chunk));
    }

    fn push_text(&mut self, index: usize, text: &str, logprobs: Option<&Value>) {
        let content = match self.plan.kind {
            Kind::Chat => json!({ "content": text }),
            Kind::Completion => json!(text),
        };
        self.push(index, &content, logprobs, None);
    }

    /// A choice has ended; with the last one so has the stream.
    fn close(&mut self, index: usize, reason: &str) {
        let nothing = match self.plan.kind {
            Kind::Chat => json!({}),
            Kind::Completion => json!(""),
        };
        self.push(index, &nothing, None, Some(reason));
        self.left -= 1;
        if self.left > 0 {
            return;
        }
        if self.plan.streaming.include_usage {
            let mut last = self.chunk(&json!([]));
            last["usage"] = self.totals.usage();
            last["timings"] = self.totals.timings();
            self.ready.push_back(event(&last));
        }
        self.ready
            .push_back(Bytes::from_static(b"data: [DONE]\n\n"));
        self.is_over = true;
    }

    /// The response has begun, so that its status cannot tell.
    fn fail(&mut self, error: &ApiError) {
        self.ready.push_back(event(&error.body()));
        self.is_over = true;
    }

    fn push(
        &mut self,
        index: usize,
        content: &Value,
        logprobs: Option<&Value>,
        reason: Option<&str>,
    ) {
        let choice = self.choice(index, content, logprobs, reason);
        let chunk = self.chunk(&json!([choice]));
        self.ready.push_back(event(&chunk));
    }

    fn choice(
        &self,
        index: usize,
        content: &Value,
        logprobs: Option<&Value>,
        reason: Option<&str>,
    ) -> Value {
        let field = match self.plan.kind {
            Kind::Chat => "delta",
            Kind::Completion => "text",
        };
        json!({
            "index": index,
            field: content,
            "logprobs": logprobs,
            "finish_reason": reason,
        })
    }

    fn chunk(&self, choices: &Value) -> Value {
        let object = match self.plan.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Completion => "text_completion",
        };
        json!({
            "id": *self.plan.id,
            "object": object,
            "created": self.plan.created,
            "model": self.plan.model,
            "choices": choices,
        })
    }
}

fn event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

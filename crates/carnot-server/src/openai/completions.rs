//! `POST /v1/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::plan::{Kind, Plan, Prompts};
use super::wire::{CompletionRequest, Prompt, parse};
use crate::App;
use crate::auth::Tenant;
use crate::engine_thread::EngineHandle;
use crate::error::ApiError;
use crate::router::Body;

/// Tokens of a completion that asks for no number of them, as OpenAI has it.
const DEFAULT_TOKENS: usize = 16;
/// Prompts of one request at most.
const MOST_PROMPTS: usize = 64;

/// Continues one or more prompts.
pub(crate) async fn completions(
    State(app): State<Arc<App>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let mut request: CompletionRequest = parse(&body)?;
    let engine = super::engine(&app, request.common.model.as_deref())?;
    let Some(prompt) = request.prompt else {
        return Err(ApiError::field("prompt", "a text or tokens", "none"));
    };
    request.common.max_tokens.get_or_insert(DEFAULT_TOKENS);
    let prompts = Prompts {
        kind: Kind::Completion,
        tokens: tokens(engine, prompt)?,
        logprobs: request.logprobs,
        echo: request.echo.unwrap_or(false),
        has_tools: false,
    };
    let plan = Plan::new(engine, tenant, prompts, request.common)?;
    super::execute(&app, engine, plan).await
}

pub(super) fn tokens(engine: &EngineHandle, prompt: Prompt) -> Result<Vec<Vec<u32>>, ApiError> {
    let encode = |text: &String| Ok(engine.codec.encode(text, true)?);
    let prompts: Vec<Vec<u32>> = match prompt {
        Prompt::Text(text) => vec![encode(&text)?],
        Prompt::Texts(texts) => texts.iter().map(encode).collect::<Result<_, ApiError>>()?,
        Prompt::Tokens(tokens) => vec![tokens],
        Prompt::TokenLists(lists) => lists,
    };
    if prompts.len() > MOST_PROMPTS {
        let expected = format!("at most {MOST_PROMPTS}");
        return Err(ApiError::field("prompt", &expected, prompts.len()));
    }
    Ok(prompts)
}

//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use carnot_engine::ChatMessage;

use super::plan::{Kind, Plan, Prompts};
use super::wire::{ChatRequest, Content, Message, parse};
use crate::App;
use crate::auth::Tenant;
use crate::error::ApiError;
use crate::router::Body;

/// Answers a conversation.
pub(crate) async fn chat(
    State(app): State<Arc<App>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let request: ChatRequest = parse(&body)?;
    let engine = super::engine(&app, request.common.model.as_deref())?;
    let messages: Vec<ChatMessage> = request
        .messages
        .into_iter()
        .enumerate()
        .map(|(index, message)| message_of(index, message))
        .collect::<Result<_, _>>()?;
    if messages.is_empty() {
        return Err(ApiError::field("messages", "at least one message", "none"));
    }
    let wanted = request.logprobs.unwrap_or(false);
    let prompts = Prompts {
        kind: Kind::Chat,
        tokens: vec![engine.codec.encode_chat(&messages)?],
        logprobs: wanted.then(|| request.top_logprobs.unwrap_or(0)),
        echo: false,
    };
    let plan = Plan::new(engine, tenant, prompts, request.common)?;
    super::execute(&app, engine, plan).await
}

fn message_of(index: usize, message: Message) -> Result<ChatMessage, ApiError> {
    let content = match message.content {
        None => String::new(),
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => {
            let mut text = String::new();
            for part in parts {
                if part.kind != "text" {
                    let field = format!("messages[{index}].content");
                    return Err(ApiError::field(&field, "parts of type text", part.kind));
                }
                text += &part.text.unwrap_or_default();
            }
            text
        }
    };
    Ok(ChatMessage {
        role: message.role,
        content,
    })
}

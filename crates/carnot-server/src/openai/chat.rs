//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use carnot_engine::{ChatMessage, Conversation};
use serde_json::{Map, Value};

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
    let tools = match request.tool_choice {
        Some(Value::String(choice)) if choice == "none" => Vec::new(),
        _ => request.tools.unwrap_or_default(),
    };
    let has_tools = !tools.is_empty();
    let conversation = Conversation {
        messages,
        tools,
        arguments: request.chat_template_kwargs,
    };
    let wanted = request.logprobs.unwrap_or(false);
    let prompts = Prompts {
        kind: Kind::Chat,
        tokens: vec![engine.codec.encode_chat(&conversation)?],
        logprobs: wanted.then(|| request.top_logprobs.unwrap_or(0)),
        echo: false,
        has_tools,
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
        rest: with_parsed_calls(message.rest),
    })
}

/// OpenAI's clients write the arguments of a call as text that holds JSON; templates expect the JSON.
fn with_parsed_calls(mut rest: Map<String, Value>) -> Map<String, Value> {
    let calls = rest.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else {
            continue;
        };
        let parsed = arguments.as_str().map(serde_json::from_str::<Value>);
        if let Some(Ok(parsed)) = parsed {
            *arguments = parsed;
        }
    }
    rest
}

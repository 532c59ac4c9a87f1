//! OpenAI's interface: chats, completions, models.
//!
//! A request becomes a [`plan::Plan`]: one or more sequences for the engine, and what of them is told. [`answer`] tells it in one piece,
//! [`stream`] piece by piece.

mod answer;
mod chat;
mod completions;
mod embeddings;
mod plan;
mod stream;
mod tool_calls;
mod wire;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carnot_engine::{ChatMessage, Conversation, EngineError};
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::task::spawn_blocking;

pub(crate) use chat::chat;
pub(crate) use completions::completions;
pub(crate) use embeddings::{EmbeddingRequest, embeddings};

pub(crate) use self::answer::{Choice, gather, reason};
pub(crate) use self::plan::{Kind, MOST_CHOICES, MOST_LOGPROBS, MOST_STOPS, Plan, Prompts};
pub(crate) use self::plan::{any_number, unix_seconds};
pub(crate) use self::wire::parse;
pub(crate) use self::wire::{ChatRequest, Common, CompletionRequest};
use crate::App;
use crate::admission::Ask;
use crate::engine_thread::{EngineHandle, Update, updates};
use crate::error::{ApiError, DRAINING, INVALID_GRAMMAR, MODEL_NOT_FOUND};

/// The models that there are.
pub(crate) async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let models = app.engines.iter().map(|engine| {
        json!({
            "id": engine.model.name,
            "object": "model",
            "created": app.started,
            "owned_by": "carnot",
            "meta": {
                "architecture": engine.model.architecture,
                "parameters": engine.model.parameters,
                "file_type": engine.model.file_type,
                "size_bytes": engine.model.bytes,
                "n_vocab": engine.model.vocabulary,
                "n_ctx": engine.model.context_length,
            },
        })
    });
    Json(json!({ "object": "list", "data": models.collect::<Vec<Value>>() }))
}

/// The engine that a request names; the first where it names none.
pub(crate) fn engine<'a>(app: &'a App, name: Option<&str>) -> Result<&'a EngineHandle, ApiError> {
    let engine = match name {
        None | Some("") => app.engines.first(),
        Some(name) => app.engines.iter().find(|engine| engine.model.name == name),
    };
    engine.ok_or_else(|| {
        let names: Vec<&str> = app
            .engines
            .iter()
            .map(|engine| engine.model.name.as_str())
            .collect();
        let (name, names) = (name.unwrap_or_default(), names.join(", "));
        let message = if names.is_empty() {
            "this server has no text model; its tensor models are at /v2/models/NAME/infer"
                .to_owned()
        } else {
            format!("model: expected one of {names}, got {name}")
        };
        ApiError {
            param: Some("model".to_owned()),
            ..ApiError::new(&MODEL_NOT_FOUND, message)
        }
    })
}

/// The tokens of a single message, or of its text alone where the model was made for no conversation.
pub(crate) fn ask(engine: &EngineHandle, message: ChatMessage) -> Result<Vec<u32>, ApiError> {
    let text = message.content.clone();
    let conversation = Conversation {
        messages: vec![message],
        ..Conversation::default()
    };
    match engine.codec.encode_chat(&conversation) {
        Err(EngineError::NoChatTemplate { .. }) => Ok(engine.codec.encode(&text, true)?),
        encoded => Ok(encoded?),
    }
}

/// Lets a plan in, hands its sequences to the engine, and answers as it asks.
async fn execute(app: &App, engine: &EngineHandle, plan: Plan) -> Result<Response, ApiError> {
    let updates = start(app, engine, &plan).await?;
    if plan.stream {
        Ok(stream::respond(plan, updates))
    } else {
        let answer = answer::collect(plan, updates).await?;
        Ok(Json(answer).into_response())
    }
}

/// Lets a plan in and hands its sequences to the engine.
pub(crate) async fn start(
    app: &App,
    engine: &EngineHandle,
    plan: &Plan,
) -> Result<Receiver<(usize, Update)>, ApiError> {
    check_grammar(engine, plan).await?;
    let admitted = admit(app, engine, plan);
    admitted.inspect_err(|error| {
        app.metrics.rejected(error.code.code);
        tracing::warn!(
            code = error.code.code,
            message = error.message,
            "not let in"
        );
    })?;
    tracing::debug!(id = &*plan.id, sequences = plan.requests.len(), "let in");
    let (sender, updates) = updates();
    let requests = plan.requests.iter().enumerate();
    let submitted: Vec<_> = requests
        .map(|(choice, request)| engine.submit(request.clone(), (&plan.id, choice), sender.clone()))
        .collect();
    // Only the engine's thread has senders now, so that the channel ends with the last choice.
    drop(sender);
    for taken in submitted {
        taken.await?;
    }
    Ok(updates)
}

/// Compiles the grammar where neither connections nor the engine wait for it.
async fn check_grammar(engine: &EngineHandle, plan: &Plan) -> Result<(), ApiError> {
    let Some(grammar) = plan.requests[0].grammar.clone() else {
        return Ok(());
    };
    let codec = Arc::clone(&engine.codec);
    let checked = spawn_blocking(move || codec.check_grammar(&grammar)).await;
    match checked {
        Ok(checked) => Ok(checked?),
        Err(_) => Err(ApiError::new(
            &INVALID_GRAMMAR,
            "the grammar: compiling it failed",
        )),
    }
}

fn admit(app: &App, engine: &EngineHandle, plan: &Plan) -> Result<(), ApiError> {
    if app.is_draining() {
        return Err(ApiError::new(&DRAINING, "the server is about to end"));
    }
    let prompts = plan.requests.iter().map(|request| request.prompt.len());
    let ask = Ask {
        requests: plan.requests.len(),
        tokens: prompts.sum(),
        priority: plan.requests[0].priority,
    };
    let tenant = &plan.requests[0].tenant;
    engine
        .ledger
        .admit(&app.settings.get().limits, tenant, ask, engine.now())
}

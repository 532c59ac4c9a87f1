//! How the server is: for those who start and stop it, for those who watch it, and for those who ask about tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use carnot_engine::TextRequest;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::App;
use crate::admission::Ask;
use crate::engine_thread::{EngineHandle, updates};
use crate::error::{ApiError, DRAINING};
use crate::exposition::{OPEN_METRICS, PLAIN, is_open_metrics, plain};
use crate::openai::{self, engine, parse};
use crate::router::Body;

/// The process answers.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// The server takes requests.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    if app.is_draining() {
        return Err(ApiError::new(&DRAINING, "the server is about to end"));
    }
    Ok(Json(json!({ "status": "ok" })))
}

/// The server takes requests, and none of those that it took is lost.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    let text = app
        .engines
        .iter()
        .map(|engine| engine.ledger.books().lost());
    let tensors = app.tensors.ready();
    let tensors = tensors.iter().map(|model| model.ledger().books().lost());
    let lost: i64 = text.chain(tensors).sum();
    let status = if app.is_draining() {
        "draining"
    } else if lost == 0 {
        "ok"
    } else {
        "requests were lost"
    };
    let code = match status {
        "ok" => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (
        code,
        Json(json!({ "status": status, "lost_requests": lost })),
    )
        .into_response()
}

/// A token goes through each engine.
pub(crate) async fn generate(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    for engine in &app.engines {
        one_token(&app, engine).await?;
    }
    Ok(Json(json!({ "status": "ok" })))
}

async fn one_token(app: &App, engine: &EngineHandle) -> Result<(), ApiError> {
    let request = TextRequest {
        prompt: vec![0],
        max_tokens: 1,
        priority: carnot_engine::MAX_PRIORITY,
        ..TextRequest::default()
    };
    let settings = app.settings.get();
    let ask = Ask {
        requests: 1,
        tokens: 1,
        priority: request.priority,
    };
    engine
        .ledger
        .admit(&settings.limits, &request.tenant, ask, engine.now())?;
    let (sender, updates) = updates();
    engine
        .submit(request, (&"health".into(), 0), sender)
        .await?;
    for choice in openai::gather(1, updates).await? {
        openai::reason(&choice.finished.ending)?;
    }
    Ok(())
}

/// What runs here.
pub(crate) async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// What clients may count on: the models, and the limits of who asks.
pub(crate) async fn props(State(app): State<Arc<App>>) -> Json<Value> {
    let settings = app.settings.get();
    let limits = &settings.limits;
    let models = app.engines.iter().map(|engine| {
        json!({
            "model_alias": engine.model.name,
            "n_ctx": engine.model.context_length,
            "n_vocab": engine.model.vocabulary,
            "kv_blocks": engine.census().blocks,
        })
    });
    Json(json!({
        "build_info": format!("carnot {}", env!("CARGO_PKG_VERSION")),
        "models": models.collect::<Vec<Value>>(),
        "limits": {
            "queued_requests": limits.queued_requests,
            "queued_tokens": limits.queued_tokens,
            "queue_seconds": limits.queue_time.as_secs_f64(),
            "request_seconds": limits.request_time.as_secs_f64(),
            "requests_of_a_key": limits.tenant_requests,
            "tokens_per_minute_of_a_key": limits.tenant_tokens_per_minute,
            "body_bytes": limits.body_bytes,
            "choices": openai::MOST_CHOICES,
            "stops": openai::MOST_STOPS,
            "logprobs": openai::MOST_LOGPROBS,
        },
    }))
}

/// For Prometheus.
pub(crate) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok());
    let text = app.metrics.render();
    let (kind, text) = if is_open_metrics(accept.unwrap_or_default()) {
        (OPEN_METRICS, text)
    } else {
        (PLAIN, plain(&text))
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// What each engine has at the moment.
pub(crate) async fn stats(State(app): State<Arc<App>>) -> Json<Value> {
    let engines = app.engines.iter().map(|engine| {
        let measured = app.metrics.measured(&engine.model.name).map(|measured| {
            let losses = measured.losses.iter();
            let losses: Map<String, Value> = losses
                .map(|(loss, share)| (loss.clone(), json!(share)))
                .collect();
            json!({ "efficiency": measured.efficiency, "losses": losses })
        });
        let census = engine.census();
        let books = engine.ledger.books().clone();
        json!({
            "model": engine.model.name,
            "uptime_seconds": engine.now().as_secs_f64(),
            "accepted": books.accepted,
            "answered": books.answered,
            "in_flight": books.in_flight(),
            "running": census.running,
            "waiting": census.waiting,
            "waiting_tokens": census.waiting_tokens,
            "kv_blocks": census.blocks,
            "kv_blocks_free": census.free_blocks,
            "kv_blocks_cached": census.cached_blocks,
            "prefix_tokens": census.cached_tokens,
            "preemptions": census.preemptions,
            "recent": engine.recent.told(),
            "step_time": measured,
        })
    });
    let tensors = app.tensors.ready();
    let tensors = tensors.iter().map(|model| {
        let (statistics, books) = (model.statistics(), model.ledger().books().clone());
        json!({
            "model": model.info().name,
            "uptime_seconds": model.age().as_secs_f64(),
            "accepted": books.accepted,
            "answered": books.answered,
            "in_flight": books.in_flight(),
            "queue_length": model.waiting(),
            "rows": statistics.rows,
            "batches": statistics.runs,
            "avg_batch_size": statistics.rows as f64 / statistics.runs.max(1) as f64,
        })
    });
    Json(json!({
        "engines": engines.collect::<Vec<Value>>(),
        "tensor_models": tensors.collect::<Vec<Value>>(),
    }))
}

/// A text to be cut.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Tokenize {
    model: Option<String>,
    #[serde(alias = "prompt")]
    content: String,
    #[serde(default)]
    add_special: bool,
}

/// The tokens of a text.
pub(crate) async fn tokenize(
    State(app): State<Arc<App>>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let request: Tokenize = parse(&body)?;
    let engine = engine(&app, request.model.as_deref())?;
    let tokens = engine.codec.encode(&request.content, request.add_special)?;
    Ok(Json(json!({ "count": tokens.len(), "tokens": tokens })))
}

/// Tokens to be read.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Detokenize {
    model: Option<String>,
    tokens: Vec<u32>,
}

/// The text of tokens.
pub(crate) async fn detokenize(
    State(app): State<Arc<App>>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let request: Detokenize = parse(&body)?;
    let engine = engine(&app, request.model.as_deref())?;
    let content = engine.codec.decode(&request.tokens)?;
    Ok(Json(json!({ "content": content })))
}

/// Forgets kept prefixes.
pub(crate) async fn flush(State(app): State<Arc<App>>) -> Json<Value> {
    let mut blocks = 0;
    for engine in &app.engines {
        blocks += engine.flush().await;
    }
    Json(json!({ "freed_blocks": blocks }))
}

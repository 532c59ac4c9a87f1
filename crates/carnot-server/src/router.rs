//! Which path leads where. Whatever is not in the list of open routes takes a key, so that a route that is added is closed until
//! somebody opens it.

use std::sync::Arc;

use axum::body::{Bytes, HttpBody as _, to_bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};
use axum::{Router, http};

use crate::error::{ApiError, BODY_TOO_LARGE, INVALID_JSON, METHOD_NOT_ALLOWED, NOT_FOUND};
use crate::{App, auth, health, infer, logs, oip, openai, openapi, page, requests};

/// Every route: its method, its path, and whether it is open to everybody.
pub const ROUTES: &[(&str, &str, bool)] = &[
    ("GET", "/", true),
    ("GET", "/health", true),
    ("GET", "/health/live", true),
    ("GET", "/health/ready", true),
    ("GET", "/version", true),
    ("GET", "/openapi.json", true),
    ("GET", "/docs", true),
    ("GET", "/health/generate", false),
    ("GET", "/metrics", false),
    ("GET", "/stats", false),
    ("GET", "/props", false),
    ("GET", "/requests", false),
    ("DELETE", "/requests/{id}", false),
    ("GET", "/v1/models", false),
    ("POST", "/v1/chat/completions", false),
    ("POST", "/v1/completions", false),
    ("POST", "/v1/embeddings", false),
    ("POST", "/infer", false),
    ("POST", "/batch_infer", false),
    ("POST", "/tokenize", false),
    ("POST", "/detokenize", false),
    ("POST", "/cache/flush", false),
    ("GET", "/v2/health/live", true),
    ("GET", "/v2/health/ready", true),
    ("GET", "/v2", false),
    ("GET", "/v2/models/stats", false),
    ("GET", "/v2/models/{model}", false),
    ("GET", "/v2/models/{model}/ready", false),
    ("GET", "/v2/models/{model}/stats", false),
    ("POST", "/v2/models/{model}/infer", false),
    ("GET", "/v2/models/{model}/versions/{version}", false),
    ("GET", "/v2/models/{model}/versions/{version}/ready", false),
    ("GET", "/v2/models/{model}/versions/{version}/stats", false),
    ("POST", "/v2/models/{model}/versions/{version}/infer", false),
    ("POST", "/v2/repository/index", false),
    ("POST", "/v2/repository/models/{model}/load", false),
    ("POST", "/v2/repository/models/{model}/unload", false),
];

/// The service.
pub(crate) fn router(app: Arc<App>) -> Router {
    let open = Router::new()
        .route("/", get(page::page))
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/version", get(health::version))
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(openapi::page))
        .route("/v2/health/live", get(oip::live))
        .route("/v2/health/ready", get(oip::ready));
    let closed = Router::new()
        .route("/health/generate", get(health::generate))
        .route("/metrics", get(health::metrics))
        .route("/stats", get(health::stats))
        .route("/props", get(health::props))
        .route("/requests", get(requests::list))
        .route("/requests/{id}", delete(requests::cancel))
        .route("/v1/models", get(openai::models))
        .route("/v1/chat/completions", post(openai::chat))
        .route("/v1/completions", post(openai::completions))
        .route("/v1/embeddings", post(openai::embeddings))
        .route("/infer", post(infer::infer))
        .route("/batch_infer", post(infer::batch_infer))
        .route("/tokenize", post(health::tokenize))
        .route("/detokenize", post(health::detokenize))
        .route("/cache/flush", post(health::flush))
        .merge(tensors())
        .layer(from_fn_with_state(Arc::clone(&app), auth::require_key));
    open.merge(closed)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // The limit is that of the settings in force: see `Body`.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(oip::errors))
        .layer(from_fn(logs::log))
        .with_state(app)
}

/// The routes of the Open Inference Protocol that take a key.
fn tensors() -> Router<Arc<App>> {
    let mut router = Router::new()
        .route("/v2", get(oip::server))
        .route("/v2/models/stats", get(oip::statistics))
        .route("/v2/repository/index", post(oip::index))
        .route("/v2/repository/models/{model}/load", post(oip::load))
        .route("/v2/repository/models/{model}/unload", post(oip::unload));
    for model in [
        "/v2/models/{model}",
        "/v2/models/{model}/versions/{version}",
    ] {
        router = router
            .route(model, get(oip::model))
            .route(&format!("{model}/ready"), get(oip::model_ready))
            .route(&format!("{model}/stats"), get(oip::model_statistics))
            .route(&format!("{model}/infer"), post(oip::infer));
    }
    router
}

async fn not_found(uri: http::Uri) -> ApiError {
    ApiError::new(&NOT_FOUND, format!("there is no route {}", uri.path()))
}

async fn method_not_allowed(method: http::Method, uri: http::Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::new(&METHOD_NOT_ALLOWED, message)
}

/// The bytes of a body, with errors in our own shape.
pub(crate) struct Body(pub Bytes);

impl FromRequest<Arc<App>> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let most = app.settings.get().limits.body_bytes;
        let too_large = || {
            let message = format!("the body: expected at most {most} bytes, got more");
            ApiError::new(&BODY_TOO_LARGE, message)
        };
        // A client that says how much it will send is told before it does.
        if request.body().size_hint().lower() > most as u64 {
            return Err(too_large());
        }
        let read = to_bytes(request.into_body(), most).await;
        read.map(Self).map_err(|error| {
            let is_limit = std::error::Error::source(&error)
                .is_some_and(|source| source.to_string().contains("length limit"));
            if is_limit {
                return too_large();
            }
            ApiError::new(&INVALID_JSON, format!("the body: {error}"))
        })
    }
}

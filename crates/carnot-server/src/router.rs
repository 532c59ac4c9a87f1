//! Which path leads where. Whatever is not in the list of open routes takes a key, so that a route that is added is closed until
//! somebody opens it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use axum::{Router, http};

use crate::error::{ApiError, BODY_TOO_LARGE, INVALID_JSON, METHOD_NOT_ALLOWED, NOT_FOUND};
use crate::{App, auth, health, openai, page, requests};

/// Every route: its method, its path, and whether it is open to everybody.
pub const ROUTES: &[(&str, &str, bool)] = &[
    ("GET", "/", true),
    ("GET", "/health", true),
    ("GET", "/health/live", true),
    ("GET", "/health/ready", true),
    ("GET", "/version", true),
    ("GET", "/health/generate", false),
    ("GET", "/metrics", false),
    ("GET", "/stats", false),
    ("GET", "/requests", false),
    ("DELETE", "/requests/{id}", false),
    ("GET", "/v1/models", false),
    ("POST", "/v1/chat/completions", false),
    ("POST", "/v1/completions", false),
    ("POST", "/tokenize", false),
    ("POST", "/detokenize", false),
    ("POST", "/cache/flush", false),
];

/// The service.
pub(crate) fn router(app: Arc<App>) -> Router {
    let open = Router::new()
        .route("/", get(page::page))
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/version", get(health::version));
    let closed = Router::new()
        .route("/health/generate", get(health::generate))
        .route("/metrics", get(health::metrics))
        .route("/stats", get(health::stats))
        .route("/requests", get(requests::list))
        .route("/requests/{id}", delete(requests::cancel))
        .route("/v1/models", get(openai::models))
        .route("/v1/chat/completions", post(openai::chat))
        .route("/v1/completions", post(openai::completions))
        .route("/tokenize", post(health::tokenize))
        .route("/detokenize", post(health::detokenize))
        .route("/cache/flush", post(health::flush))
        .layer(from_fn_with_state(Arc::clone(&app), auth::require_key));
    let body_bytes = app.settings.limits.body_bytes;
    open.merge(closed)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(body_bytes))
        .with_state(app)
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

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await;
        bytes.map(Self).map_err(|rejection: BytesRejection| {
            let is_too_large = rejection.status() == http::StatusCode::PAYLOAD_TOO_LARGE;
            let code = if is_too_large {
                &BODY_TOO_LARGE
            } else {
                &INVALID_JSON
            };
            ApiError::new(code, rejection.body_text())
        })
    }
}

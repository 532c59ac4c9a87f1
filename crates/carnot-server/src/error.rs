//! Every failure that a client can see: one table of codes, in OpenAI's shape.

use std::fmt;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use carnot_engine::EngineError;
use serde_json::{Value, json};

/// A stable name for a kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    /// `code` in the body.
    pub code: &'static str,
    /// The status of the response.
    pub status: u16,
    /// `type` in the body.
    pub kind: &'static str,
    /// What it means, for the documentation.
    pub meaning: &'static str,
}

macro_rules! codes {
    ($($name:ident $code:literal $status:literal $kind:literal $meaning:literal)*) => {
        /// All codes, as `docs/serving.md` lists them.
        pub const CODES: &[ErrorCode] = &[$($name),*];
        $(#[doc = $meaning]
        pub(crate) const $name: ErrorCode = ErrorCode {
            code: $code,
            status: $status,
            kind: $kind,
            meaning: $meaning,
        };)*
    };
}

codes! {
    INVALID_JSON "invalid_json" 400 "invalid_request_error" "The body is not the JSON that the route takes."
    INVALID_VALUE "invalid_value" 400 "invalid_request_error" "A field has a value that it cannot have; `param` names it."
    CONTEXT_LENGTH_EXCEEDED "context_length_exceeded" 400 "invalid_request_error" "The prompt leaves no room in the context: `n_prompt_tokens` of `n_ctx`."
    INVALID_GRAMMAR "invalid_grammar" 400 "invalid_request_error" "The schema, regular expression or grammar is not well formed, or larger than what is allowed."
    NO_CHAT_TEMPLATE "no_chat_template" 400 "invalid_request_error" "The model was made for no conversation; use completions."
    INVALID_API_KEY "invalid_api_key" 401 "authentication_error" "The key is missing or unknown."
    MODEL_CONTROL "model_control" 403 "invalid_request_error" "The server loads and unloads no models while it runs."
    MODEL_NOT_FOUND "model_not_found" 404 "invalid_request_error" "The server has no model of that name."
    NOT_FOUND "not_found" 404 "invalid_request_error" "There is no such route."
    METHOD_NOT_ALLOWED "method_not_allowed" 405 "invalid_request_error" "The route takes another method."
    REQUEST_TIMEOUT "request_timeout" 408 "invalid_request_error" "The request took longer than its own `timeout_s`."
    CANCELLED "cancelled" 409 "invalid_request_error" "The request was ended by `DELETE /requests/ID`."
    BODY_TOO_LARGE "body_too_large" 413 "invalid_request_error" "The body is larger than the server takes."
    TENANT_LIMIT "tenant_limit" 429 "rate_limit_error" "As many requests of the key are under way as may be; `Retry-After` says when to come back."
    RATE_LIMIT_EXCEEDED "rate_limit_exceeded" 429 "rate_limit_error" "The key has used its tokens of a minute; `Retry-After` says when to come back."
    QUEUE_FULL "queue_full" 503 "overloaded_error" "As many requests wait as the server lets wait; `Retry-After` says when to come back."
    QUEUE_TOKENS_FULL "queue_tokens_full" 503 "overloaded_error" "As many prompt tokens wait as the server lets wait; `Retry-After` says when to come back."
    QUEUE_WAIT "queue_wait" 503 "overloaded_error" "The request would wait longer for a place than the server lets one wait; `Retry-After` says when to come back."
    QUEUE_TIMEOUT "queue_timeout" 503 "overloaded_error" "The request waited for a place as long as the server lets one wait."
    DRAINING "draining" 503 "overloaded_error" "The server is about to end."
    DEADLINE "deadline" 504 "server_error" "The request took as long as it may."
    ENGINE_FAILED "engine_failed" 500 "server_error" "The engine failed at this request."
}

/// A failure, for the one who asked.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub code: &'static ErrorCode,
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    pub retry_after: Option<Duration>,
    /// The prompt's tokens, and the context's.
    pub tokens: Option<(usize, usize)>,
}

impl ApiError {
    pub fn new(code: &'static ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            param: None,
            retry_after: None,
            tokens: None,
        }
    }

    /// A field with a wrong value.
    pub fn field(param: &str, expected: &str, got: impl std::fmt::Display) -> Self {
        let message = format!("{param}: expected {expected}, got {got}");
        Self {
            param: Some(param.to_owned()),
            ..Self::new(&INVALID_VALUE, message)
        }
    }

    /// The body of the response, and of an event where the response has begun.
    pub fn body(&self) -> Value {
        let mut error = json!({
            "message": self.message,
            "type": self.code.kind,
            "param": self.param,
            "code": self.code.code,
        });
        if let Some((prompt, context)) = self.tokens {
            error["n_prompt_tokens"] = prompt.into();
            error["n_ctx"] = context.into();
        }
        json!({ "error": error })
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            EngineError::ContextExceeded { prompt, context } => Self {
                tokens: Some((prompt, context)),
                ..Self::new(&CONTEXT_LENGTH_EXCEEDED, message)
            },
            EngineError::NoChatTemplate { .. } => Self::new(&NO_CHAT_TEMPLATE, message),
            EngineError::InvalidGrammar { .. } => Self::new(&INVALID_GRAMMAR, message),
            EngineError::InvalidParameter { name, .. } => Self {
                param: Some(name.to_owned()),
                ..Self::new(&INVALID_VALUE, message)
            },
            EngineError::EmptyPrompt | EngineError::UnknownToken { .. } => Self {
                param: Some("prompt".to_owned()),
                ..Self::new(&INVALID_VALUE, message)
            },
            EngineError::InvalidTensor { tensor, .. }
            | EngineError::UnknownTensor { tensor, .. }
            | EngineError::RepeatedTensor { tensor }
            | EngineError::MissingInput { input: tensor, .. } => Self {
                param: Some(tensor),
                ..Self::new(&INVALID_VALUE, message)
            },
            _ => Self::new(&ENGINE_FAILED, message),
        }
    }
}

impl ApiError {
    /// The response, with a body of whatever shape the interface has.
    pub fn response(&self, body: Value) -> Response {
        let status = StatusCode::from_u16(self.code.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(body)).into_response();
        if let Some(after) = self.retry_after {
            let seconds = HeaderValue::from(after.as_secs_f64().ceil() as u64);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// In OpenAI's shape; the error goes along, for interfaces that have another.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.response(self.body());
        response.extensions_mut().insert(self);
        response
    }
}

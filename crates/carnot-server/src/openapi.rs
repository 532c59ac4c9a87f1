//! The interface as an `OpenAPI` document, and a page that shows it.
//!
//! What a route takes is described by the types that it is read into; what it is, by the table here, which a test holds to the router's.

use axum::Json;
use axum::response::Html;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::error::CODES;
use crate::health::{Detokenize, Tokenize};
use crate::infer::Question;
use crate::oip::InferenceRequest;
use crate::openai::{ChatRequest, CompletionRequest, EmbeddingRequest};
use crate::router::ROUTES;

#[derive(OpenApi)]
#[openapi(components(schemas(
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Question,
    Tokenize,
    Detokenize,
    InferenceRequest
)))]
struct Schemas;

/// What a route takes and gives.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    takes: Takes,
    gives: Gives,
}

#[derive(Clone, Copy)]
enum Takes {
    Nothing,
    /// The schema of that name.
    One(&'static str),
    ListOf(&'static str),
}

#[derive(Clone, Copy)]
enum Gives {
    Object,
    List,
    /// An object with these fields, or events that are such objects.
    ObjectOrEvents(&'static [&'static str]),
    Media(&'static str),
}

const fn route(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    takes: Takes,
    gives: Gives,
) -> Operation {
    Operation {
        method,
        path,
        summary,
        takes,
        gives,
    }
}

const HTML: Gives = Gives::Media("text/html");
const CHOICES: Gives = Gives::ObjectOrEvents(&["id", "object", "created", "model", "choices"]);

#[rustfmt::skip]
const OPERATIONS: &[Operation] = &[
    route("POST", "/v1/chat/completions", "Answer a conversation", Takes::One("ChatRequest"), CHOICES),
    route("POST", "/v1/completions", "Continue texts", Takes::One("CompletionRequest"), CHOICES),
    route("POST", "/v1/embeddings", "Vectors of texts", Takes::One("EmbeddingRequest"), Gives::Object),
    route("GET", "/v1/models", "The models, with their sizes", Takes::Nothing, Gives::Object),
    route("POST", "/infer", "Answer a question", Takes::One("Question"), Gives::Object),
    route("POST", "/batch_infer", "Answer questions, in their order", Takes::ListOf("Question"), Gives::List),
    route("POST", "/tokenize", "The tokens of a text", Takes::One("Tokenize"), Gives::Object),
    route("POST", "/detokenize", "The text of tokens", Takes::One("Detokenize"), Gives::Object),
    route("GET", "/requests", "Your requests that are under way", Takes::Nothing, Gives::Object),
    route("DELETE", "/requests/{id}", "End a request", Takes::Nothing, Gives::Object),
    route("POST", "/cache/flush", "Forget kept prefixes", Takes::Nothing, Gives::Object),
    route("GET", "/props", "The models, and the limits of requests", Takes::Nothing, Gives::Object),
    route("GET", "/stats", "What waits, runs and is kept", Takes::Nothing, Gives::Object),
    route("GET", "/metrics", "The metrics, for Prometheus", Takes::Nothing, Gives::Media("text/plain")),
    route("GET", "/health", "Whether all is well", Takes::Nothing, Gives::Object),
    route("GET", "/health/live", "Whether the process answers", Takes::Nothing, Gives::Object),
    route("GET", "/health/ready", "Whether requests are taken", Takes::Nothing, Gives::Object),
    route("GET", "/health/generate", "A token through each engine", Takes::Nothing, Gives::Object),
    route("GET", "/version", "What runs here", Takes::Nothing, Gives::Object),
    route("GET", "/openapi.json", "This document", Takes::Nothing, Gives::Object),
    route("GET", "/docs", "This document, for people", Takes::Nothing, HTML),
    route("GET", "/", "The live page", Takes::Nothing, HTML),
    route("GET", "/v2", "The server, and what it can", Takes::Nothing, Gives::Object),
    route("GET", "/v2/health/live", "Whether the process answers", Takes::Nothing, Gives::Object),
    route("GET", "/v2/health/ready", "Whether requests are taken", Takes::Nothing, Gives::Object),
    route("GET", "/v2/models/stats", "What became of the requests of all tensor models", Takes::Nothing, Gives::Object),
    route("GET", "/v2/models/{model}", "What a tensor model takes and gives", Takes::Nothing, Gives::Object),
    route("GET", "/v2/models/{model}/ready", "Whether it takes requests", Takes::Nothing, Gives::Object),
    route("GET", "/v2/models/{model}/stats", "What became of its requests", Takes::Nothing, Gives::Object),
    route("POST", "/v2/models/{model}/infer", "Run it", Takes::One("InferenceRequest"), Gives::Object),
    route("GET", "/v2/models/{model}/versions/{version}", "What a tensor model takes and gives", Takes::Nothing, Gives::Object),
    route("GET", "/v2/models/{model}/versions/{version}/ready", "Whether it takes requests", Takes::Nothing, Gives::Object),
    route("GET", "/v2/models/{model}/versions/{version}/stats", "What became of its requests", Takes::Nothing, Gives::Object),
    route("POST", "/v2/models/{model}/versions/{version}/infer", "Run it", Takes::One("InferenceRequest"), Gives::Object),
    route("POST", "/v2/repository/index", "All tensor models, and how they are", Takes::Nothing, Gives::List),
    route("POST", "/v2/repository/models/{model}/load", "Open a tensor model again", Takes::Nothing, Gives::Object),
    route("POST", "/v2/repository/models/{model}/unload", "Give the memory of a tensor model back", Takes::Nothing, Gives::Object),
];

/// `GET /openapi.json`.
pub(crate) async fn document() -> Json<Value> {
    Json(build())
}

/// `GET /docs`.
pub(crate) async fn page() -> Html<&'static str> {
    Html(include_str!("openapi.html"))
}

fn build() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.to_lowercase()] = operation.described();
    }
    let schemas = serde_json::to_value(Schemas::openapi().components);
    let mut components = schemas.unwrap_or_else(|error| json!({ "error": error.to_string() }));
    components["schemas"]["Error"] = error_schema();
    components["schemas"]["TensorError"] = json!({
        "type": "object",
        "required": ["error"],
        "properties": { "error": { "type": "string" } },
    });
    components["securitySchemes"] = json!({ "key": { "type": "http", "scheme": "bearer" } });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "carnot",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Language models behind OpenAI's interface, tensor models behind the Open Inference Protocol. Keys are needed only where the server was given some.",
        },
        "paths": paths,
        "components": components,
    })
}

impl Operation {
    fn described(&self) -> Value {
        let mut described = json!({
            "summary": self.summary,
            "operationId": self.identifier(),
            "responses": self.responses(),
        });
        let schema = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
        let body = match self.takes {
            Takes::Nothing => None,
            Takes::One(name) => Some(schema(name)),
            Takes::ListOf(name) => Some(json!({ "type": "array", "items": schema(name) })),
        };
        if let Some(schema) = body {
            let content = json!({ "application/json": { "schema": schema } });
            described["requestBody"] = json!({ "required": true, "content": content });
        }
        let parameters: Vec<Value> = self.parameters().collect();
        if !parameters.is_empty() {
            described["parameters"] = json!(parameters);
        }
        if !self.is_open() {
            described["security"] = json!([{ "key": [] }, {}]);
        }
        described
    }

    /// What stands in braces in the path.
    fn parameters(&self) -> impl Iterator<Item = Value> {
        let names = self.path.split('/').filter_map(|part| {
            let part = part.strip_prefix('{')?;
            part.strip_suffix('}')
        });
        names.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
    }

    fn is_open(&self) -> bool {
        let same =
            |&&(method, path, _): &&(&str, &str, bool)| (method, path) == (self.method, self.path);
        ROUTES.iter().find(same).is_some_and(|&(_, _, open)| open)
    }

    fn identifier(&self) -> String {
        let words = self
            .path
            .split(|letter: char| !letter.is_ascii_alphanumeric());
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        format!("{}_{}", self.method.to_lowercase(), words.join("_"))
    }

    fn responses(&self) -> Value {
        let content = match self.gives {
            Gives::Object => json!({ "application/json": { "schema": { "type": "object" } } }),
            Gives::List => json!({ "application/json": { "schema": { "type": "array" } } }),
            Gives::ObjectOrEvents(required) => json!({
                "application/json": { "schema": { "type": "object", "required": required } },
                "text/event-stream": { "schema": { "type": "string" } },
            }),
            Gives::Media(kind) => json!({ kind: { "schema": { "type": "string" } } }),
        };
        let mut responses = json!({ "200": { "description": "Done.", "content": content } });
        for code in CODES {
            let response = &mut responses[code.status.to_string()];
            if response.is_null() {
                let name = if self.path.starts_with("/v2") {
                    "TensorError"
                } else {
                    "Error"
                };
                let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
                *response = json!({ "description": "", "content": { "application/json": { "schema": schema } } });
            }
            let known = response["description"].as_str().unwrap_or_default();
            response["description"] = format!("{known}`{}`: {} ", code.code, code.meaning).into();
        }
        responses
    }
}

fn error_schema() -> Value {
    let codes: Vec<&str> = CODES.iter().map(|code| code.code).collect();
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": { "type": "string" },
                    "type": { "type": "string" },
                    "param": { "type": ["string", "null"] },
                    "code": { "enum": codes },
                    "n_prompt_tokens": { "type": "integer" },
                    "n_ctx": { "type": "integer" },
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described() {
        let described: BTreeSet<_> = OPERATIONS
            .iter()
            .map(|one| (one.method, one.path))
            .collect();
        let routes = ROUTES
            .iter()
            .map(|&(method, path, _)| (method, path))
            .collect();
        assert_eq!(described, routes);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(
                        fields
                            .get("$ref")
                            .and_then(Value::as_str)
                            .map(str::to_owned),
                    );
                    fields.values().for_each(|field| references(field, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => (),
            }
        }
        let (document, mut found) = (build(), Vec::new());
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}

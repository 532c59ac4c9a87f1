//! What is under way, and how to end it.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use crate::App;
use crate::auth::Tenant;
use crate::error::{ApiError, NOT_FOUND};

/// Sequences that wait or run; a tenant sees its own.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
) -> Json<Value> {
    let mut all = Vec::new();
    for engine in &app.engines {
        let mut under_way = engine.under_way().await;
        under_way.sort_by(|a, b| (b.age, &a.name, a.choice).cmp(&(a.age, &b.name, b.choice)));
        let theirs = under_way.into_iter();
        all.extend(theirs.filter(|one| one.tenant == tenant).map(|one| {
            json!({
                "id": *one.name,
                "choice": one.choice,
                "model": engine.model.name,
                "priority": one.priority,
                "state": one.state,
                "prompt_tokens": one.prompt_tokens,
                "generated_tokens": one.generated_tokens,
                "age_ms": 1e3 * one.age.as_secs_f64(),
            })
        }));
    }
    Json(json!({ "requests": all }))
}

/// Ends all choices of a request of one's own.
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    for engine in &app.engines {
        let under_way = engine.under_way().await;
        let is_theirs =
            |one: &crate::engine_thread::UnderWay| *one.name == *name && one.tenant == tenant;
        if under_way.iter().any(is_theirs) {
            let choices = engine.cancel(&name).await;
            return Ok(Json(json!({ "id": name, "cancelled_choices": choices })));
        }
    }
    Err(ApiError::new(
        &NOT_FOUND,
        format!("no request {name} is under way"),
    ))
}

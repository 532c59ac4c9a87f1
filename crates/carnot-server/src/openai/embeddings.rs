//! `POST /v1/embeddings`: a text in, a vector out.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use carnot_engine::Pooling;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::answer::{gather, reason};
use super::completions::tokens;
use super::plan::{Kind, Plan, Prompts};
use super::wire::{Common, Prompt, parse};
use crate::App;
use crate::auth::Tenant;
use crate::error::ApiError;
use crate::router::Body;

/// Texts to be made vectors of.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct EmbeddingRequest {
    model: Option<String>,
    input: Prompt,
    #[serde(default)]
    encoding_format: Encoding,
    #[serde(default)]
    pooling: PoolingName,
    /// Keeps the first so many numbers.
    dimensions: Option<usize>,
    /// From 0 to 10; 10 goes first.
    #[schema(maximum = 10)]
    priority: Option<u8>,
}

/// How a vector is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    #[default]
    Float,
    /// 32-bit numbers, the low byte first.
    Base64,
}

/// How the states of a text's tokens become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum PoolingName {
    #[default]
    Last,
    Mean,
}

/// A vector of length 1 for each text.
pub(crate) async fn embeddings(
    State(app): State<Arc<App>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let request: EmbeddingRequest = parse(&body)?;
    let engine = super::engine(&app, request.model.as_deref())?;
    let prompts = Prompts {
        kind: Kind::Completion,
        tokens: tokens(engine, request.input)?,
        logprobs: None,
        echo: false,
        has_tools: false,
    };
    let common = Common {
        max_tokens: Some(0),
        priority: request.priority,
        ..Common::default()
    };
    let mut plan = Plan::new(engine, tenant, prompts, common)?;
    let pooling = match request.pooling {
        PoolingName::Last => Pooling::Last,
        PoolingName::Mean => Pooling::Mean,
    };
    plan.requests
        .iter_mut()
        .for_each(|one| one.embed = Some(pooling));
    let updates = super::start(&app, engine, &plan).await?;
    let mut data = Vec::new();
    let mut count = 0;
    for (index, choice) in gather(plan.requests.len(), updates)
        .await?
        .into_iter()
        .enumerate()
    {
        reason(&choice.finished.ending)?;
        count += choice.finished.usage.prompt_tokens;
        let values = cut(choice.embedding, request.dimensions)?;
        let embedding = match request.encoding_format {
            Encoding::Float => json!(values),
            Encoding::Base64 => {
                let bytes: Vec<u8> = values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect();
                json!(base64::encode(bytes))
            }
        };
        data.push(json!({ "object": "embedding", "index": index, "embedding": embedding }));
    }
    Ok(Json(json!({
        "object": "list",
        "data": data,
        "model": plan.model,
        "usage": { "prompt_tokens": count, "total_tokens": count },
    })))
}

/// The first numbers, so that the sum of their squares is 1.
fn cut(mut values: Vec<f32>, dimensions: Option<usize>) -> Result<Vec<f32>, ApiError> {
    let most = values.len();
    match dimensions {
        Some(wanted) if wanted == 0 || wanted > most => {
            let expected = format!("a number from 1 to {most}");
            return Err(ApiError::field("dimensions", &expected, wanted));
        }
        wanted => values.truncate(wanted.unwrap_or(most)),
    }
    let squares: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
    let scale = if squares > 0.0 {
        squares.sqrt().recip()
    } else {
        0.0
    };
    values
        .iter_mut()
        .for_each(|value| *value = (f64::from(*value) * scale) as f32);
    Ok(values)
}

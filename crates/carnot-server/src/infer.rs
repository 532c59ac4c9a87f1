//! A question in, an answer out: `POST /infer`, and `POST /batch_infer` for several at once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use carnot_engine::ChatMessage;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::App;
use crate::auth::Tenant;
use crate::engine_thread::{Ending, Finished, Timings};
use crate::error::{ApiError, REQUEST_TIMEOUT};
use crate::openai::{self, Choice, Common, Kind, Plan, Prompts, parse};
use crate::router::Body;

/// Questions of one batch at most.
const MOST_QUESTIONS: usize = 64;
/// Tokens of an answer where nothing is said.
const DEFAULT_TOKENS: usize = 256;
/// Seconds that an answer may take where nothing is said, and what may be said.
const DEFAULT_TIMEOUT: f64 = 30.0;
const MOST_TIMEOUT: f64 = 300.0;
/// The priority of the premium tier where none is given.
const PREMIUM_PRIORITY: u8 = 8;

/// One question.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Question {
    /// Comes back with the answer; one is made up where none is given.
    request_id: Option<String>,
    model: Option<String>,
    /// What is asked: a message to a model that has a chat template, a text to be continued for one that has not.
    #[serde(alias = "question")]
    prompt: String,
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    seed: Option<i64>,
    /// From 0 to 10; 10 goes first.
    priority: Option<u8>,
    /// Seconds until the answer is of no use any more, at most 300.
    timeout_s: Option<f64>,
    user_tier: Option<Tier>,
}

/// Whose question it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Tier {
    #[default]
    Standard,
    /// Goes before the standard ones.
    Premium,
}

/// Answers a question.
pub(crate) async fn infer(
    State(app): State<Arc<App>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    answer(&app, tenant, parse(&body)?).await.map(Json)
}

/// Answers questions in their order; one that fails has its error in its place.
pub(crate) async fn batch_infer(
    State(app): State<Arc<App>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Body(body): Body,
) -> Result<Json<Vec<Value>>, ApiError> {
    let questions: Vec<Value> = parse(&body)?;
    if questions.len() > MOST_QUESTIONS {
        let expected = format!("at most {MOST_QUESTIONS} questions");
        return Err(ApiError::field("the body", &expected, questions.len()));
    }
    let answers = questions.into_iter().map(async |question| {
        let answered = match parse(question.to_string().as_bytes()) {
            Ok(question) => answer(&app, Arc::clone(&tenant), question).await,
            Err(error) => Err(error),
        };
        answered.unwrap_or_else(|error| error.body())
    });
    Ok(Json(join_all(answers).await))
}

async fn answer(app: &App, tenant: Arc<str>, question: Question) -> Result<Value, ApiError> {
    let engine = openai::engine(app, question.model.as_deref())?;
    let timeout = question.timeout_s.unwrap_or(DEFAULT_TIMEOUT);
    if !(timeout > 0.0 && timeout <= MOST_TIMEOUT) {
        let expected = format!("a number above 0, at most {MOST_TIMEOUT}");
        return Err(ApiError::field("timeout_s", &expected, timeout));
    }
    let priority = match question.user_tier.unwrap_or_default() {
        Tier::Standard => None,
        Tier::Premium => Some(PREMIUM_PRIORITY),
    };
    let common = Common {
        max_tokens: Some(question.max_tokens.unwrap_or(DEFAULT_TOKENS)),
        temperature: question.temperature,
        seed: question.seed,
        priority: question.priority.or(priority),
        ..Common::default()
    };
    let prompts = Prompts {
        kind: Kind::Completion,
        tokens: vec![openai::ask(
            engine,
            ChatMessage::new("user", question.prompt),
        )?],
        // For the confidence.
        logprobs: Some(0),
        echo: false,
        has_tools: false,
    };
    let mut plan = Plan::new(engine, tenant, prompts, common)?;
    let begin = engine.now();
    for request in &mut plan.requests {
        request.deadline = Some(begin + Duration::from_secs_f64(timeout));
    }
    let updates = openai::start(app, engine, &plan).await?;
    let mut choices = openai::gather(plan.requests.len(), updates).await?;
    let choice = choices.swap_remove(0);
    if choice.finished.ending == Ending::Deadline {
        let message = format!("timeout_s: expected an answer within {timeout} s, got none");
        return Err(ApiError::new(&REQUEST_TIMEOUT, message));
    }
    let reason = openai::reason(&choice.finished.ending)?;
    let id = question.request_id.unwrap_or_else(|| plan.id.to_string());
    let total = engine.now().saturating_sub(begin);
    Ok(told(&id, &plan.model, &choice, reason, total))
}

fn told(id: &str, model: &str, choice: &Choice, reason: &str, total: Duration) -> Value {
    let confidence = confidence(choice);
    let Finished {
        usage,
        timings,
        batch,
        ..
    } = &choice.finished;
    let Timings {
        queue,
        prefill,
        decode,
    } = *timings;
    let ms = |duration: Duration| 1e3 * duration.as_secs_f64();
    let is_hit = usage.cached_tokens > 0;
    json!({
        "request_id": id,
        "final_answer": choice.text,
        "finish_reason": reason,
        "confidence": confidence,
        "model_tier": model,
        "cache_hit": is_hit,
        "from_cache": is_hit,
        "prefix_length": usage.cached_tokens,
        "prompt_tokens": usage.prompt_tokens,
        "response_tokens": usage.generated_tokens,
        "batch_size": batch,
        "trajectory": [
            { "stage": "queue", "ms": ms(queue) },
            { "stage": "prefill", "ms": ms(prefill), "tokens": usage.prompt_tokens - usage.cached_tokens },
            { "stage": "decode", "ms": ms(decode), "tokens": usage.generated_tokens },
        ],
        "processing_time_ms": ms(prefill + decode),
        "total_time_ms": ms(total),
        "latency_ms": ms(total),
    })
}

/// The geometric mean of the probabilities of the answer's tokens; null where there are none.
fn confidence(choice: &Choice) -> Option<f64> {
    let count = choice.tokens.len();
    let sum: f64 = choice
        .tokens
        .iter()
        .map(|(_, logprobs)| f64::from(logprobs.chosen))
        .sum();
    (count > 0).then(|| (sum / count as f64).exp())
}

//! The Open Inference Protocol, version 2, as KServe and Triton speak it: tensors by name, in JSON or as bytes behind it.
//!
//! Errors are of its shape, `{"error": "…"}`, with the same status as everywhere.

mod data;
mod reply;
mod wire;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use axum::{Extension, Json};
use carnot_engine::TensorInfo;
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use self::wire::InferenceRequest;
use crate::App;
use crate::auth::Tenant;
use crate::error::{ApiError, DRAINING, ENGINE_FAILED};
use crate::openai::parse;
use crate::router::Body;
use crate::tensors::{self, Count, ModelHandle, Statistics, results};

/// Where the routes of the protocol begin.
const ROOT: &str = "/v2";

/// A model, and its version where the path says it.
#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    model: String,
    #[serde(default)]
    version: Option<String>,
}

impl Named {
    fn find(&self, app: &App) -> Result<Arc<ModelHandle>, ApiError> {
        app.tensors.get(&self.model, self.version.as_deref())
    }
}

/// Gives errors below `/v2` the protocol's shape, whoever made them.
pub(crate) async fn errors(request: Request, next: Next) -> Response {
    let is_its = request.uri().path().starts_with(ROOT);
    let response = next.run(request).await;
    match response.extensions().get::<ApiError>() {
        Some(error) if is_its => error.response(json!({ "error": error.message })),
        _ => response,
    }
}

/// What the server is, and what it can beside the protocol itself.
pub(crate) async fn server() -> Json<Value> {
    Json(json!({
        "name": "carnot",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "model_repository", "schedule_policy", "statistics"],
    }))
}

/// The process answers.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// The server takes requests; how each model is, the index says.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    if app.is_draining() {
        return Err(ApiError::new(&DRAINING, "the server is about to end"));
    }
    Ok(Json(json!({ "ready": true })))
}

/// What a model takes and gives.
pub(crate) async fn model(
    State(app): State<Arc<App>>,
    Path(named): Path<Named>,
) -> Result<Json<Value>, ApiError> {
    let handle = named.find(&app)?;
    let info = handle.info();
    let tensors = |tensors: &[TensorInfo]| -> Vec<Value> {
        let tensor = |tensor: &TensorInfo| {
            let size = |size: &Option<usize>| size.map_or(-1, |size| size as i64);
            let shape: Vec<i64> = tensor.shape.iter().map(size).collect();
            json!({ "name": tensor.name, "datatype": tensor.tensor_type.name(), "shape": shape })
        };
        tensors.iter().map(tensor).collect()
    };
    Ok(Json(json!({
        "name": info.name,
        "versions": [info.version],
        "platform": info.platform,
        "inputs": tensors(&info.inputs),
        "outputs": tensors(&info.outputs),
    })))
}

/// A model takes requests.
pub(crate) async fn model_ready(
    State(app): State<Arc<App>>,
    Path(named): Path<Named>,
) -> Result<Json<Value>, ApiError> {
    let handle = named.find(&app)?;
    Ok(Json(json!({ "name": handle.info().name, "ready": true })))
}

/// Runs a model.
pub(crate) async fn infer(
    State(app): State<Arc<App>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path(named): Path<Named>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let handle = named.find(&app)?;
    let request = wire::read(&headers, &body)?;
    if app.is_draining() {
        return Err(ApiError::new(&DRAINING, "the server is about to end"));
    }
    let forms = reply::forms(handle.info(), &request)?;
    let asked = tensors::Request {
        inputs: request.inputs,
        outputs: request.outputs,
        tenant,
        priority: request.priority,
        timeout: request.timeout,
    };
    let settings = app.settings.get();
    let answer = match app.results.get() {
        None => handle.infer(&settings.limits, asked).await,
        Some(cache) => results::infer(cache, &handle, &settings.limits, asked).await,
    };
    let answer = answer.inspect_err(|error| {
        if error.retry_after.is_some() {
            app.metrics.rejected(error.code.code);
        }
    })?;
    reply::written(handle.info(), request.id.as_deref(), &answer, &forms)
}

/// What became of the requests of one model.
pub(crate) async fn model_statistics(
    State(app): State<Arc<App>>,
    Path(named): Path<Named>,
) -> Result<Json<Value>, ApiError> {
    let handle = named.find(&app)?;
    Ok(Json(json!({ "model_stats": [told(&handle)] })))
}

/// What became of the requests of all models.
pub(crate) async fn statistics(State(app): State<Arc<App>>) -> Json<Value> {
    let ready = app.tensors.ready();
    let told: Vec<Value> = ready.iter().map(|handle| told(handle)).collect();
    Json(json!({ "model_stats": told }))
}

/// In the words of Triton, with times in nanoseconds.
fn told(handle: &ModelHandle) -> Value {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let count = |count: Count| json!({ "count": count.count, "ns": nanoseconds(count.time) });
    let Statistics {
        rows,
        runs,
        success,
        fail,
        queue,
        join,
        run,
        split,
        cache_hit,
        cache_miss,
        by_rows,
        last,
    } = handle.statistics();
    let last = last.and_then(|last| last.duration_since(UNIX_EPOCH).ok());
    let batches = by_rows.into_iter().map(|(rows, [join, run, split])| {
        json!({
            "batch_size": rows,
            "compute_input": count(join),
            "compute_infer": count(run),
            "compute_output": count(split),
        })
    });
    let info = handle.info();
    json!({
        "name": info.name,
        "version": info.version,
        "last_inference": last.map_or(0, |last| u64::try_from(last.as_millis()).unwrap_or(u64::MAX)),
        "inference_count": rows,
        "execution_count": runs,
        "inference_stats": {
            "success": count(success),
            "fail": count(fail),
            "queue": count(queue),
            "compute_input": count(join),
            "compute_infer": count(run),
            "compute_output": count(split),
            "cache_hit": count(cache_hit),
            "cache_miss": count(cache_miss),
        },
        "batch_stats": batches.collect::<Vec<Value>>(),
    })
}

/// Which models are wanted of the index.
#[derive(Default, Deserialize)]
struct IndexRequest {
    /// Only those that are loaded.
    #[serde(default)]
    ready: bool,
}

/// All models, and how they are.
pub(crate) async fn index(
    State(app): State<Arc<App>>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let wanted = match body.trim_ascii() {
        [] => IndexRequest::default(),
        body => parse(body)?,
    };
    let listed = app.tensors.index().into_iter();
    let listed = listed.filter(|one| one.state == "READY" || !wanted.ready);
    let rows = listed.map(|one| {
        json!({ "name": one.name, "version": one.version, "state": one.state, "reason": one.reason })
    });
    Ok(Json(rows.collect()))
}

/// Opens a model again from where it came.
pub(crate) async fn load(
    State(app): State<Arc<App>>,
    Path(named): Path<Named>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    #[derive(Deserialize)]
    struct Load {
        #[serde(default)]
        parameters: serde_json::Map<String, Value>,
    }
    if !body.trim_ascii().is_empty() {
        let load: Load = parse(&body)?;
        if let Some((name, _)) = load.parameters.into_iter().next() {
            let expected = "none: a model is loaded from where it was when the server began";
            return Err(ApiError::field("parameters", expected, name));
        }
    }
    // A client that leaves does not stop it half way.
    let loading = async move { app.tensors.load(&named.model, &app.metrics).await };
    done(tokio::spawn(loading).await)
}

/// Gives the memory of a model back when the requests that it has are answered.
pub(crate) async fn unload(
    State(app): State<Arc<App>>,
    Path(named): Path<Named>,
) -> Result<Json<Value>, ApiError> {
    let unloading = async move { app.tensors.unload(&named.model).await };
    done(tokio::spawn(unloading).await)
}

fn done(
    ended: Result<Result<(), ApiError>, tokio::task::JoinError>,
) -> Result<Json<Value>, ApiError> {
    match ended {
        Ok(done) => done.map(|()| Json(json!({}))),
        Err(error) => Err(ApiError::new(&ENGINE_FAILED, error.to_string())),
    }
}

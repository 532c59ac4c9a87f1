//! A line for each response, and the id that ties a client's view of a request to the server's.

use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use crate::openai::any_number;
use crate::traces::{ORIGIN, Origin};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id of a client's that is taken over.
const LONGEST: usize = 128;

/// Names the request, logs its response when that begins, and tells the client the name.
pub(crate) async fn log(request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let id = given(request.headers()).unwrap_or_else(|| format!("{:016x}", any_number()));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("http", request_id = id);
    let origin = Origin::of(&path, request.headers());
    let answered = next.run(request).instrument(span.clone());
    let mut response = ORIGIN.scope(origin, answered).await;
    let status = response.status().as_u16();
    let ms = 1e3 * begin.elapsed().as_secs_f64();
    span.in_scope(|| {
        if status >= 500 {
            tracing::warn!(%method, path, status, ms, "response");
        } else {
            tracing::info!(%method, path, status, ms, "response");
        }
    });
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// What a client or a proxy named the request, if it is fit to be logged.
fn given(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_fit =
        !id.is_empty() && id.len() <= LONGEST && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_fit.then(|| id.to_owned())
}

//! Traces of requests for an OpenTelemetry collector: OTLP over HTTP, as JSON (opentelemetry-proto 1.x).
//!
//! Each sequence is a span with the engine's own times, and its queue, prefill and decode are spans within. A client's `traceparent`
//! (W3C Trace Context) is its parent. Names follow OpenTelemetry's conventions for generative models. Tokens are no spans: they would
//! outnumber everything else.
//!
//! ```text
//! http layer ─ Origin (task-local) ─▶ Submission ─▶ engine thread: answered() ─▶ bounded channel ─▶ exporter task ─▶ POST /v1/traces
//! ```
//!
//! Serving never waits for a collector. What the channel has no room for, or the collector does not take, is dropped and counted.
//!
//! The format is written here, and not by OpenTelemetry's crates, which bring an HTTP client and protocol buffers for this one request, and whose
//! exporter drops without saying so.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::http::{HeaderMap, Request, header};
use carnot_engine::Usage;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::engine_thread::{Ending, Timings};
use crate::openai::any_number;

/// Answers that may wait to be exported.
const WAITING: usize = 4096;
/// Answers in one request to the collector.
const BATCH: usize = 256;
/// How long an answer may wait for others to be exported with.
const LINGER: Duration = Duration::from_secs(1);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// Of the request whose handler runs.
    pub(crate) static ORIGIN: Option<Origin>;
}

/// Where traces go: the address of a collector, without TLS, as of an agent on the same machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    authority: String,
    path: String,
}

impl Collector {
    /// Reads `http://HOST:PORT`, to which `/v1/traces` is added, or a whole `http://HOST:PORT/PATH`.
    ///
    /// # Errors
    /// What was expected, if it is neither.
    pub fn parse(url: &str) -> Result<Self, String> {
        let refused = || format!("expected http://HOST:PORT, got {url}");
        let rest = url.strip_prefix("http://").ok_or_else(refused)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(refused());
        }
        let path = path.trim_end_matches('/');
        let path = if path.is_empty() { "v1/traces" } else { path };
        Ok(Self {
            authority: format!("{host}:{port}"),
            path: format!("/{path}"),
        })
    }
}

/// What a request was sent as.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The operation, by OpenTelemetry's name.
    operation: &'static str,
    trace: [u8; 16],
    parent: Option<[u8; 8]>,
}

impl Origin {
    /// Of a request to `path`; `None` if it is none to a model, or its client wants no trace.
    pub fn of(path: &str, headers: &HeaderMap) -> Option<Self> {
        let operation = match path {
            "/v1/chat/completions" => "chat",
            "/v1/completions" | "/infer" | "/batch_infer" => "text_completion",
            "/v1/embeddings" => "embeddings",
            _ => return None,
        };
        let given = headers.get("traceparent");
        let given = given.and_then(|value| parents(value.to_str().ok()?));
        let own = || ((u128::from(any_number()) << 64) | u128::from(any_number())).to_be_bytes();
        match given {
            Some((_, _, false)) => None,
            Some((trace, parent, true)) => Some(Self {
                operation,
                trace,
                parent: Some(parent),
            }),
            None => Some(Self {
                operation,
                trace: own(),
                parent: None,
            }),
        }
    }
}

/// Trace, parent and whether it is wanted, of a `traceparent` such as `00-<32 digits>-<16 digits>-01`.
fn parents(value: &str) -> Option<([u8; 16], [u8; 8], bool)> {
    let mut parts = value.trim().split('-');
    let [version, trace, parent, flags] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    let number = |digits: &str, count: usize| {
        let is_hex = digits.len() == count && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex
            .then(|| u128::from_str_radix(digits, 16).ok())
            .flatten()
    };
    let version = number(version, 2).filter(|&version| version != 0xff)?;
    if version == 0 && parts.next().is_some() {
        return None;
    }
    let trace = number(trace, 32).filter(|&trace| trace != 0)?;
    let parent = number(parent, 16).filter(|&parent| parent != 0)? as u64;
    let flags = number(flags, 2)?;
    Some((trace.to_be_bytes(), parent.to_be_bytes(), flags & 1 == 1))
}

/// A sequence that has ended.
pub(crate) struct Answered {
    pub origin: Origin,
    pub model: String,
    pub id: Arc<str>,
    pub tenant: Arc<str>,
    pub priority: u8,
    pub usage: Usage,
    pub ending: Ending,
    pub timings: Timings,
    /// From its submission to its end.
    pub took: Duration,
    pub ended: SystemTime,
}

/// The way to the exporter, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Traces(Arc<OnceLock<Sender>>);

struct Sender {
    answers: mpsc::Sender<Answered>,
    dropped: Counter,
}

impl Traces {
    /// Starts the exporter; for the first collector alone. Needs a runtime.
    pub fn export(&self, collector: Collector, dropped: Counter) {
        let (answers, waiting) = mpsc::channel(WAITING);
        let sender = Sender {
            answers,
            dropped: dropped.clone(),
        };
        if self.0.set(sender).is_ok() {
            tokio::spawn(export(collector, waiting, dropped));
        }
    }

    /// Whether anybody wants to know.
    pub fn are_wanted(&self) -> bool {
        self.0.get().is_some()
    }

    pub fn answered(&self, answered: Answered) {
        if let Some(sender) = self.0.get()
            && sender.answers.try_send(answered).is_err()
        {
            sender.dropped.inc();
        }
    }
}

async fn export(collector: Collector, mut waiting: mpsc::Receiver<Answered>, dropped: Counter) {
    while let Some(first) = waiting.recv().await {
        let mut batch = vec![first];
        let others = async {
            while batch.len() < BATCH
                && let Some(next) = waiting.recv().await
            {
                batch.push(next);
            }
        };
        // Those that did not come in time come with the next.
        let _ = timeout(LINGER, others).await;
        let body = document(&batch).to_string();
        let posted = timeout(PATIENCE, post(&collector, body)).await;
        let failure = match posted {
            Ok(Ok(())) => continue,
            Ok(Err(failure)) => failure,
            Err(_) => "no answer in time".to_owned(),
        };
        dropped.inc_by(batch.len() as u64);
        tracing::warn!(
            failure,
            traces = batch.len(),
            collector = collector.authority,
            "traces are lost"
        );
    }
}

async fn post(collector: &Collector, body: String) -> Result<(), String> {
    let stream = TcpStream::connect(&collector.authority).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::post(&collector.path)
        .header(header::HOST, &collector.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    // What ends it, the request on it is told.
    tokio::spawn(async move { drop(connection.await) });
    let response = sender.send_request(request).await;
    let response = response.map_err(|error| error.to_string())?;
    if response.status().is_success() {
        Ok(())
    } else {
        Err(format!("status {}", response.status()))
    }
}

/// An `ExportTraceServiceRequest`.
fn document(batch: &[Answered]) -> Value {
    let spans: Vec<Value> = batch.iter().flat_map(spans).collect();
    let service = attribute("service.name", &json!("carnot"));
    let version = env!("CARGO_PKG_VERSION");
    json!({ "resourceSpans": [{
        "resource": { "attributes": [service, attribute("service.version", &json!(version))] },
        "scopeSpans": [{ "scope": { "name": "carnot-server", "version": version }, "spans": spans }],
    }] })
}

fn spans(of: &Answered) -> Vec<Value> {
    let own = any_number().to_be_bytes();
    let begin = of.ended.checked_sub(of.took).unwrap_or(of.ended);
    let operation = of.origin.operation;
    let mut whole = span(
        of,
        &format!("{operation} {}", of.model),
        (own, of.origin.parent),
        (begin, of.ended),
    );
    let finish = of.ending.name();
    let attributes = [
        ("gen_ai.operation.name", json!(operation)),
        ("gen_ai.provider.name", json!("carnot")),
        ("gen_ai.request.model", json!(of.model)),
        ("gen_ai.response.id", json!(&*of.id)),
        ("gen_ai.response.finish_reasons", json!([finish])),
        ("gen_ai.usage.input_tokens", json!(of.usage.prompt_tokens)),
        (
            "gen_ai.usage.output_tokens",
            json!(of.usage.generated_tokens),
        ),
        (
            "gen_ai.usage.cache_read.input_tokens",
            json!(of.usage.cached_tokens),
        ),
        ("carnot.tenant", json!(&*of.tenant)),
        ("carnot.priority", json!(of.priority)),
    ];
    whole["kind"] = SERVER.into();
    whole["attributes"] = attributes
        .iter()
        .map(|(key, value)| attribute(key, value))
        .collect();
    if let Ending::Failed(why) = &of.ending {
        whole["status"] = json!({ "code": ERROR, "message": why });
    }
    let Timings {
        queue,
        prefill,
        decode,
    } = of.timings;
    let mut told = vec![whole];
    let mut at = begin;
    for (name, took) in [("queue", queue), ("prefill", prefill), ("decode", decode)] {
        let end = at + took;
        if !took.is_zero() {
            let id = any_number().to_be_bytes();
            told.push(span(of, name, (id, Some(own)), (at, end)));
        }
        at = end;
    }
    told
}

/// Of the enumerations `SpanKind` and `StatusCode`.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const ERROR: u8 = 2;

fn span(
    of: &Answered,
    name: &str,
    (id, parent): ([u8; 8], Option<[u8; 8]>),
    (begin, end): (SystemTime, SystemTime),
) -> Value {
    json!({
        "traceId": hex(&of.origin.trace),
        "spanId": hex(&id),
        "parentSpanId": parent.map(|parent| hex(&parent)).unwrap_or_default(),
        "name": name,
        "kind": INTERNAL,
        "startTimeUnixNano": nanoseconds(begin),
        "endTimeUnixNano": nanoseconds(end),
    })
}

/// As `KeyValue` has it; integers are texts, as all of 64 bits are in JSON of protocol buffers.
fn attribute(key: &str, value: &Value) -> Value {
    json!({ "key": key, "value": any_value(value) })
}

fn any_value(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Array(values) => {
            let values: Vec<Value> = values.iter().map(any_value).collect();
            json!({ "arrayValue": { "values": values } })
        }
        other => json!({ "stringValue": other }),
    }
}

fn nanoseconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_as_the_standard_has_it() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |text: &str| {
            parents(text).map(|(trace, parent, wanted)| (hex(&trace), hex(&parent), wanted))
        };
        let expected = |wanted| Some((trace.to_owned(), "00f067aa0ba902b7".to_owned(), wanted));
        assert_eq!(
            of(&format!("00-{trace}-00f067aa0ba902b7-01")),
            expected(true)
        );
        assert_eq!(
            of(&format!("00-{trace}-00f067aa0ba902b7-00")),
            expected(false)
        );
        assert_eq!(
            of(&format!("01-{trace}-00f067aa0ba902b7-03-more")),
            expected(true),
            "later versions may say more"
        );
        for wrong in [
            "",
            "00",
            &format!("ff-{trace}-00f067aa0ba902b7-01"),
            &format!("00-{trace}-00f067aa0ba902b7-01-more"),
            &format!("00-{trace}-0000000000000000-01"),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{}+-00f067aa0ba902b7-01", &trace[1..]),
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_collector_is_a_host_and_a_port() {
        let of = |url| Collector::parse(url).map(|collector| collector.authority + &collector.path);
        assert_eq!(
            of("http://127.0.0.1:4318"),
            Ok("127.0.0.1:4318/v1/traces".to_owned())
        );
        assert_eq!(
            of("http://[::1]:4318/"),
            Ok("[::1]:4318/v1/traces".to_owned())
        );
        assert_eq!(
            of("http://agent/otlp/v1/traces"),
            Ok("agent:80/otlp/v1/traces".to_owned())
        );
        for wrong in [
            "",
            "localhost:4318",
            "https://localhost:4318",
            "http://",
            "http://host:port",
        ] {
            let expected = format!("expected http://HOST:PORT, got {wrong}");
            assert_eq!(of(wrong), Err(expected));
        }
    }
}

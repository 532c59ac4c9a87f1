//! A request and its stream, with the times of what came.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Ask;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// Which interface is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`: the prompt is a user's message.
    Chat,
    /// `/v1/completions`.
    Completions,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    authority: String,
    /// What comes before `/v1`.
    base: String,
    /// What is asked there.
    pub endpoint: Endpoint,
    /// The model's name, where there are several.
    pub model: Option<String>,
    /// What opens the server.
    pub key: Option<String>,
}

impl Target {
    /// Reads `http://HOST:PORT`, with or without a path before `/v1`, and with or without `/v1`.
    ///
    /// # Errors
    /// What was expected, if it is something else.
    pub fn parse(url: &str) -> Result<Self, String> {
        let refused = || format!("expected http://HOST:PORT, got {url}");
        let rest = url.strip_prefix("http://").ok_or_else(refused)?;
        let rest = rest.trim_end_matches('/').trim_end_matches("/v1");
        let (authority, base) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(refused());
        }
        Ok(Self {
            authority: format!("{host}:{port}"),
            base: if base.is_empty() {
                String::new()
            } else {
                format!("/{base}")
            },
            endpoint: Endpoint::Completions,
            model: None,
            key: None,
        })
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// What comes before the path of a page.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    fn request(&self, ask: &Ask) -> Request<Full<Bytes>> {
        let Ask { prompt, tokens } = ask;
        let mut body = json!({
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": true,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        let path = match self.endpoint {
            Endpoint::Chat => {
                body["messages"] = json!([{ "role": "user", "content": &**prompt }]);
                "chat/completions"
            }
            Endpoint::Completions => {
                body["prompt"] = (**prompt).into();
                "completions"
            }
        };
        if let Some(model) = &self.model {
            body["model"] = model.as_str().into();
        }
        let mut request = Request::post(format!("{}/v1/{path}", self.base))
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let body = Full::new(Bytes::from(body.to_string()));
        request
            .body(body)
            .expect("the parts were checked when the target was read")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}{}", self.authority, self.base)
    }
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection, or one that broke.
    #[error("{0}")]
    Connection(String),
    /// Another status than 200, with what the server said of it.
    #[error("status {status}: {message}")]
    Status {
        /// Of HTTP.
        status: u16,
        /// From the body.
        message: String,
    },
    /// An error within the stream.
    #[error("within the stream: {0}")]
    Stream(String),
    /// Nothing more came.
    #[error("no end after {} s", PATIENCE.as_secs())]
    Late,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When it was to be sent.
    pub due: Instant,
    /// When it was.
    pub sent: Instant,
    /// When pieces of text came.
    pub pieces: Vec<Instant>,
    /// When it ended, well or not.
    pub ended: Instant,
    /// Tokens of prompt and answer by the server's count; those of the prompt that it had kept.
    pub usage: Option<[u64; 3]>,
    /// Whether it ended well.
    pub outcome: Result<(), Failure>,
}

/// Connections that nobody uses at the moment.
pub(crate) struct Connections {
    target: Target,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Connections {
    pub fn new(target: Target) -> Self {
        let idle = Mutex::default();
        Self { target, idle }
    }

    fn idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(SendRequest::is_ready)
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let broken = |error: &dyn fmt::Display| Failure::Connection(error.to_string());
        let stream = TcpStream::connect(&self.target.authority).await;
        let stream = stream.map_err(|error| broken(&error))?;
        stream.set_nodelay(true).map_err(|error| broken(&error))?;
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(|error| broken(&error))?;
        // What ends it, the request on it is told.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(SendRequest<Full<Bytes>>, Response<Incoming>), Failure> {
        let mut sender = match self.idle() {
            Some(sender) => sender,
            None => self.open().await?,
        };
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| Failure::Connection(error.to_string()))?;
        Ok((sender, response))
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(sender);
    }
}

/// Sends a request and follows its stream to the end.
pub(crate) async fn ask(connections: &Connections, ask: &Ask, due: Instant) -> Answer {
    let sent = Instant::now();
    let mut answer = Answer {
        due,
        sent,
        pieces: Vec::with_capacity(ask.tokens),
        ended: sent,
        usage: None,
        outcome: Ok(()),
    };
    let followed = timeout(PATIENCE, follow(connections, ask, &mut answer)).await;
    answer.outcome = followed.unwrap_or(Err(Failure::Late));
    answer.ended = Instant::now();
    answer
}

async fn follow(connections: &Connections, ask: &Ask, answer: &mut Answer) -> Result<(), Failure> {
    let request = connections.target.request(ask);
    let (sender, response) = connections.send(request).await?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut events = Events::default();
    let mut refusal = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Connection(error.to_string()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if status != 200 {
            refusal.extend_from_slice(&data);
            continue;
        }
        let now = Instant::now();
        events.push(&data, |event| take(event, now, answer))?;
    }
    connections.keep(sender);
    if status == 200 {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&refusal);
    let told: Option<Value> = serde_json::from_str(&text).ok();
    let message = told
        .as_ref()
        .and_then(|told| told["error"]["message"].as_str());
    Err(Failure::Status {
        status,
        message: message.unwrap_or(text.trim()).to_owned(),
    })
}

/// What an event of the stream says.
fn take(event: &str, now: Instant, answer: &mut Answer) -> Result<(), Failure> {
    if event == "[DONE]" {
        return Ok(());
    }
    let event: Value = serde_json::from_str(event)
        .map_err(|error| Failure::Stream(format!("{error}: {event}")))?;
    if let Some(error) = event.get("error") {
        let message = error["message"].as_str();
        return Err(Failure::Stream(message.unwrap_or("an error").to_owned()));
    }
    let choice = &event["choices"][0];
    let text = choice["text"]
        .as_str()
        .or(choice["delta"]["content"].as_str());
    if text.is_some_and(|text| !text.is_empty()) {
        answer.pieces.push(now);
    }
    if let Some(usage) = event.get("usage").filter(|usage| usage.is_object()) {
        let count = |value: &Value| value.as_u64().unwrap_or(0);
        answer.usage = Some([
            count(&usage["prompt_tokens"]),
            count(&usage["completion_tokens"]),
            count(&usage["prompt_tokens_details"]["cached_tokens"]),
        ]);
    }
    Ok(())
}

/// Server-sent events out of bytes that are cut anywhere.
#[derive(Debug, Default)]
struct Events {
    line: Vec<u8>,
}

impl Events {
    fn push<E>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.last() != Some(&b'\n') {
                continue;
            }
            let line = String::from_utf8_lossy(&self.line);
            let data = line.trim_end().strip_prefix("data:");
            let taken = data.map_or(Ok(()), |data| each(data.trim_start()));
            self.line.clear();
            taken?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_wherever_they_are_cut() {
        let stream =
            "data: {\"a\": \"ä\"}\r\n\r\n: waiting\n\ndata:x\n\ndata: [DONE]\n\n".as_bytes();
        for size in 1..stream.len() {
            let (mut events, mut told) = (Events::default(), Vec::new());
            for part in stream.chunks(size) {
                let each = |event: &str| {
                    told.push(event.to_owned());
                    Ok::<(), ()>(())
                };
                events.push(part, each).unwrap();
            }
            assert_eq!(told, ["{\"a\": \"ä\"}", "x", "[DONE]"], "{size}");
        }
    }

    #[test]
    fn a_target_is_a_host_a_port_and_perhaps_a_path() {
        let of = |url| Target::parse(url).map(|target| target.to_string());
        assert_eq!(
            of("http://127.0.0.1:8080"),
            Ok("http://127.0.0.1:8080".to_owned())
        );
        assert_eq!(of("http://host/v1/"), Ok("http://host:80".to_owned()));
        assert_eq!(
            of("http://host:1/openai/v1"),
            Ok("http://host:1/openai".to_owned())
        );
        assert!(of("https://host").is_err());
        assert!(of("host:80").is_err());
    }
}

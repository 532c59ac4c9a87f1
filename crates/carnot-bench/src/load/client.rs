//! A request and its stream, with the times of what came.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::IgnoredAny;
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
    /// `/v2/models/{model}/infer` of the Open Inference Protocol: the prompt is the body.
    Infer,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    authority: String,
    /// What comes before `/v1`, or `/v2`.
    base: String,
    /// What is asked there.
    pub endpoint: Endpoint,
    /// The model's name, where there are several.
    pub model: Option<String>,
    /// What opens the server.
    pub key: Option<String>,
}

impl Target {
    /// Reads `http://HOST:PORT`, with or without a path before `/v1` or `/v2`, and with or without those.
    ///
    /// # Errors
    /// What was expected, if it is something else.
    pub fn parse(url: &str) -> Result<Self, String> {
        let refused = || format!("expected http://HOST:PORT, got {url}");
        let rest = url.strip_prefix("http://").ok_or_else(refused)?;
        let rest = rest.trim_end_matches('/');
        let mut versions = ["/v1", "/v2"].into_iter();
        let without = |version| rest.strip_suffix(version);
        let rest = versions.find_map(without).unwrap_or(rest);
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

    /// What is sent first for `ask`, made before anything is measured.
    pub(crate) fn prepare(&self, ask: &Ask) -> Prepared {
        let keeps_text = !ask.later.is_empty();
        self.prepare_turn(&[&ask.prompt], ask.tokens, keeps_text)
    }

    /// What is sent after all that was `said`, by the user and the server in turns, the user first and last. The text of the answer is kept for
    /// the turn after it, or not.
    pub(crate) fn prepare_turn(&self, said: &[&str], tokens: usize, keeps_text: bool) -> Prepared {
        let (path, body) = match self.endpoint {
            Endpoint::Chat => ("/v1/chat/completions".to_owned(), self.chat(said, tokens)),
            Endpoint::Completions => ("/v1/completions".to_owned(), self.completion(said, tokens)),
            Endpoint::Infer => (format!("{}/infer", self.model_path()), said.concat()),
        };
        let mut request = Request::post(format!("{}{path}", self.base))
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let is_infer = self.endpoint == Endpoint::Infer;
        Prepared {
            request: request.expect("the parts were checked when the target was read"),
            tokens: if is_infer { 0 } else { tokens },
            rows: if is_infer { tokens as u64 } else { 0 },
            is_streamed: !is_infer,
            turn: said.len().div_ceil(2) as u32,
            keeps_text,
        }
    }

    /// Where a server of tensors says what its model wants.
    pub fn model_path(&self) -> String {
        let model = self.model.as_deref().unwrap_or_default();
        let mut path = String::from("/v2/models/");
        for byte in model.bytes() {
            // A slash stays: `NAME/versions/2` is a version of a model.
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                path.push(char::from(byte));
            } else {
                let _ = write!(path, "%{byte:02X}");
            }
        }
        path
    }

    fn chat(&self, said: &[&str], tokens: usize) -> String {
        let mut body = self.asked(tokens);
        let roles = ["user", "assistant"].into_iter().cycle();
        body["messages"] = said
            .iter()
            .zip(roles)
            .map(|(content, role)| json!({ "role": role, "content": content }))
            .collect();
        body.to_string()
    }

    fn completion(&self, said: &[&str], tokens: usize) -> String {
        let mut body = self.asked(tokens);
        body["prompt"] = continued(said).into();
        body.to_string()
    }

    /// What chats and completions have in common.
    fn asked(&self, tokens: usize) -> Value {
        let mut body = json!({
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": true,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        if let Some(model) = &self.model {
            body["model"] = model.as_str().into();
        }
        body
    }
}

/// All that was said, as one text: an answer follows its prompt at once, as the server continued it, and what is said next has a line of its own.
fn continued(said: &[&str]) -> String {
    let pairs: Vec<String> = said.chunks(2).map(<[&str]>::concat).collect();
    pairs.join("\n")
}

/// A request that only has to be sent; copies share its body.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    request: Request<Full<Bytes>>,
    /// Pieces that may come.
    tokens: usize,
    /// Of tensors.
    rows: u64,
    /// Whether the answer comes in pieces.
    is_streamed: bool,
    /// Of its conversation, from 1.
    turn: u32,
    keeps_text: bool,
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
    /// An answer that is none of the protocol.
    #[error("answer: expected `outputs`: {0}")]
    Answer(String),
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
    /// Of its conversation, from 1.
    pub turn: u32,
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
    /// Rows of tensors that it asked for; 0 where it asked for text.
    pub rows: u64,
    /// What was said, where a turn comes after it.
    pub(crate) text: Option<String>,
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

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A connection that is open still; that which was used last, whose state is nearest.
    async fn idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        loop {
            let mut sender = self.pop()?;
            // One whose answer has just ended is ready in a moment; one that the server closed never is.
            if sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    fn pop(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
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
        let mut sender = match self.idle().await {
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
pub(crate) async fn ask(connections: &Connections, ask: &Prepared, due: Instant) -> Answer {
    let sent = Instant::now();
    let mut answer = Answer {
        turn: ask.turn,
        due,
        sent,
        pieces: Vec::with_capacity(ask.tokens),
        ended: sent,
        usage: None,
        rows: ask.rows,
        text: ask.keeps_text.then(String::new),
        outcome: Ok(()),
    };
    let followed = timeout(PATIENCE, follow(connections, ask, &mut answer)).await;
    answer.ended = Instant::now();
    // Outputs are looked at when their time has been taken.
    let outcome = followed.unwrap_or(Err(Failure::Late));
    let check = if ask.is_streamed {
        |_: Vec<u8>| Ok(())
    } else {
        |body: Vec<u8>| outputs(&body)
    };
    answer.outcome = outcome.and_then(check);
    answer
}

/// Whether that is the answer of a server of tensors.
fn outputs(body: &[u8]) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Outputs {
        #[serde(rename = "outputs")]
        _outputs: Vec<IgnoredAny>,
    }
    let read: Result<Outputs, _> = serde_json::from_slice(body);
    read.map(|_| ())
        .map_err(|error| Failure::Answer(error.to_string()))
}

/// The whole body where it is no stream, else nothing.
async fn follow(
    connections: &Connections,
    ask: &Prepared,
    answer: &mut Answer,
) -> Result<Vec<u8>, Failure> {
    let (sender, response) = connections.send(ask.request.clone()).await?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut events = Events::default();
    let is_stream = status == 200 && ask.is_streamed;
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Connection(error.to_string()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if !is_stream {
            whole.extend_from_slice(&data);
            continue;
        }
        let now = Instant::now();
        events.push(&data, |event| take(event, now, answer))?;
    }
    connections.keep(sender);
    if status == 200 {
        return Ok(whole);
    }
    let text = String::from_utf8_lossy(&whole);
    let told: Option<Value> = serde_json::from_str(&text).ok();
    // OpenAI's servers tell an object, servers of tensors a text.
    let message = told.as_ref().and_then(|told| {
        let error = &told["error"];
        error["message"].as_str().or(error.as_str())
    });
    Err(Failure::Status {
        status,
        message: message.unwrap_or(text.trim()).to_owned(),
    })
}

/// What of an event counts.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    usage: Option<Usage>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Refusal {
    message: Option<String>,
}

/// What an event of the stream says.
fn take(event: &str, now: Instant, answer: &mut Answer) -> Result<(), Failure> {
    if event == "[DONE]" {
        return Ok(());
    }
    let event: Event = serde_json::from_str(event)
        .map_err(|error| Failure::Stream(format!("{error}: {event}")))?;
    if let Some(error) = event.error {
        let message = error.message.unwrap_or_else(|| "an error".to_owned());
        return Err(Failure::Stream(message));
    }
    let text = event.choices.first().and_then(|choice| {
        let delta = choice.delta.as_ref();
        choice
            .text
            .as_ref()
            .or(delta.and_then(|delta| delta.content.as_ref()))
    });
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        answer.pieces.push(now);
        if let Some(kept) = &mut answer.text {
            kept.push_str(text);
        }
    }
    if let Some(usage) = event.usage {
        let cached = usage
            .prompt_tokens_details
            .and_then(|details| details.cached_tokens);
        answer.usage = Some([
            usage.prompt_tokens,
            usage.completion_tokens,
            cached.unwrap_or(0),
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
    fn a_turn_has_all_that_was_said_before_it() {
        let mut target = Target::parse("http://host:1").unwrap();
        let body = |target: &Target| {
            let turn = target.prepare_turn(&["a", "b", "c"], 4, false);
            assert_eq!(turn.turn, 2);
            let body = turn.request.into_body().into_inner().unwrap();
            serde_json::from_slice::<Value>(&body).unwrap()
        };
        assert_eq!(body(&target)["prompt"], "ab\nc");
        target.endpoint = Endpoint::Chat;
        let messages = json!([
            { "role": "user", "content": "a" },
            { "role": "assistant", "content": "b" },
            { "role": "user", "content": "c" },
        ]);
        assert_eq!(body(&target)["messages"], messages);
    }

    #[test]
    fn a_model_of_tensors_is_named_by_the_path() {
        let mut target = Target::parse("http://host:1/base/v2").unwrap();
        target.endpoint = Endpoint::Infer;
        target.model = Some("res net/versions/2".to_owned());
        let asked = Ask {
            prompt: "{\"inputs\": []}".into(),
            tokens: 3,
            later: Vec::new(),
        };
        let prepared = target.prepare(&asked);
        let path = "/base/v2/models/res%20net/versions/2/infer";
        assert_eq!(prepared.request.uri(), path);
        assert_eq!(prepared.rows, 3);
        let body = prepared.request.into_body().into_inner().unwrap();
        assert_eq!(body, asked.prompt.as_bytes());
    }

    #[test]
    fn a_target_is_a_host_a_port_and_perhaps_a_path() {
        let of = |url| Target::parse(url).map(|target| target.to_string());
        assert_eq!(
            of("http://127.0.0.1:8080"),
            Ok("http://127.0.0.1:8080".to_owned())
        );
        assert_eq!(of("http://host/v1/"), Ok("http://host:80".to_owned()));
        assert_eq!(of("http://host/v2"), Ok("http://host:80".to_owned()));
        assert_eq!(
            of("http://host:1/openai/v1"),
            Ok("http://host:1/openai".to_owned())
        );
        assert!(of("https://host").is_err());
        assert!(of("host:80").is_err());
    }
}

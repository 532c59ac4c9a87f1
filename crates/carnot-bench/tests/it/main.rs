//! Load on a server of the test's own, whose delays are known.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod conversations;
mod server_metrics;
mod tensors;
mod views;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use carnot_bench::load::{
    Arrivals, Ask, Error, Figures, Load, Objectives, Raw, Target, prompts, put,
};
use serde_json::Value;

/// What a server does with the n-th request, before it answers with so many pieces of text; or a status that it answers with.
type Manner = Arc<dyn Fn(usize, Value) -> Result<usize, u16> + Send + Sync>;

fn server(manner: impl Fn(usize) -> Result<usize, u16> + Send + Sync + 'static) -> SocketAddr {
    reading_server(move |index, _| manner(index))
}

/// A server that looks at what is asked.
fn reading_server(
    manner: impl Fn(usize, Value) -> Result<usize, u16> + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let manner: Manner = Arc::new(manner);
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (manner, count) = (Arc::clone(&manner), Arc::clone(&count));
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.unwrap());
                while let Some(asked) = request(&mut reader) {
                    let index = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let is_chat = asked["messages"].is_array();
                    answer(reader.get_mut(), manner(index, asked), is_chat);
                }
            });
        }
    });
    address
}

/// Reads a request; nothing at the end of the connection.
fn request(reader: &mut BufReader<TcpStream>) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) => (),
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let is_asked = body["prompt"].is_string() || body["messages"].is_array();
    assert!(body["stream"].as_bool().unwrap() && is_asked, "{body}");
    Some(body)
}

fn answer(stream: &mut TcpStream, what: Result<usize, u16>, is_chat: bool) {
    let (status, kind, body) = match what {
        Ok(pieces) => {
            let piece = if is_chat {
                "data: {\"choices\": [{\"delta\": {\"content\": \"x\"}}]}\n\n"
            } else {
                "data: {\"choices\": [{\"text\": \"x\"}]}\n\n"
            };
            let usage = format!(
                "data: {{\"choices\": [], \"usage\": {{\"prompt_tokens\": 7, \"completion_tokens\": {pieces}}}}}\n\n"
            );
            (
                200,
                "text/event-stream",
                piece.repeat(pieces) + &usage + "data: [DONE]\n\n",
            )
        }
        Err(status) => (
            status,
            "application/json",
            "{\"error\": {\"message\": \"too much\"}}".to_owned(),
        ),
    };
    let length = body.len();
    // A client may have left.
    let _ = write!(
        stream,
        "HTTP/1.1 {status} S\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
}

fn load(address: SocketAddr, arrivals: Arrivals, duration: Duration) -> Load {
    Load {
        target: Target::parse(&format!("http://{address}")).unwrap(),
        arrivals,
        duration,
        asks: Ask::all(prompts(10, 8, 4, 0), 3),
        think: Duration::ZERO,
        seed: 0,
    }
}

#[test]
fn a_stall_is_seen_by_all_who_were_due_in_it() {
    // At ten a second for ten seconds the first request comes at the beginning; the server stands still when the 51st comes, for half a second.
    let began = std::sync::OnceLock::new();
    let address = server(move |index| {
        if index >= 51 {
            let end: &Instant = began.get_or_init(|| Instant::now() + Duration::from_millis(500));
            thread::sleep(end.saturating_duration_since(Instant::now()));
        }
        Ok(3)
    });
    let load = load(
        address,
        Arrivals::Constant { rate: 10.0 },
        Duration::from_secs(10),
    );
    let run = put(&load, |_| ()).unwrap();
    let figures = Figures::of(
        &Raw::of(&run),
        run.cores,
        Objectives {
            whole: Some(Duration::from_millis(50)),
            ..Objectives::default()
        },
    );
    assert_eq!(
        (
            figures.asked,
            figures.answered,
            figures.tokens,
            figures.prompt_tokens
        ),
        (100, 100, 300, 700)
    );
    let whole = figures.whole.unwrap();
    // Of those that were due in it the first waited for 500 ms, the others for 400, 300, 200 and 100: the 99th of a hundred is 400. A busy machine
    // adds to that, and takes nothing away.
    assert!(whole.p99 >= 0.396 && whole.max >= 0.495, "{whole:?}");
    assert!(figures.good <= 95, "{}", figures.good);
}

#[test]
fn clients_of_a_closed_loop_ask_again_when_they_are_answered() {
    let address = server(|_| {
        thread::sleep(Duration::from_millis(20));
        Ok(2)
    });
    let run = put(
        &load(
            address,
            Arrivals::Closed { clients: 3 },
            Duration::from_millis(500),
        ),
        |_| (),
    )
    .unwrap();
    let figures = Figures::of(&Raw::of(&run), run.cores, Objectives::default());
    assert!(
        (3..=75).contains(&figures.asked),
        "3 × 500 / 20 at most: {}",
        figures.asked
    );
    assert_eq!(figures.answered, figures.asked);
    assert!(figures.whole.unwrap().p50 >= 0.02);
}

#[test]
fn refusals_are_counted_and_not_timed() {
    let address = server(|index| if index % 2 == 0 { Ok(1) } else { Err(503) });
    let run = put(
        &load(
            address,
            Arrivals::Constant { rate: 100.0 },
            Duration::from_millis(200),
        ),
        |_| (),
    )
    .unwrap();
    let figures = Figures::of(&Raw::of(&run), run.cores, Objectives::default());
    assert_eq!((figures.asked, figures.answered), (20, 10));
    assert_eq!(figures.failures, [("status 503: too much".to_owned(), 10)]);
    assert_eq!(figures.whole.unwrap().count, 10);
}

#[test]
fn a_server_that_is_not_there_is_told_before_anything_runs() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = put(
        &load(
            port,
            Arrivals::Constant { rate: 1.0 },
            Duration::from_secs(1),
        ),
        |_| (),
    )
    .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(
        error.to_string().starts_with(&format!("http://{port}: ")),
        "{error}"
    );
}

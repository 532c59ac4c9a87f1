//! A server that does nothing but answer: so many tokens as are asked for, one every so often. What a client measures of it, it measures of itself.
//!
//! ```text
//! cargo run --release -p carnot-bench --example mock_server -- [PORT] [MILLISECONDS between tokens] [REQUEST] [MILLISECONDS]
//! ```
//!
//! With the last two it stands still, once, for so long, when the so-many-eth request comes.
//!
//! One thread; a stream of server-sent events for each POST, all at once where the time between tokens is 0.

#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const TOKEN: &str = "data: {\"choices\":[{\"text\":\" x\"}]}\n\n";

/// Requests that came.
static CAME: AtomicU64 = AtomicU64::new(0);

/// When the server stands still, and for how long.
#[derive(Clone, Copy)]
struct Stall {
    request: u64,
    time: Duration,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual| {
        arguments
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(usual)
    };
    let (port, gap) = (number(0) as u16, Duration::from_millis(number(0)));
    let stall = Stall {
        request: number(0),
        time: Duration::from_millis(number(0)),
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        // A client that leaves ends its connection and nothing else.
        tokio::spawn(async move { serve(stream, gap, stall).await.ok() });
    }
}

async fn serve(stream: TcpStream, gap: Duration, stall: Stall) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            if line.trim_end().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        if CAME.fetch_add(1, Ordering::Relaxed) + 1 == stall.request {
            // The only thread there is: everybody waits.
            std::thread::sleep(stall.time);
        }
        let body: serde_json::Value = serde_json::from_slice(&body)?;
        answer(
            stream.get_mut(),
            body["max_tokens"].as_u64().unwrap_or(1),
            gap,
        )
        .await?;
    }
}

async fn answer(stream: &mut TcpStream, tokens: u64, gap: Duration) -> io::Result<()> {
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let usage = format!(
        "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":{tokens}}}}}\n\n"
    );
    let end = chunk(&(usage + "data: [DONE]\n\n")) + "0\r\n\r\n";
    if gap.is_zero() {
        let all = HEAD.to_owned() + &chunk(TOKEN).repeat(tokens as usize) + &end;
        return stream.write_all(all.as_bytes()).await;
    }
    stream.write_all(HEAD.as_bytes()).await?;
    let (begin, token) = (Instant::now(), chunk(TOKEN));
    for index in 1..=tokens {
        sleep_until(begin + gap * index as u32).await;
        stream.write_all(token.as_bytes()).await?;
    }
    stream.write_all(end.as_bytes()).await
}

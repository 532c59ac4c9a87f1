//! Bytes on a socket: whole, halved, or read one by one. HTTP/1.0, so that an answer is what comes until the server closes.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use crate::load::Target;

/// What a slow reader's system keeps for it; more stays with the server.
const SLOW_BUFFER: u32 = 2048;
/// A slow reader takes a byte so often, for so many bytes; the rest it reads as others do.
const SLOW_PAUSE: Duration = Duration::from_millis(20);
const SLOW_BYTES: usize = 100;

/// How an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// To its end.
    Whole,
    /// A byte now and then.
    Slow,
    /// For so long, and then nobody is there any more.
    Leave(Duration),
}

/// What came.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Of HTTP, if so much came.
    pub status: Option<u16>,
    /// The body, and the headers before it.
    pub text: String,
}

/// A request for completions with this body, and as many headers more.
pub(super) fn request(target: &Target, body: &str, headers: &str) -> String {
    let (base, authority) = (target.base(), target.authority());
    let key = target.key.as_ref();
    let key = key.map_or_else(String::new, |key| {
        format!("authorization: Bearer {key}\r\n")
    });
    format!(
        "POST {base}/v1/completions HTTP/1.0\r\nhost: {authority}\r\ncontent-type: application/json\r\n{key}{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends `bytes` and reads what comes.
///
/// # Errors
/// If nobody listens. A connection that breaks later is an answer without its end, or none.
pub(super) async fn exchange(
    target: &Target,
    bytes: &[u8],
    manner: Manner,
) -> Result<Answer, String> {
    let mut stream = connect(target, manner)
        .await
        .map_err(|error| error.to_string())?;
    // A server may refuse a request before it has read it, and close; what it said is still to be read.
    let _ = stream.write_all(bytes).await;
    let mut read = Vec::new();
    match manner {
        Manner::Whole => drop(stream.read_to_end(&mut read).await),
        Manner::Leave(after) => drop(timeout(after, stream.read_to_end(&mut read)).await),
        Manner::Slow => {
            slowly(&mut stream, &mut read).await;
            // What came counts, whether or not the rest does.
            let _ = stream.read_to_end(&mut read).await;
        }
    }
    let text = String::from_utf8_lossy(&read).into_owned();
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok(Answer { status, text })
}

async fn connect(target: &Target, manner: Manner) -> std::io::Result<TcpStream> {
    if manner != Manner::Slow {
        return TcpStream::connect(target.authority()).await;
    }
    let mut addresses = lookup_host(target.authority()).await?;
    let address = addresses.find(std::net::SocketAddr::is_ipv4);
    let address = address.ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SLOW_BUFFER)?;
    socket.connect(address).await
}

async fn slowly(stream: &mut TcpStream, read: &mut Vec<u8>) {
    for _ in 0..SLOW_BYTES {
        match stream.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => return,
        }
        sleep(SLOW_PAUSE).await;
    }
}

//! A page of a server, once: what those read who watch a server or check it after a load.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::load::Target;

/// Most bytes of a page.
const MOST_BYTES: usize = 16 << 20;

/// What a server answered, with whatever status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Of HTTP.
    pub status: u16,
    /// The body.
    pub text: String,
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No connection, or one that broke.
    #[error("{url}: no answer: {reason}")]
    Connection {
        /// What was asked for.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// It takes too long.
    #[error("{url}: no answer in {} s", patience.as_secs_f64())]
    Late {
        /// What was asked for.
        url: String,
        /// How long it was waited for.
        patience: Duration,
    },
    /// Another status than 200.
    #[error("{url}: expected status 200, got {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// What came.
        status: u16,
    },
}

/// Fetches pages of one server, each over a connection of its own.
pub struct Fetcher {
    runtime: Runtime,
    target: Target,
    patience: Duration,
}

impl Fetcher {
    /// Of `target`; a page takes at most `patience`.
    ///
    /// # Errors
    /// If the system has nothing to wait for connections with.
    pub fn new(target: Target, patience: Duration) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            runtime,
            target,
            patience,
        })
    }

    /// The text of the page at `path`, such as `/metrics`.
    pub fn text(&self, path: &str) -> Result<String, FetchError> {
        let page = self.page(path)?;
        if page.status == 200 {
            return Ok(page.text);
        }
        let (url, status) = (self.url(path), page.status);
        Err(FetchError::Status { url, status })
    }

    /// The page at `path`, whatever its status.
    pub fn page(&self, path: &str) -> Result<Page, FetchError> {
        let (url, patience) = (self.url(path), self.patience);
        let waiting = async { timeout(patience, fetch(&self.target, path)).await };
        match self.runtime.block_on(waiting) {
            Err(_) => Err(FetchError::Late { url, patience }),
            Ok(Err(reason)) => Err(FetchError::Connection { url, reason }),
            Ok(Ok(page)) => Ok(page),
        }
    }

    /// Where the page at `path` is.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.target)
    }
}

/// A page, or what went wrong in the words of whoever noticed.
async fn fetch(target: &Target, path: &str) -> Result<Page, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(target.authority()).await;
    let stream = stream.map_err(|error| told(&error))?;
    let opened = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(|error| told(&error))?;
    // What ends it, the request on it is told.
    tokio::spawn(async move { drop(connection.await) });
    let mut request = Request::get(format!("{}{path}", target.base()))
        .header(header::HOST, target.authority())
        .header(header::CONNECTION, "close");
    if let Some(key) = &target.key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request.body(Empty::<Bytes>::new());
    let request = request.map_err(|error| told(&error))?;
    let response = sender.send_request(request).await;
    let response = response.map_err(|error| told(&error))?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MOST_BYTES)
        .collect()
        .await;
    let body = body.map_err(|error| told(&error))?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    Ok(Page { status, text })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that gives `answer` to the first that asks, and tells what it was asked.
    fn check(answer: &'static str, with: impl FnOnce(&Fetcher)) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/base", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1024];
            let count = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..count]).into_owned()
        });
        let mut target = Target::parse(&url).unwrap();
        target.key = Some("sk-1".to_owned());
        with(&Fetcher::new(target, Duration::from_mins(1)).unwrap());
        server.join().unwrap()
    }

    #[test]
    fn a_page_is_asked_for_with_its_path_and_the_key() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na 1";
        let asked = check(answer, |fetcher| {
            assert_eq!(fetcher.text("/metrics").unwrap(), "a 1");
        });
        assert!(
            asked.starts_with("GET /base/metrics HTTP/1.1\r\n"),
            "{asked}"
        );
        assert!(asked.contains("authorization: Bearer sk-1\r\n"), "{asked}");
    }

    #[test]
    fn another_status_is_told_with_the_address() {
        check(
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            |of| {
                let told = of.text("/metrics").unwrap_err().to_string();
                assert!(told.starts_with("http://127.0.0.1:"), "{told}");
                let expected = "/base/metrics: expected status 200, got 404";
                assert!(told.ends_with(expected), "{told}");
            },
        );
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let target = Target::parse(&url).unwrap();
        let fetcher = Fetcher::new(target, Duration::from_mins(1)).unwrap();
        let told = fetcher.text("/metrics").unwrap_err().to_string();
        let expected = format!("{url}/metrics: no answer: ");
        assert!(
            told.starts_with(&expected) && told.contains("refused"),
            "{told}"
        );
    }
}

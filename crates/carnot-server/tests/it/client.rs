//! A client that knows no more of HTTP than these tests need, and can leave at any time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Where a server is, and the key to it.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    pub key: Option<String>,
    /// More lines for the head of each request.
    pub headers: String,
}

/// What came back.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(header, _)| header == name);
        header.map(|(_, value)| value.as_str())
    }

    /// The code of an error.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            key: None,
            headers: String::new(),
        }
    }

    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, "").finish()
    }

    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.send("POST", path, &body.to_string()).finish()
    }

    /// Sends a request and leaves its response unread. Version 1.0, so that bodies come as they are, up to the end of the connection.
    pub fn send(&self, method: &str, path: &str, body: &str) -> Reading {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let key = self.key.as_ref();
        let key = key.map(|key| format!("authorization: Bearer {key}\r\n"));
        let more = self.headers.clone() + &key.unwrap_or_default();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: test\r\ncontent-type: application/json\r\n{more}content-length: {length}\r\n\r\n"
        );
        // At once: who refuses by the head alone closes, and a body that came later would reset the connection, answer and all.
        // A server that refuses a large body may close before it has read it.
        let _ = stream.write_all((head + body).as_bytes());
        Reading {
            reader: BufReader::new(stream),
        }
    }
}

/// A response that is being read; dropping it closes the connection.
pub struct Reading {
    reader: BufReader<TcpStream>,
}

impl Reading {
    /// The port of this end.
    pub fn local(&self) -> u16 {
        self.reader.get_ref().local_addr().unwrap().port()
    }

    /// The port of the server's end.
    pub fn peer(&self) -> u16 {
        self.reader.get_ref().peer_addr().unwrap().port()
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    pub fn head(&mut self) -> (u16, Vec<(String, String)>) {
        let status = self.line().expect("a status line");
        let status = status.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        while let Some(line) = self.line().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        (status, headers)
    }

    /// The data of the next event; `None` at the end.
    pub fn event(&mut self) -> Option<String> {
        loop {
            if let Some(data) = self.line()?.strip_prefix("data: ") {
                return Some(data.to_owned());
            }
        }
    }

    /// All events up to the end.
    pub fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.event()).collect()
    }

    pub fn finish(mut self) -> Response {
        let (status, headers) = self.head();
        let mut body = String::new();
        self.reader.read_to_string(&mut body).unwrap();
        Response {
            status,
            headers,
            body,
        }
    }
}

//! `carnot profile open`: a page on this machine whose timeline asks for the spans that it does not have.
//!
//! Two paths, one request after another, from this machine alone: `/` is the page, `/spans?from=NS&to=NS` the spans that can be seen of a
//! window. A page of another site that a browser here has open can send requests, but none with a host that is ours.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Context;
use carnot_report::pipeline::{self, TimelineBuilder};

use super::files::{Trace, analyse, open};
use crate::cli::OpenArguments;
use crate::interrupt;
use crate::printer::Printer;

/// Whoever takes longer to ask, or to listen, is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// A request's lines are not longer, all of them together.
const LONGEST: u64 = 16 * 1024;

pub fn execute(arguments: &OpenArguments, printer: &Printer) -> anyhow::Result<()> {
    let mut trace = open(&arguments.trace)?;
    let analysis = analyse(&mut trace, &arguments.view)?;
    let timeline = TimelineBuilder::read(&mut trace, None)?;
    let page = pipeline::html(&analysis, None, &timeline, Some("/spans"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port))
        .with_context(|| format!("listening on port {}", arguments.port))?;
    let port = listener.local_addr()?.port();
    listener.set_nonblocking(true)?;
    printer.note(&format!(
        "carnot: http://127.0.0.1:{port}/ has the report; Ctrl-C ends it"
    ));
    interrupt::listen();
    while !interrupt::asked() {
        match listener.accept() {
            // A reader that leaves in the middle is its own business.
            Ok((stream, _)) => drop(answer(stream, port, &page, &mut trace)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn answer(stream: TcpStream, port: u16, page: &str, trace: &mut Trace) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.take_ref(LONGEST));
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut host = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("host")
        {
            value.trim().clone_into(&mut host);
        }
    }
    let is_ours = [format!("127.0.0.1:{port}"), format!("localhost:{port}")].contains(&host);
    let target = first
        .strip_prefix("GET ")
        .and_then(|rest| rest.split(' ').next());
    let (status, kind, body) = match target {
        _ if !is_ours => (
            "403 Forbidden",
            "text/plain",
            "this page is for this machine alone\n".to_owned(),
        ),
        None => (
            "405 Method Not Allowed",
            "text/plain",
            "expected GET\n".to_owned(),
        ),
        Some("/") => ("200 OK", "text/html; charset=utf-8", page.to_owned()),
        Some(target) => match target.strip_prefix("/spans?").map(window) {
            Some(Some(window)) => {
                let timeline = TimelineBuilder::read(trace, Some(window))?;
                (
                    "200 OK",
                    "application/json",
                    serde_json::to_string(&timeline)?,
                )
            }
            Some(None) => (
                "400 Bad Request",
                "text/plain",
                "expected from=NS&to=NS, from below to\n".to_owned(),
            ),
            None => (
                "404 Not Found",
                "text/plain",
                "expected / or /spans\n".to_owned(),
            ),
        },
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    Ok(())
}

/// `from=NS&to=NS`.
fn window(query: &str) -> Option<(u64, u64)> {
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(key, _)| *key == name)
            .find_map(|(_, value)| value.parse().ok())
    };
    let (from, to) = (value("from")?, value("to")?);
    (from < to).then_some((from, to))
}

/// Reads from a stream that is written to afterwards.
trait TakeRef {
    fn take_ref(&self, most: u64) -> std::io::Take<&TcpStream>;
}

impl TakeRef for TcpStream {
    fn take_ref(&self, most: u64) -> std::io::Take<&TcpStream> {
        Read::take(self, most)
    }
}

#[cfg(test)]
mod tests {
    use super::window;

    #[test]
    fn windows_are_read_and_nonsense_is_none() {
        assert_eq!(window("from=5&to=9"), Some((5, 9)));
        assert_eq!(window("to=9&from=5&x=1"), Some((5, 9)));
        for query in ["", "from=5", "from=9&to=5", "from=a&to=9", "from=-1&to=9"] {
            assert_eq!(window(query), None, "{query}");
        }
    }
}

//! A page on this machine that shows the newest frame: a picture that the browser replaces with each part of an answer that does not end.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

const PAGE: &str = "<!doctype html><title>video pipeline</title>\
    <body style='margin:0;background:#111;display:grid;place-items:center;height:100vh'>\
    <img src='/film' style='width:min(80vw,80vh);image-rendering:pixelated' alt='the newest frame'>";
/// Who does not read for so long does not look any more.
const PATIENCE: Duration = Duration::from_secs(2);

pub struct Viewer {
    /// Browsers that look.
    watching: Arc<Mutex<Vec<TcpStream>>>,
    /// Where the page is.
    pub address: SocketAddr,
}

impl Viewer {
    /// Opens the page on this machine alone, at `port`, or a free one for 0.
    pub fn open(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let watching = Arc::new(Mutex::new(Vec::new()));
        let of_thread = Arc::clone(&watching);
        thread::Builder::new()
            .name("viewer".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    // A browser that says nothing sensible is of no matter to the others.
                    let _ = answer(stream, &of_thread);
                }
            })?;
        Ok(Self { watching, address })
    }

    /// Shows a frame to all that look.
    pub fn show(&mut self, file: &[u8]) {
        let mut watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
        watching.retain_mut(|stream| part(stream, file).is_ok());
    }
}

fn answer(mut stream: TcpStream, watching: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = String::new();
    BufReader::new(&stream).read_line(&mut request)?;
    if request.starts_with("GET /film ") {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\nCache-Control: no-store\r\n\r\n--frame\r\n";
        stream.write_all(head.as_bytes())?;
        let mut watching = watching.lock().unwrap_or_else(PoisonError::into_inner);
        watching.push(stream);
        return Ok(());
    }
    let length = PAGE.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(PAGE.as_bytes())
}

fn part(stream: &mut TcpStream, file: &[u8]) -> io::Result<()> {
    let head = format!(
        "Content-Type: image/png\r\nContent-Length: {}\r\n\r\n",
        file.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(file)?;
    // The boundary that ends a part makes the browser show it.
    stream.write_all(b"\r\n--frame\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn ask(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
        stream
    }

    #[test]
    fn a_browser_gets_the_page_and_then_each_frame() {
        let mut viewer = Viewer::open(0).unwrap();
        let mut page = [0; 15];
        ask(viewer.address, "/").read_exact(&mut page).unwrap();
        assert_eq!(page, *b"HTTP/1.1 200 OK");
        let mut film = BufReader::new(ask(viewer.address, "/film"));
        let mut line = String::new();
        // The boundary before the first part is written just before the browser counts as one that looks.
        while line != "--frame\r\n" {
            line.clear();
            assert!(film.read_line(&mut line).unwrap() > 0, "the answer ended");
        }
        while viewer.watching.lock().unwrap().is_empty() {
            thread::yield_now();
        }
        viewer.show(b"first");
        let expected = b"Content-Type: image/png\r\nContent-Length: 5\r\n\r\nfirst\r\n--frame\r\n";
        let mut part = vec![0; expected.len()];
        film.read_exact(&mut part).unwrap();
        assert_eq!(part, expected);
    }
}

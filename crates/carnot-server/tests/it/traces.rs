//! Traces, taken by a collector of the test's own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use carnot_server::Collector;
use serde_json::{Value, json};

use crate::{World, settings, world_with};

/// A collector that answers every export with `status`, and hands on what came.
fn collector(status: &'static str) -> (SocketAddr, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (taken, exports) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut path, mut length) = (String::new(), 0);
            for line in reader.by_ref().lines().map(Result::unwrap) {
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.parse().unwrap();
                }
                if let Some(rest) = line.strip_prefix("POST ") {
                    rest.split(' ').next().unwrap().clone_into(&mut path);
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            if taken
                .send((path, serde_json::from_slice(&body).unwrap()))
                .is_err()
            {
                return;
            }
        }
    });
    (address, exports)
}

fn traced(address: SocketAddr) -> World {
    let to = Collector::parse(&format!("http://{address}")).unwrap();
    let world = world_with(settings(), 4, |server| server.traced(to));
    world.gate.open();
    world
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    &found.unwrap_or_else(|| panic!("{key} in {span}"))["value"]
}

fn nanoseconds(span: &Value, key: &str) -> u64 {
    span[key].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_request_is_a_span_of_its_clients_trace() {
    let (address, exports) = collector("200 OK");
    let mut world = traced(address);
    world.client.headers =
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n".to_owned();
    let request = json!({ "messages": [{ "role": "user", "content": "x" }], "max_tokens": 3 });
    let answer = world.client.post("/v1/chat/completions", &request).json();
    let (path, export) = exports.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(path, "/v1/traces");
    let resource = &export["resourceSpans"][0];
    assert_eq!(
        attribute(&resource["resource"], "service.name")["stringValue"],
        "carnot"
    );
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    let whole = &spans[0];
    assert_eq!(whole["name"], "chat scripted");
    assert_eq!(whole["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(whole["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(
        attribute(whole, "gen_ai.response.id")["stringValue"],
        answer["id"]
    );
    assert_eq!(
        attribute(whole, "gen_ai.usage.output_tokens")["intValue"],
        "3"
    );
    let inner: Vec<&str> = spans[1..]
        .iter()
        .map(|span| span["name"].as_str().unwrap())
        .collect();
    assert_eq!(inner, ["queue", "prefill", "decode"]);
    for span in &spans[1..] {
        assert_eq!(span["parentSpanId"], whole["spanId"]);
        assert_eq!(span["traceId"], whole["traceId"]);
        assert!(nanoseconds(span, "startTimeUnixNano") >= nanoseconds(whole, "startTimeUnixNano"));
        assert!(nanoseconds(span, "endTimeUnixNano") <= nanoseconds(whole, "endTimeUnixNano"));
    }
    world.wait_for_rest();
}

#[test]
fn traces_that_nobody_wants_or_takes_stop_nothing() {
    let (address, exports) = collector("500 Internal Server Error");
    let mut world = traced(address);
    let request = json!({ "prompt": "x", "max_tokens": 1 });
    world.client.headers =
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\r\n".to_owned();
    assert_eq!(world.client.post("/v1/completions", &request).status, 200);
    world.client.headers = String::new();
    assert_eq!(world.client.post("/v1/completions", &request).status, 200);
    let (_, export) = exports.recv_timeout(Duration::from_secs(20)).unwrap();
    let spans = export["resourceSpans"][0]["scopeSpans"][0]["spans"]
        .as_array()
        .unwrap();
    let whole = spans.iter().filter(|span| span["kind"] == 2).count();
    assert_eq!(whole, 1, "the other's client wanted none");
    let counted = || {
        world
            .client
            .get("/metrics")
            .body
            .contains("carnot_traces_dropped_total 1")
    };
    for _ in 0..1000 {
        if counted() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("{}", world.client.get("/metrics").body);
}
